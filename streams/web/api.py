"""`GET /api/…`: the content of the pages as JSON. Routes and OpenAPI are made of one table of operations."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp.typedefs import Handler
from aiohttp.web import Request, Response
from msgspec import Struct

from models.domain.impact import successors_of
from models.domain.schedule import MilestoneStatus
from models.views.status import encode_json
from streams.monitoring.freshness import FreshnessMonitor
from streams.web import schemas
from streams.web.errors import BadQuery
from streams.web.freshness import FreshnessSchema, freshness_schema
from streams.web.history_cache import MoveFilter
from streams.web.overview import OverviewVersion
from streams.web.picture_parameters import PICTURE_PARAMETERS
from streams.web.pipeline_status import PipelineReader, PipelineSchema
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel
from streams.web.responses import JSON, ResponseCache, uncached_response
from streams.web.urls import with_query
from streams.web.view_models import explain_milestone

#: More digits than any maximum has; leading zeros count.
_MAX_DIGITS: Final = 20


class QueryParameter(NamedTuple):
    """An integer in the query."""

    name: str
    description: str
    minimum: int
    maximum: int
    default: int | None = None

    def read(self, request: Request, _view: object) -> int | None:
        """Return the value in a request, or the default. Raises `BadQuery`."""
        text = request.query.get(self.name)
        if text is None:
            return self.default
        is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
        if not is_number or not self.minimum <= int(text) <= self.maximum:
            raise BadQuery(text=f"{self.name} is a number from {self.minimum} to {self.maximum}.")
        return int(text)


OFFSET: Final = QueryParameter("offset", "Number of rows to skip.", 0, 1_000_000_000, 0)
LIMIT: Final = QueryParameter("limit", "Largest number of rows to return.", 1, 1000, 100)
PROGRAMMES_LIMIT: Final = LIMIT._replace(maximum=200, default=50)
BEFORE: Final = QueryParameter("before", "Only rows with a lower number.", 1, 1 << 62)


def read_milestone(request: Request, view: ProgrammeView) -> MilestoneStatus:
    """Return the milestone in a request's path; raises `NotFoundError`."""
    return view.get_status(request.match_info["project"], request.match_info["milestone"])


class Operation(NamedTuple):
    """A GET operation of the API. Its name and summary are those of the function that builds the response."""

    path: str
    build: Callable[..., Awaitable[Struct]]
    handler: Handler
    query_parameters: Sequence[QueryParameter] = ()
    takes_picture: bool = True
    #: Whether its responses have entity tags.
    is_cached: bool = True

    @property
    def parameter_names(self) -> list[str]:
        """The names of the query's parameters."""
        of_picture = PICTURE_PARAMETERS if self.takes_picture else ()
        return [*(parameter.name for parameter in self.query_parameters), *of_picture]


class Api:
    """The operations, and the functions that build their responses."""

    def __init__(
        self, read_model: ReadModel, cache: ResponseCache, pipeline: PipelineReader, freshness: FreshnessMonitor
    ) -> None:
        self._read_model, self._cache, self._pipeline, self._freshness = read_model, cache, pipeline, freshness
        programme, milestone = "/api/programmes/{programme}", "{project}/{milestone}"
        self.operations: Final = (
            self._operation("/api/programmes", self.programmes, OFFSET, PROGRAMMES_LIMIT),
            self._operation(programme, self.programme),
            self._operation(f"{programme}/milestones", self.milestones, OFFSET, LIMIT),
            self._operation(f"{programme}/milestones/{milestone}", self.explanation),
            self._operation(f"{programme}/gates/{milestone}", self.successors, OFFSET, LIMIT),
            self._operation(f"{programme}/moves", self.moves, BEFORE, LIMIT),
            self._uncached_operation("/api/pipeline", self.pipeline),
            self._uncached_operation("/api/freshness", self.freshness),
        )

    def _operation(self, path: str, build: Callable[..., Awaitable[Struct]], *parameters: QueryParameter) -> Operation:
        async def render(request: Request, view: ProgrammeView | OverviewVersion, *arguments: Any) -> bytes:  # noqa: ANN401 - the arguments of `build`
            answer = await build(request, view, *arguments)
            if view.picture.assumptions:
                answer = msgspec.structs.replace(answer, assumed=True)
            return encode_json(answer)

        of_path = [read_milestone] if "{milestone}" in path else []
        handler = self._cache.handler(JSON, render, [*of_path, *(parameter.read for parameter in parameters)])
        return Operation(path, build, handler, parameters)

    def _uncached_operation(self, path: str, build: Callable[[], Awaitable[Struct]]) -> Operation:
        async def serve(_request: Request) -> Response:
            return uncached_response(msgspec.json.encode(await build()), JSON)

        return Operation(path, build, serve, takes_picture=False, is_cached=False)

    async def programmes(
        self, request: Request, version: OverviewVersion, offset: int, limit: int
    ) -> schemas.ProgrammeListSchema:
        """List all programmes as they were calculated last."""
        overview = await self._read_model.get_overview(version, offset, limit)
        rows = [schemas.programme_summary_schema(summary, overview) for summary in overview.programmes]
        next_page = _next_page(request, offset, limit, overview.total, version)
        return schemas.ProgrammeListSchema(overview.total, next_page, rows)

    async def programme(self, _request: Request, view: ProgrammeView) -> schemas.ProgrammeSchema:
        """Show a programme as of today."""
        return await self._read_model.run_in_executor(schemas.programme_schema, view)

    async def milestones(
        self, request: Request, view: ProgrammeView, offset: int, limit: int
    ) -> schemas.MilestoneListSchema:
        """List a programme's milestones with their status."""
        page = view.statuses[offset : offset + limit]
        next_page = _next_page(request, offset, limit, len(view.statuses), view)
        return await self._read_model.run_in_executor(schemas.milestone_list_schema, view, page, next_page)

    async def explanation(
        self, _request: Request, view: ProgrammeView, status: MilestoneStatus
    ) -> schemas.ComparedExplanationSchema:
        """Explain a forecast: its chain of drivers, and the events behind them."""
        explanation = await explain_milestone(self._read_model, view, status.key)
        return schemas.compared_explanation_schema(view, status, explanation)

    async def successors(
        self, request: Request, view: ProgrammeView, gate: MilestoneStatus, offset: int, limit: int
    ) -> schemas.SuccessorListSchema:
        """List the milestones that wait for a milestone."""
        successors = await self._read_model.run_in_executor(successors_of, view.schedule, gate.key)
        total, gate_row = len(successors), schemas.milestone_row(view, gate)
        rows = [
            schemas.SuccessorSchema(
                schemas.milestone_row(view, row.status),
                str(row.predecessor),
                row.lag_days,
                row.slack_days,
            )
            for row in successors[offset : offset + limit]
        ]
        next_page = _next_page(request, offset, limit, total, view)
        return schemas.SuccessorListSchema(
            view.programme, view.revision, view.schedule.data_date, gate_row, total, next_page, rows
        )

    async def moves(
        self, request: Request, view: ProgrammeView, before: int | None, limit: int
    ) -> schemas.MoveListSchema:
        """List the forecasts that moved, and what was said to move them; newest first; with `compare`, since then."""
        history = self._read_model.history
        moves = await history.get_moves(view.programme, view.revision, before, limit, MoveFilter(view.said_until))
        has_more = bool(moves) and moves[-1].number > 1
        if moves and not view.is_listed(moves[-1].entry):
            moves, has_more = [move for move in moves if view.is_listed(move.entry)], False
        earlier = [("before", str(moves[-1].number)), ("limit", str(limit))] if has_more else []
        next_page = with_query(request.path, [*earlier, *view.parameters]) if has_more else None
        return schemas.MoveListSchema(view.programme, next_page, list(map(schemas.move_schema, moves)))

    async def pipeline(self) -> PipelineSchema:
        """Show the state of the pipeline."""
        return await self._pipeline.read()

    async def freshness(self) -> FreshnessSchema:
        """Show how fresh the board is: its newest event, and since when what keeps it from being current."""
        return freshness_schema(self._freshness.status, self._freshness.now())


def _next_page(
    request: Request, offset: int, limit: int, total: int, view: ProgrammeView | OverviewVersion
) -> str | None:
    if offset + limit >= total:
        return None
    return with_query(request.path, [("offset", str(offset + limit)), ("limit", str(limit)), *view.parameters])
