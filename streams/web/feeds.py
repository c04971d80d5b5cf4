"""What other programs take of a programme: `calendar.ics` and `status.csv`.

A calendar that subscribes cannot log in. Where the board stands behind a login, these two paths can be let through it,
and a key in the query guards them.
"""

from aiohttp import web
from aiohttp.typedefs import Handler

from models.domain.impact import NO_IMPACT
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneStatus
from models.views.status import StatusRow, status_row
from models.views.status_csv import ComparedRow, compared_to_csv, status_to_csv
from streams.web.feed_key import FeedKey
from streams.web.guard import GuardedApplication
from streams.web.picture_parameters import PICTURE_PARAMETERS, REPEATABLE
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel
from streams.web.responses import ResponseCache

KEY = "key"


class Feeds:
    """The handlers of the feeds."""

    def __init__(self, read_model: ReadModel, cache: ResponseCache, key: FeedKey, board_url: str | None) -> None:
        self._read_model, self._cache, self._key, self._board_url = read_model, cache, key, board_url

    def add_to(self, guarded: GuardedApplication) -> None:
        """Serve the feeds."""
        programme = "/programmes/{programme}"
        calendar = self._cache.handler("text/calendar", self._render_calendar, [])
        guarded.add_get(f"{programme}/calendar.ics", self._with_key(calendar), [KEY])
        csv = self._cache.handler("text/csv", self._render_csv, [], is_form=True)
        guarded.add_get(f"{programme}/status.csv", self._with_key(csv), [KEY, *PICTURE_PARAMETERS], REPEATABLE)

    def _with_key(self, handler: Handler) -> Handler:
        """Return a handler that demands the key, if there is one."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if not self._key.is_given_by(request.query.get(KEY, "")):
                raise web.HTTPForbidden
            return await handler(request)

        return handle

    async def _render_calendar(self, _request: web.Request, view: ProgrammeView) -> bytes:
        return await self._read_model.run_in_executor(_render_calendar, view, self._board_url)

    async def _render_csv(self, _request: web.Request, view: ProgrammeView) -> bytes:
        return await self._read_model.run_in_executor(_render_csv, view)


def _render_calendar(view: ProgrammeView, board_url: str | None) -> bytes:
    # Its library takes a tenth of a worker's time to start.
    from streams.web.calendar_feed import render_calendar  # noqa: PLC0415

    return render_calendar(view, board_url)


def _render_csv(view: ProgrammeView) -> bytes:
    rows = {
        status.key: status_row(status, view.revision, view.impacts.get(status.key, NO_IMPACT), view.as_said)
        for status in view.statuses
    }
    if view.compared is None:
        return status_to_csv([*rows.values()]).encode()
    shown = sorted([*view.statuses, *view.gone], key=milestone_sort_key)
    return compared_to_csv([_compared_row(view, rows.get(each.key), each) for each in shown]).encode()


def _compared_row(view: ProgrammeView, row: StatusRow | None, status: MilestoneStatus) -> ComparedRow:
    """Return the row of a milestone beside the compared picture; None stands for the row of one that is gone."""
    comparison = view.compare(status)
    if row is None or comparison is None:
        return ComparedRow(row, status)
    return ComparedRow(row, comparison.former, comparison.moved_days)
