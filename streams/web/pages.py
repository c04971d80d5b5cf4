"""The pages: each is rendered here, whole, and readable without a script."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from aiohttp import web

from models.domain.schedule import State
from models.views.explanation import sentences
from streams.web import urls
from streams.web.api import MOST_OFFSET, tag_of
from streams.web.dead_letters import LetterBox
from streams.web.pipeline_status import Pipeline
from streams.web.read_model import Seen, Sights
from streams.web.responses import HTML, Asked, Kept, answer, whole_number
from streams.web.schemas import letter_of
from streams.web.static_files import Files
from streams.web.templating import environment
from streams.web.timeline import axis, lanes
from streams.web.view_models import (
    MOST_LINES,
    Pager,
    bars_of,
    claims_of,
    drawn_line,
    gates_first,
    moved_days,
    named,
    of_programme,
    project_of,
    read_blast,
    read_lines,
    read_moves,
    read_why,
    telling,
)

#: How many programmes, milestones, moves and waiting milestones one page takes.
PROGRAMMES, MILESTONES, MOVES, WAITING = 50, 1000, 100, 500
_FILTERS: Final[Mapping[str, frozenset[State]]] = {
    "all": frozenset(State),
    "late": frozenset({State.OVERDUE, State.BLOCKED, State.SLIPPING}),
    "open": frozenset(State) - {State.ACHIEVED, State.CANCELLED},
}


class Pages:
    """Renders them."""

    def __init__(
        self,
        sights: Sights,
        kept: Kept,
        files: Files,
        letters: LetterBox,
        pipeline: Callable[[], Pipeline],
    ) -> None:
        self._sights, self._kept, self._files = sights, kept, files
        self._letters, self._pipeline = letters, pipeline
        self._templates = environment(files)

    def routes(self) -> list[web.RouteDef]:
        """Return where they are."""
        one, its = "/programmes/{programme}", "{project}/{milestone}"
        return [
            web.get("/", self.overview),
            web.get(one, self.timeline),
            web.get(f"{one}/trend", self.trend),
            web.get(f"{one}/milestones/{its}", self.milestone),
            web.get(f"{one}/gates/{its}", self.gate),
            web.get(urls.PIPELINE, self.pipeline),
        ]

    def sorry(self, _request: web.Request, status: HTTPStatus, sentence: str) -> web.Response:
        """Return an error for people."""
        body = self._render("sorry.html", status=status, sentence=sentence, programme=None)
        response = answer(body, HTML)
        response.set_status(status)
        return response

    async def overview(self, request: web.Request) -> web.Response:
        """Show all programmes: which gate slipped, and whom it holds up."""
        offset = whole_number(request, "offset", 0, MOST_OFFSET)
        turn = await self._sights.turn()

        async def render() -> bytes:
            found = await self._sights.overview(turn, offset, PROGRAMMES)
            gates = sum(len(held) for held in found.hold_ups.values())
            return await self._page(
                "overview.html",
                turn=turn,
                overview=found,
                gates=gates,
                held=sum(one.late for held in found.hold_ups.values() for one in held),
                pages=Pager.of(request.path, offset, PROGRAMMES, found.total),
                programme=None,
            )

        return await self._give(request, f"all-{turn}", render)

    async def timeline(self, request: web.Request) -> web.Response:
        """Show a programme over time."""
        seen = await self._seen(request)
        show = request.query.get("show", "all")
        if show not in _FILTERS:
            raise Asked(text=f"show is one of {', '.join(_FILTERS)}.")
        offset = whole_number(request, "offset", 0, MOST_OFFSET)

        def render() -> bytes:
            wanted = [one for one in gates_first(seen) if one.state in _FILTERS[show]]
            shown = wanted[offset : offset + MILESTONES]
            on = axis(shown, seen.shown.day)
            drawn = groupby(lanes(shown, on), key=lambda lane: lane.standing.project)
            return self._render(
                "timeline.html",
                **of_programme(seen),
                axis=on,
                today=on.at(seen.shown.day),
                projects=[(project_of(seen, name), list(its)) for name, its in drawn],
                show=show,
                filters={name: sum(one.state in its for one in seen.standings) for name, its in _FILTERS.items()},
                pages=Pager.of(request.path, offset, MILESTONES, len(wanted), show=show),
                parts="timeline",
            )

        return await self._give(request, tag_of(seen), lambda: self._sights.run(render))

    async def trend(self, request: web.Request) -> web.Response:
        """Show what was forecast when."""
        seen = await self._seen(request)
        before = whole_number(request, "before", 0, 1 << 62) or None
        asked = request.query.getall("milestone", [])[:MOST_LINES]
        chosen = [named(seen, text) for text in asked] or telling(seen)

        async def render() -> bytes:
            lines = await read_lines(self._sights, seen, chosen)
            moves = await read_moves(self._sights, seen.programme, before, MOVES)
            return await self._page(
                "trend.html",
                **of_programme(seen),
                lines=lines,
                data=[drawn_line(line) for line in lines],
                moves=[(report, moved_days(report.noted)) for report in moves],
                older=moves[-1].noted.number if len(moves) == MOVES else None,
                asked=asked,
                parts="trend",
            )

        return await self._give(request, tag_of(seen), render)

    async def milestone(self, request: web.Request) -> web.Response:
        """Show why a milestone's forecast is what it is."""
        seen, which = await self._seen(request), _milestone(request)
        standing = seen.standing(*which)

        async def render() -> bytes:
            found = await read_why(self._sights, seen, *which)
            [line] = await read_lines(self._sights, seen, [standing])
            return await self._page(
                "milestone.html",
                **of_programme(seen),
                standing=standing,
                project=project_of(seen, standing.project),
                chain=[(link, list(sentences(link)), claims_of(found, link.evidence)) for link in found.chain],
                line=line,
                data=[drawn_line(line)],
                parts=None,
            )

        return await self._give(request, tag_of(seen), render)

    async def gate(self, request: web.Request) -> web.Response:
        """Show who waits for a milestone, and by how much they moved."""
        seen, which = await self._seen(request), _milestone(request)

        async def render() -> bytes:
            blast = await read_blast(self._sights, seen, *which)
            return await self._page(
                "gate.html",
                **of_programme(seen),
                blast=blast,
                standing=blast.standing,
                project=project_of(seen, blast.standing.project),
                waiters=blast.waiters[:WAITING],
                bars=bars_of(blast.waiters),
                parts=None,
            )

        return await self._give(request, tag_of(seen), render)

    async def pipeline(self, _request: web.Request) -> web.Response:
        """Show how reading, recording and drawing go."""
        found = await self._letters.newest()
        body = await self._page(
            "pipeline.html",
            pipeline=self._pipeline(),
            letters=[letter_of(letter) for letter in found.letters],
            unknown=found.unknown,
            programme=None,
        )
        return answer(body, HTML)

    async def _seen(self, request: web.Request) -> Seen:
        return await self._sights.seen(request.match_info["programme"])

    async def _give(self, request: web.Request, tag: str, render: Callable[[], Awaitable[bytes]]) -> web.Response:
        # A page of another release, with other files, is another page.
        return await self._kept.give(request, HTML, f"{tag}-{self._files.digest}", render)

    async def _page(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - whatever the template shows
        return await self._sights.run(lambda: self._render(template, **values))

    def _render(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - as above
        return self._templates.get_template(template).render(values).encode()


def _milestone(request: web.Request) -> tuple[str, str]:
    return request.match_info["project"], request.match_info["milestone"]
