"""The pages: each is rendered here, whole, and readable without a script."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final, NamedTuple

from aiohttp import web

from deploy.board import addresses
from deploy.board.answering import HTML, Asked, Kept, answer, whole_number
from deploy.board.answers import letter_of, states_of
from deploy.board.api import MOST_OFFSET, tag_of
from deploy.board.files import Files
from deploy.board.lanes import axis, lanes
from deploy.board.letters import LetterBox
from deploy.board.pipeline import Pipeline
from deploy.board.sights import NotThereError, Seen, Sights
from deploy.board.views import (
    MOST_LINES,
    Line,
    moved_days,
    read_blast,
    read_lines,
    read_moves,
    read_why,
    telling,
)
from deploy.board.wording import environment
from deploy.claims import WORDS, said
from deploy.explain import Explanation, name_of, sentences, what
from models.explanation import Evidence
from models.instants import read_stamp
from models.milestones import Project, ProjectKey
from models.schedule import Standing, State
from models.waiting import Waiter

#: How many programmes, milestones, moves and waiting milestones one page takes.
PROGRAMMES, MILESTONES, MOVES, WAITING = 50, 1000, 100, 500
#: How many bars a gate's chart has.
MOST_BARS: Final = 40
_FILTERS: Final[Mapping[str, frozenset[State]]] = {
    "all": frozenset(State),
    "late": frozenset({State.OVERDUE, State.BLOCKED, State.SLIPPING}),
    "open": frozenset(State) - {State.ACHIEVED, State.CANCELLED},
}


class Claimed(NamedTuple):
    """A piece of evidence as a page tells it."""

    time: str
    role: str
    what: str
    source: str
    id: str
    words: Sequence[tuple[str, str]]
    is_held: bool


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
            web.get(addresses.PIPELINE, self.pipeline),
        ]

    def sorry(self, request: web.Request, status: HTTPStatus, sentence: str) -> web.Response:
        """Return an error for people."""
        body = self._render("sorry.html", status=status, sentence=sentence, programme=None)
        response = answer(request, body, HTML, None)
        response.set_status(status)
        return response

    async def overview(self, request: web.Request) -> web.Response:
        """Show all programmes: which gate slipped, and whom it holds up."""
        offset = whole_number(request, "offset", 0, MOST_OFFSET)
        await self._sights.watch.drawn()
        digest = self._sights.watch.digest

        async def render() -> bytes:
            found = await self._sights.overview(offset, PROGRAMMES)
            gates = sum(len(held) for held in found.hold_ups.values())
            return await self._page(
                "overview.html",
                overview=found,
                gates=gates,
                held=sum(one.late for held in found.hold_ups.values() for one in held),
                pages=_Pages.of(request.path, offset, PROGRAMMES, found.total),
                programme=None,
            )

        return await self._give(request, f"all-{digest}", render)

    async def timeline(self, request: web.Request) -> web.Response:
        """Show a programme over time."""
        seen = await self._seen(request)
        show = request.query.get("show", "all")
        if show not in _FILTERS:
            raise Asked(text=f"show is one of {', '.join(_FILTERS)}.")
        offset = whole_number(request, "offset", 0, MOST_OFFSET)

        def render() -> bytes:
            wanted = [one for one in _gates_first(seen) if one.state in _FILTERS[show]]
            shown = wanted[offset : offset + MILESTONES]
            on = axis(shown, seen.shown.day)
            drawn = groupby(lanes(shown, on), key=lambda lane: lane.standing.project)
            return self._render(
                "timeline.html",
                **_of(seen),
                axis=on,
                today=on.at(seen.shown.day),
                projects=[(_project(seen, name), list(its)) for name, its in drawn],
                show=show,
                filters={name: sum(one.state in its for one in seen.standings) for name, its in _FILTERS.items()},
                pages=_Pages.of(request.path, offset, MILESTONES, len(wanted), show=show),
                parts="timeline",
            )

        return await self._give(request, tag_of(seen), lambda: self._sights.run(render))

    async def trend(self, request: web.Request) -> web.Response:
        """Show what was forecast when."""
        seen = await self._seen(request)
        before = whole_number(request, "before", 0, 1 << 62) or None
        asked = request.query.getall("milestone", [])[:MOST_LINES]
        chosen = [_named(seen, text) for text in asked] or telling(seen)

        async def render() -> bytes:
            lines = await read_lines(self._sights, seen, chosen)
            moves = await read_moves(self._sights, seen.programme, before, MOVES)
            return await self._page(
                "trend.html",
                **_of(seen),
                lines=lines,
                data=[_drawn(line) for line in lines],
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
                **_of(seen),
                standing=standing,
                project=_project(seen, standing.project),
                chain=[(link, list(sentences(link)), _claimed(found, link.evidence)) for link in found.chain],
                line=line,
                data=[_drawn(line)],
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
                **_of(seen),
                blast=blast,
                standing=blast.standing,
                project=_project(seen, blast.standing.project),
                waiters=blast.waiters[:WAITING],
                bars=_bars(blast.waiters),
                parts=None,
            )

        return await self._give(request, tag_of(seen), render)

    async def pipeline(self, request: web.Request) -> web.Response:
        """Show how reading, recording and drawing go."""
        found = await self._letters.newest()
        body = await self._page(
            "pipeline.html",
            pipeline=self._pipeline(),
            letters=[letter_of(letter) for letter in found.letters],
            unknown=found.unknown,
            programme=None,
        )
        return answer(request, body, HTML, None)

    async def _seen(self, request: web.Request) -> Seen:
        return await self._sights.seen(request.match_info["programme"])

    async def _give(self, request: web.Request, tag: str, render: Callable[[], Awaitable[bytes]]) -> web.Response:
        # A page of another release, with other files, is another page.
        return await self._kept.give(request, HTML, f"{tag}-{self._files.digest}", render)

    async def _page(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - whatever the template shows
        return await self._sights.run(lambda: self._render(template, **values))

    def _render(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - as above
        return self._templates.get_template(template).render(values).encode()


class _Pages(NamedTuple):
    """Where a list goes on."""

    first: int
    last: int
    total: int
    earlier: str | None
    later: str | None

    @classmethod
    def of(cls, path: str, offset: int, size: int, total: int, **query: str) -> "_Pages":
        more = "".join(f"&{name}={value}" for name, value in query.items())
        earlier = f"{path}?offset={max(0, offset - size)}{more}" if offset else None
        later = f"{path}?offset={offset + size}{more}" if offset + size < total else None
        return cls(min(offset + 1, total), min(offset + size, total), total, earlier, later)


class _Known(NamedTuple):
    """What is known of a project."""

    project: str
    name: str | None
    kind: str | None
    site: str | None


def _project(seen: Seen, project: str) -> _Known:
    known = seen.facts.projects.get(ProjectKey(seen.programme, project)) or Project()
    name, kind, site = (
        None if register is None else register.value for register in (known.name, known.kind, known.site)
    )
    return _Known(project, name, kind, site)


def _of(seen: Seen) -> dict[str, Any]:
    """Return what every page of a programme shows."""
    known = seen.facts.programmes.get(seen.programme)
    return {
        "seen": seen,
        "programme": seen.programme,
        "announced": known,
        "counts": states_of(seen.standings),
        "projects_count": len(seen.facts.existing_projects()),
    }


def _gates_first(seen: Seen) -> list[Standing]:
    """Return all that stands, the projects whose gates hold up others before the rest."""
    ranks: dict[str, int] = {}
    for one in seen.hold_ups:
        ranks.setdefault(one.gate.name.project, len(ranks))
    return sorted(seen.standings, key=lambda one: (ranks.get(one.project, len(ranks)), one.project))


def _milestone(request: web.Request) -> tuple[str, str]:
    return request.match_info["project"], request.match_info["milestone"]


def _named(seen: Seen, text: str) -> Standing:
    project, slash, milestone = text.partition("/")
    if not slash:
        raise NotThereError("A milestone is named project/milestone.")
    return seen.standing(project, milestone)


def _drawn(line: Line) -> dict[str, Any]:
    """Return a line as a chart takes it."""
    one = line.standing
    return {
        "name": f"{one.project}/{one.milestone}",
        "state": one.state,
        "points": [[point.day, point.forecast] for point in line.points],
    }


def _bars(waiters: Sequence[Waiter]) -> list[dict[str, Any]]:
    """Return the bars of a gate's chart: what moves with it, the furthest from its baseline first."""
    held = [one for one in waiters if one.is_held and one.standing.slip_days is not None]
    held.sort(key=lambda one: -(one.standing.slip_days or 0))
    return [
        {
            "name": f"{one.standing.project}/{one.standing.milestone}",
            "days": one.standing.slip_days,
            "state": one.standing.state,
        }
        for one in held[:MOST_BARS]
    ]


def _claimed(found: Explanation, evidence: Sequence[Evidence]) -> list[Claimed]:
    claims = []
    for stamp, its in groupby(evidence, key=lambda one: one.stamp):
        roles = list(its)
        name = name_of(roles[0])
        event = found.events.get(name)
        words = [(word, text) for word in WORDS if (text := said(event, word)) is not None]
        time = read_stamp(stamp).instant
        role = " and ".join(one.role for one in roles)
        claims.append(Claimed(f"{time[:10]} {time[11:16]} UTC", role, what(event), *name, words, event is not None))
    return claims
