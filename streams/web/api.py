"""`GET /api/…`: the content of the pages as JSON. Routes and OpenAPI are made of one table of operations."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from models.database.queries import read_programme_history
from models.views.explanation import ExplanationSchema, explanation_schema
from models.views.status import status_row
from streams.web.pipeline_status import PipelineMonitor, PipelineSchema
from streams.web.read_model import ProgrammeView, ReadModel
from streams.web.responses import JSON, BadQuery, ResponseCache, uncached_response
from streams.web.schemas import (
    ErrorSchema,
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
from streams.web.view_models import explain_milestone, read_gate_impact


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
    """A GET operation of the API. Its name, summary and schema are those of the function that builds the response."""

    path: str
    build: Callable[..., Awaitable[Struct]]
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    query_parameters: Sequence[QueryParameter] = ()

    @property
    def response_schema(self) -> type[Struct]:
        """The class of the response."""
        schema: type[Struct] = self.build.__annotations__["return"]
        return schema


class Api:
    """The operations, and the functions that build their responses."""

    def __init__(self, read_model: ReadModel, response_cache: ResponseCache, pipeline: PipelineMonitor) -> None:
        self._read_model, self._response_cache, self._pipeline = read_model, response_cache, pipeline
        milestone = "{project}/{milestone}"
        self.operations: Final = (
            Operation("/api/programmes", self.programmes, self._serve_programmes, (OFFSET, PROGRAMMES_LIMIT)),
            self._programme_operation("", self.programme),
            self._programme_operation("/milestones", self.milestones, OFFSET, LIMIT),
            self._programme_operation(f"/milestones/{milestone}", self.explanation),
            self._programme_operation(f"/gates/{milestone}", self.successors, OFFSET, LIMIT),
            self._programme_operation("/moves", self.changes, BEFORE, LIMIT),
            Operation("/api/pipeline", self.pipeline, self._serve_pipeline),
        )

    def _programme_operation(
        self,
        path: str,
        build: Callable[[web.Request, ProgrammeView], Awaitable[Struct]],
        *query_parameters: QueryParameter,
    ) -> Operation:
        async def render(request: web.Request, view: ProgrammeView) -> bytes:
            return msgspec.json.encode(await build(request, view))

        handler = self._response_cache.programme_handler(JSON, render)
        return Operation(f"/api/programmes/{{programme}}{path}", build, handler, query_parameters)

    async def _serve_programmes(self, request: web.Request) -> web.Response:
        version = await self._read_model.get_version()

        async def render() -> bytes:
            return msgspec.json.encode(await self.programmes(request, version))

        return await self._response_cache.respond(request, JSON, f"all-{version}", render)

    async def _serve_pipeline(self, _request: web.Request) -> web.Response:
        return uncached_response(msgspec.json.encode(await self.pipeline()), JSON)

    async def programmes(self, request: web.Request, version: str) -> ProgrammeListSchema:
        """List all programmes as they were calculated last."""
        offset, limit = OFFSET.read(request), PROGRAMMES_LIMIT.read(request)
        overview = await self._read_model.get_overview(version, offset, limit)
        rows = [programme_summary_schema(summary, overview) for summary in overview.programmes]
        return ProgrammeListSchema(overview.total, _next_page(request, offset, limit, overview.total), rows)

    async def programme(self, _request: web.Request, view: ProgrammeView) -> ProgrammeSchema:
        """Show a programme as of today."""
        return await self._read_model.run_in_executor(programme_schema, view)

    async def milestones(self, request: web.Request, view: ProgrammeView) -> MilestoneListSchema:
        """List a programme's milestones with their status."""
        offset, limit = OFFSET.read(request), LIMIT.read(request)
        total, page = len(view.statuses), view.statuses[offset : offset + limit]
        rows = await self._read_model.run_in_executor(lambda: [status_row(status, view.revision) for status in page])
        next_page = _next_page(request, offset, limit, total)
        return MilestoneListSchema(view.programme, view.revision, view.schedule.data_date, total, next_page, rows)

    async def explanation(self, request: web.Request, view: ProgrammeView) -> ExplanationSchema:
        """Explain a forecast: its chain of drivers, and the events behind them."""
        return explanation_schema(await explain_milestone(self._read_model, view, *milestone_in_path(request)))

    async def successors(self, request: web.Request, view: ProgrammeView) -> SuccessorListSchema:
        """List the milestones that wait for a milestone."""
        offset, limit = OFFSET.read(request), LIMIT.read(request)
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

    async def changes(self, request: web.Request, view: ProgrammeView) -> ForecastChangeListSchema:
        """List the changes of forecasts by events, the newest first."""
        before, limit = BEFORE.read(request) or None, LIMIT.read(request)
        changes = await self._read_model.run_query(read_programme_history, view.programme, before, limit)
        has_more = len(changes) == limit and changes[-1].row.number > 1
        next_page = f"{request.path}?before={changes[-1].row.number}&limit={limit}" if has_more else None
        return ForecastChangeListSchema(view.programme, next_page, list(map(forecast_change_schema, changes)))

    async def pipeline(self) -> PipelineSchema:
        """Show the state of this worker's pipeline."""
        return await self._pipeline.read()


def json_error_response(_request: web.Request, status: HTTPStatus, message: str) -> web.Response:
    """Return an error as JSON."""
    response = uncached_response(msgspec.json.encode(ErrorSchema(message)), JSON)
    response.set_status(status)
    return response


def milestone_in_path(request: web.Request) -> tuple[str, str]:
    """Return the project and the milestone in a request's path."""
    return request.match_info["project"], request.match_info["milestone"]


def _next_page(request: web.Request, offset: int, limit: int, total: int) -> str | None:
    return f"{request.path}?offset={offset + limit}&limit={limit}" if offset + limit < total else None
