"""`GET /api/…`: the content of the pages as JSON. Routes and OpenAPI are made of one table of operations."""

import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from models.views.explanation import explanation_to_json
from models.views.status import status_row
from streams.web.pipeline_status import PipelineMonitor, PipelineSchema
from streams.web.read_model import ProgrammeView, ReadModel
from streams.web.responses import JSON, BadQuery, ResponseCache, encode_json, uncached_response
from streams.web.schemas import (
    ErrorSchema,
    ExplanationSchema,
    ForecastChangeListSchema,
    MilestoneListSchema,
    ProgrammeListSchema,
    ProgrammeSchema,
    SuccessorListSchema,
    forecast_change_schema,
    programme_schema,
    programme_summary_schema,
    successor_schema,
)
from streams.web.view_models import explain_milestone, read_gate_impact, read_programme_changes


class QueryParameter(NamedTuple):
    """An integer in the query."""

    name: str
    description: str
    minimum: int
    maximum: int
    default: int | None = None

    def read(self, request: web.Request) -> int:
        """Return the value in a request; 0 without a value and a default. Raises `BadQuery`."""
        text = request.query.get(self.name)
        if text is None:
            return self.default or 0
        is_number = text.isascii() and text.isdigit() and len(text) < len(str(1 << 63))
        if not is_number or not self.minimum <= int(text) <= self.maximum:
            raise BadQuery(text=f"{self.name} is a number from {self.minimum} to {self.maximum}.")
        return int(text)


OFFSET: Final = QueryParameter("offset", "Number of rows to skip.", 0, 1_000_000_000, 0)
LIMIT: Final = QueryParameter("limit", "Largest number of rows to return.", 1, 1000, 100)
PROGRAMMES_LIMIT: Final = LIMIT._replace(maximum=200, default=50)
BEFORE: Final = QueryParameter("before", "Only rows with a lower number.", 1, 1 << 62)


class Operation(NamedTuple):
    """A GET operation of the API."""

    operation_id: str
    path: str
    summary: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    response_schema: type[Struct]
    query_parameters: Sequence[QueryParameter] = ()


class Api:
    """The operations and their handlers."""

    def __init__(self, read_model: ReadModel, response_cache: ResponseCache, pipeline: PipelineMonitor) -> None:
        self._read_model, self._response_cache, self._pipeline = read_model, response_cache, pipeline
        programme, milestone, lists = "/api/programmes/{programme}", "{project}/{milestone}", (OFFSET, LIMIT)
        self.operations: Final = (
            Operation(
                "programmes",
                "/api/programmes",
                "All programmes, as they were calculated last.",
                self._programmes,
                ProgrammeListSchema,
                (OFFSET, PROGRAMMES_LIMIT),
            ),
            Operation("programme", programme, "One programme today.", self._programme, ProgrammeSchema),
            Operation(
                "milestones",
                f"{programme}/milestones",
                "The status of its milestones.",
                self._milestones,
                MilestoneListSchema,
                lists,
            ),
            Operation(
                "why",
                f"{programme}/milestones/{milestone}",
                "Why a forecast is what it is.",
                self._explanation,
                ExplanationSchema,
            ),
            Operation(
                "gate",
                f"{programme}/gates/{milestone}",
                "The milestones that wait for a milestone.",
                self._successors,
                SuccessorListSchema,
                lists,
            ),
            Operation(
                "moves",
                f"{programme}/moves",
                "Every change of a forecast by an event, the newest first.",
                self._changes,
                ForecastChangeListSchema,
                (BEFORE, LIMIT),
            ),
            Operation(
                "ask_pipeline",
                "/api/pipeline",
                "The state of this worker's pipeline.",
                self._pipeline_status,
                PipelineSchema,
            ),
        )

    async def _programmes(self, request: web.Request) -> web.Response:
        offset, limit = OFFSET.read(request), PROGRAMMES_LIMIT.read(request)
        version = await self._read_model.get_version()

        async def render() -> bytes:
            overview = await self._read_model.get_overview(version, offset, limit)
            rows = [programme_summary_schema(summary, overview) for summary in overview.programmes]
            next_page = _next_page(request, offset, limit, overview.total)
            return encode_json(ProgrammeListSchema(overview.total, next_page, rows))

        return await self._response_cache.respond(request, JSON, f"all-{version}", render)

    async def _programme(self, request: web.Request) -> web.Response:
        async def build(view: ProgrammeView) -> ProgrammeSchema:
            return await self._read_model.run_in_executor(lambda: programme_schema(view))

        return await self._respond(request, build)

    async def _milestones(self, request: web.Request) -> web.Response:
        offset, limit = OFFSET.read(request), LIMIT.read(request)

        async def build(view: ProgrammeView) -> MilestoneListSchema:
            total, page = len(view.statuses), view.statuses[offset : offset + limit]
            rows = await self._read_model.run_in_executor(lambda: [status_row(row, view.revision) for row in page])
            next_page = _next_page(request, offset, limit, total)
            return MilestoneListSchema(view.programme, view.revision, view.schedule.data_date, total, next_page, rows)

        return await self._respond(request, build)

    async def _explanation(self, request: web.Request) -> web.Response:
        async def build(view: ProgrammeView) -> ExplanationSchema:
            explanation = await explain_milestone(self._read_model, view, *milestone_in_path(request))
            # Conversion through the schema guarantees that the response is as described.
            return msgspec.convert(json.loads(explanation_to_json(explanation)), ExplanationSchema)

        return await self._respond(request, build)

    async def _successors(self, request: web.Request) -> web.Response:
        offset, limit = OFFSET.read(request), LIMIT.read(request)

        async def build(view: ProgrammeView) -> SuccessorListSchema:
            impact = await read_gate_impact(self._read_model, view, *milestone_in_path(request))
            total = len(impact.successors)
            return SuccessorListSchema(
                view.programme,
                view.revision,
                view.schedule.data_date,
                status_row(impact.status, view.revision),
                total,
                _next_page(request, offset, limit, total),
                [successor_schema(row, view.revision) for row in impact.successors[offset : offset + limit]],
            )

        return await self._respond(request, build)

    async def _changes(self, request: web.Request) -> web.Response:
        before, limit = BEFORE.read(request), LIMIT.read(request)

        async def build(view: ProgrammeView) -> ForecastChangeListSchema:
            changes = await read_programme_changes(self._read_model, view.programme, before or None, limit)
            has_more = len(changes) == limit and changes[-1].row.number > 1
            next_page = f"{request.path}?before={changes[-1].row.number}&limit={limit}" if has_more else None
            return ForecastChangeListSchema(view.programme, next_page, list(map(forecast_change_schema, changes)))

        return await self._respond(request, build)

    async def _pipeline_status(self, _request: web.Request) -> web.Response:
        return uncached_response(encode_json(await self._pipeline.read()), JSON)

    async def _respond(self, request: web.Request, build: Callable[[ProgrammeView], Awaitable[Struct]]) -> web.Response:
        view = await self._read_model.get_programme(request.match_info["programme"])

        async def render() -> bytes:
            return encode_json(await build(view))

        return await self._response_cache.respond(request, JSON, view.etag, render)


def json_error_response(_request: web.Request, status: HTTPStatus, message: str) -> web.Response:
    """Return an error as JSON."""
    response = uncached_response(encode_json(ErrorSchema(message)), JSON)
    response.set_status(status)
    return response


def milestone_in_path(request: web.Request) -> tuple[str, str]:
    """Return the project and the milestone in a request's path."""
    return request.match_info["project"], request.match_info["milestone"]


def _next_page(request: web.Request, offset: int, limit: int, total: int) -> str | None:
    return f"{request.path}?offset={offset + limit}&limit={limit}" if offset + limit < total else None
