"""What other programs take of a programme: `calendar.ics` and `status.csv`.

A calendar that subscribes cannot log in. Where the board stands behind a login, these two paths can be let through it,
and a key in the query guards them.
"""

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from models.domain.impact import NO_IMPACT
from models.views.status import status_row
from models.views.status_csv import status_to_csv
from streams.web.calendar_feed import render_calendar
from streams.web.guard import GuardedApplication
from streams.web.picture_parameters import PICTURE_PARAMETERS, REPEATABLE
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel
from streams.web.responses import ResponseCache

KEY = "key"


class Feeds:
    """The handlers of the feeds."""

    def __init__(self, read_model: ReadModel, cache: ResponseCache, key: str | None, board_url: str | None) -> None:
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
            given = request.query.get(KEY, "")
            if self._key is not None and not hmac.compare_digest(given.encode(), self._key.encode()):
                raise web.HTTPForbidden
            return await handler(request)

        return handle

    async def _render_calendar(self, _request: web.Request, view: ProgrammeView) -> bytes:
        return await self._read_model.run_in_executor(render_calendar, view, self._board_url)

    async def _render_csv(self, _request: web.Request, view: ProgrammeView) -> bytes:
        return await self._read_model.run_in_executor(_render_csv, view)


def _render_csv(view: ProgrammeView) -> bytes:
    rows = [
        status_row(status, view.revision, view.impacts.get(status.key, NO_IMPACT), view.as_said)
        for status in view.statuses
    ]
    return status_to_csv(rows).encode()
