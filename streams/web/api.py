"""`GET /api/…`: what the pages show, for programs. The table of operations makes the routes and their description."""

import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from models.views.explanation import explanation_to_json
from streams.web.dead_letters import DeadLetterCache
from streams.web.pipeline_status import PipelineStatus
from streams.web.read_model import ProgrammeView, ReadModel
from streams.web.responses import JSON, ResponseCache, encode_json, int_parameter, uncached_response
from streams.web.schemas import (
    ErrorSchema,
    ExplanationSchema,
    ForecastChangeListSchema,
    MilestoneListSchema,
    PipelineSchema,
    ProgrammeListSchema,
    ProgrammeSchema,
    SuccessorListSchema,
    dead_letter_schema,
    forecast_change_schema,
    next_page_url,
    programme_list_schema,
    programme_schema,
    status_row,
    successor_schema,
)
from streams.web.view_models import explain_milestone, read_gate_impact, read_programme_changes

#: How many rows a page may have, and has unless asked otherwise.
MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE = 1000, 100
MAX_PROGRAMMES_PAGE_SIZE: Final = 200
MAX_PAGE_OFFSET: Final = 1_000_000_000


class QueryParameter(NamedTuple):
    """What a query may say."""

    name: str
    description: str
    maximum: int
    default: int | None = None
    minimum: int = 0


class Operation(NamedTuple):
    """One thing that can be asked."""

    path: str
    summary: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    response_schema: type[Struct]
    query_parameters: Sequence[QueryParameter] = ()


def page_parameters(
    max_limit: int = MAX_PAGE_SIZE, default_limit: int = DEFAULT_PAGE_SIZE
) -> tuple[QueryParameter, ...]:
    """Return what the query of a list may say."""
    return (
        QueryParameter("offset", "How many to leave out first.", MAX_PAGE_OFFSET, 0),
        QueryParameter("limit", "How many to return at most.", max_limit, default_limit, 1),
    )


class Api:
    """The operations."""

    def __init__(
        self,
        read_model: ReadModel,
        response_cache: ResponseCache,
        dead_letters: DeadLetterCache,
        read_status: Callable[[], PipelineStatus],
    ) -> None:
        self._read_model, self._response_cache, self._dead_letters, self._read_status = (
            read_model,
            response_cache,
            dead_letters,
            read_status,
        )
        one, its = "/api/programmes/{programme}", "{project}/{milestone}"
        lists = page_parameters()
        self.operations: Final = (
            Operation(
                "/api/programmes",
                "All programmes, as they were drawn last.",
                self._programmes,
                ProgrammeListSchema,
                page_parameters(MAX_PROGRAMMES_PAGE_SIZE, 50),
            ),
            Operation(one, "One programme, as it stands today.", self._programme, ProgrammeSchema),
            Operation(f"{one}/milestones", "How its milestones stand.", self._milestones, MilestoneListSchema, lists),
            Operation(f"{one}/milestones/{its}", "Why a forecast is what it is.", self._why, ExplanationSchema),
            Operation(f"{one}/gates/{its}", "Who waits for a milestone.", self._gate, SuccessorListSchema, lists),
            Operation(
                f"{one}/moves",
                "Every forecast that an event moved, the newest first.",
                self._moves,
                ForecastChangeListSchema,
                (
                    QueryParameter("before", "Only those numbered below this.", 1 << 62, None, 1),
                    QueryParameter("limit", "How many to return at most.", MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE, 1),
                ),
            ),
            Operation("/api/pipeline", "How this worker reads, records and draws.", self._ask_pipeline, PipelineSchema),
        )

    async def _programmes(self, request: web.Request) -> web.Response:
        offset, limit = _page_bounds(request, MAX_PROGRAMMES_PAGE_SIZE, 50)
        turn = await self._read_model.get_version()

        async def render() -> bytes:
            overview = await self._read_model.get_overview(turn, offset, limit)
            return encode_json(
                programme_list_schema(overview, next_page_url(request.path, offset, limit, overview.total))
            )

        return await self._response_cache.respond(request, JSON, f"all-{turn}", render)

    async def _programme(self, request: web.Request) -> web.Response:
        return await self._respond_for_programme(request, lambda seen: encode_json(programme_schema(seen)))

    async def _milestones(self, request: web.Request) -> web.Response:
        offset, limit = _page_bounds(request)

        def render(view: ProgrammeView) -> bytes:
            total = len(view.statuses)
            rows = [status_row(one, view.revision) for one in view.statuses[offset : offset + limit]]
            following = next_page_url(request.path, offset, limit, total)
            return encode_json(
                MilestoneListSchema(view.programme, view.revision, view.schedule.data_date, total, following, rows)
            )

        return await self._respond_for_programme(request, render)

    async def _why(self, request: web.Request) -> web.Response:
        seen = await self._programme_view(request)

        async def render() -> bytes:
            found = await explain_milestone(self._read_model, seen, *_milestone_in_path(request))
            # Through the schema, so that what is described is what is sent.
            told: dict[str, Any] = json.loads(explanation_to_json(found))
            return encode_json(msgspec.convert(told, ExplanationSchema))

        return await self._response_cache.respond(request, JSON, programme_etag(seen), render)

    async def _gate(self, request: web.Request) -> web.Response:
        seen, (offset, limit) = await self._programme_view(request), _page_bounds(request)

        async def render() -> bytes:
            blast = await read_gate_impact(self._read_model, seen, *_milestone_in_path(request))
            total = len(blast.successors)
            rows = [successor_schema(one, seen.revision) for one in blast.successors[offset : offset + limit]]
            following = next_page_url(request.path, offset, limit, total)
            gate = status_row(blast.status, seen.revision)
            return encode_json(
                SuccessorListSchema(
                    seen.programme, seen.revision, seen.schedule.data_date, gate, total, following, rows
                )
            )

        return await self._response_cache.respond(request, JSON, programme_etag(seen), render)

    async def _moves(self, request: web.Request) -> web.Response:
        seen = await self._programme_view(request)
        limit = int_parameter(request, "limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, 1)
        before = int_parameter(request, "before", 0, 1 << 62) or None

        async def render() -> bytes:
            reports = await read_programme_changes(self._read_model, seen.programme, before, limit)
            more = len(reports) == limit and reports[-1].row.number > 1
            following = f"{request.path}?before={reports[-1].row.number}&limit={limit}" if more else None
            return encode_json(
                ForecastChangeListSchema(
                    seen.programme, following, [forecast_change_schema(report) for report in reports]
                )
            )

        return await self._response_cache.respond(request, JSON, programme_etag(seen), render)

    async def _ask_pipeline(self, _request: web.Request) -> web.Response:
        found = await self._dead_letters.newest()
        shown = PipelineSchema(
            self._read_status(), [dead_letter_schema(letter) for letter in found.dead_letters], found.error or None
        )
        return uncached_response(encode_json(shown), JSON)

    async def _programme_view(self, request: web.Request) -> ProgrammeView:
        return await self._read_model.get_programme(request.match_info["programme"])

    async def _respond_for_programme(
        self, request: web.Request, render: Callable[[ProgrammeView], bytes]
    ) -> web.Response:
        seen = await self._programme_view(request)
        return await self._response_cache.respond(
            request, JSON, programme_etag(seen), lambda: self._read_model.run_in_executor(lambda: render(seen))
        )


def programme_etag(view: ProgrammeView) -> str:
    """Return what names a programme as it is shown, with its history."""
    drawn = (
        f"{view.forecast_version.revision}-{view.forecast_version.data_date}"
        if view.forecast_version is not None
        else "new"
    )
    return f"{view.revision}-{drawn}-{view.schedule.data_date}"


def json_error_response(_request: web.Request, status: HTTPStatus, message: str) -> web.Response:
    """Return an error for programs."""
    return web.Response(
        body=encode_json(ErrorSchema(message)), status=status, content_type=JSON, headers={"Cache-Control": "no-store"}
    )


def _page_bounds(
    request: web.Request, max_limit: int = MAX_PAGE_SIZE, default_limit: int = DEFAULT_PAGE_SIZE
) -> tuple[int, int]:
    return int_parameter(request, "offset", 0, MAX_PAGE_OFFSET), int_parameter(
        request, "limit", default_limit, max_limit, 1
    )


def _milestone_in_path(request: web.Request) -> tuple[str, str]:
    return request.match_info["project"], request.match_info["milestone"]
