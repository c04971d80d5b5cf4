"""`GET /api/…`: what the pages show, for programs. The table of operations makes the routes and their description."""

import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from models.views.explanation import as_json
from streams.web.dead_letters import LetterBox
from streams.web.pipeline_status import Pipeline
from streams.web.read_model import Seen, Sights
from streams.web.responses import JSON, Kept, answer, encode, whole_number
from streams.web.schemas import (
    ExplanationAnswer,
    Milestones,
    Moves,
    PipelineAnswer,
    Problem,
    ProgrammeAnswer,
    Programmes,
    Waiting,
    following_page,
    letter_of,
    move_of,
    programme_of,
    programmes_of,
    row_of,
    waiter_of,
)
from streams.web.view_models import read_blast, read_moves, read_why

#: How many rows a page may have, and has unless asked otherwise.
MOST, USUAL = 1000, 100
MOST_PROGRAMMES: Final = 200
MOST_OFFSET: Final = 1_000_000_000


class Parameter(NamedTuple):
    """What a query may say."""

    name: str
    what: str
    most: int
    usual: int | None = None
    least: int = 0


class Operation(NamedTuple):
    """One thing that can be asked."""

    path: str
    what: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    answers: type[Struct]
    query: Sequence[Parameter] = ()


def paged(most: int = MOST, usual: int = USUAL) -> tuple[Parameter, ...]:
    """Return what the query of a list may say."""
    return (
        Parameter("offset", "How many to leave out first.", MOST_OFFSET, 0),
        Parameter("limit", "How many to return at most.", most, usual, 1),
    )


class Api:
    """The operations."""

    def __init__(self, sights: Sights, kept: Kept, letters: LetterBox, pipeline: Callable[[], Pipeline]) -> None:
        self._sights, self._kept, self._letters, self._pipeline = sights, kept, letters, pipeline
        one, its = "/api/programmes/{programme}", "{project}/{milestone}"
        lists = paged()
        self.operations: Final = (
            Operation(
                "/api/programmes",
                "All programmes, as they were drawn last.",
                self._programmes,
                Programmes,
                paged(MOST_PROGRAMMES, 50),
            ),
            Operation(one, "One programme, as it stands today.", self._programme, ProgrammeAnswer),
            Operation(f"{one}/milestones", "How its milestones stand.", self._milestones, Milestones, lists),
            Operation(f"{one}/milestones/{its}", "Why a forecast is what it is.", self._why, ExplanationAnswer),
            Operation(f"{one}/gates/{its}", "Who waits for a milestone.", self._gate, Waiting, lists),
            Operation(
                f"{one}/moves",
                "Every forecast that an event moved, the newest first.",
                self._moves,
                Moves,
                (
                    Parameter("before", "Only those numbered below this.", 1 << 62, None, 1),
                    Parameter("limit", "How many to return at most.", MOST, USUAL, 1),
                ),
            ),
            Operation("/api/pipeline", "How this worker reads, records and draws.", self._ask_pipeline, PipelineAnswer),
        )

    async def _programmes(self, request: web.Request) -> web.Response:
        offset, limit = _page(request, MOST_PROGRAMMES, 50)
        turn = await self._sights.turn()

        async def render() -> bytes:
            overview = await self._sights.overview(turn, offset, limit)
            return encode(programmes_of(overview, following_page(request.path, offset, limit, overview.total)))

        return await self._kept.give(request, JSON, f"all-{turn}", render)

    async def _programme(self, request: web.Request) -> web.Response:
        return await self._of(request, lambda seen: encode(programme_of(seen)))

    async def _milestones(self, request: web.Request) -> web.Response:
        offset, limit = _page(request)

        def render(seen: Seen) -> bytes:
            total = len(seen.standings)
            rows = [row_of(one, seen.revision) for one in seen.standings[offset : offset + limit]]
            following = following_page(request.path, offset, limit, total)
            return encode(Milestones(seen.programme, seen.revision, seen.shown.day, total, following, rows))

        return await self._of(request, render)

    async def _why(self, request: web.Request) -> web.Response:
        seen = await self._seen(request)

        async def render() -> bytes:
            found = await read_why(self._sights, seen, *_milestone(request))
            # Through the schema, so that what is described is what is sent.
            told: dict[str, Any] = json.loads(as_json(found))
            return encode(msgspec.convert(told, ExplanationAnswer))

        return await self._kept.give(request, JSON, tag_of(seen), render)

    async def _gate(self, request: web.Request) -> web.Response:
        seen, (offset, limit) = await self._seen(request), _page(request)

        async def render() -> bytes:
            blast = await read_blast(self._sights, seen, *_milestone(request))
            total = len(blast.waiters)
            rows = [waiter_of(one, seen.revision) for one in blast.waiters[offset : offset + limit]]
            following = following_page(request.path, offset, limit, total)
            gate = row_of(blast.standing, seen.revision)
            return encode(Waiting(seen.programme, seen.revision, seen.shown.day, gate, total, following, rows))

        return await self._kept.give(request, JSON, tag_of(seen), render)

    async def _moves(self, request: web.Request) -> web.Response:
        seen = await self._seen(request)
        limit = whole_number(request, "limit", USUAL, MOST, 1)
        before = whole_number(request, "before", 0, 1 << 62) or None

        async def render() -> bytes:
            reports = await read_moves(self._sights, seen.programme, before, limit)
            more = len(reports) == limit and reports[-1].noted.number > 1
            following = f"{request.path}?before={reports[-1].noted.number}&limit={limit}" if more else None
            return encode(Moves(seen.programme, following, [move_of(report) for report in reports]))

        return await self._kept.give(request, JSON, tag_of(seen), render)

    async def _ask_pipeline(self, _request: web.Request) -> web.Response:
        found = await self._letters.newest()
        shown = PipelineAnswer(self._pipeline(), [letter_of(letter) for letter in found.letters], found.unknown or None)
        return answer(encode(shown), JSON)

    async def _seen(self, request: web.Request) -> Seen:
        return await self._sights.seen(request.match_info["programme"])

    async def _of(self, request: web.Request, render: Callable[[Seen], bytes]) -> web.Response:
        seen = await self._seen(request)
        return await self._kept.give(request, JSON, tag_of(seen), lambda: self._sights.run(lambda: render(seen)))


def tag_of(seen: Seen) -> str:
    """Return what names a programme as it is shown, with its history."""
    drawn = f"{seen.drawn.revision}-{seen.drawn.day}" if seen.drawn is not None else "new"
    return f"{seen.revision}-{drawn}-{seen.shown.day}"


def problem(_request: web.Request, status: HTTPStatus, sentence: str) -> web.Response:
    """Return an error for programs."""
    return web.Response(
        body=encode(Problem(sentence)), status=status, content_type=JSON, headers={"Cache-Control": "no-store"}
    )


def _page(request: web.Request, most: int = MOST, usual: int = USUAL) -> tuple[int, int]:
    return whole_number(request, "offset", 0, MOST_OFFSET), whole_number(request, "limit", usual, most, 1)


def _milestone(request: web.Request) -> tuple[str, str]:
    return request.match_info["project"], request.match_info["milestone"]
