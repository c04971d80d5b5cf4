"""The board's pages: rendered completely on the server, and readable without a script."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

import msgspec
from aiohttp import web

from models.database.queries import read_programme_history
from models.domain.claims import ProjectClaims, ProjectKey
from models.domain.schedule import State
from models.views.explanation import link_sentences
from streams.web import urls
from streams.web.api import BEFORE, OFFSET, milestone_in_path
from streams.web.pipeline_status import PipelineMonitor
from streams.web.read_model import ProgrammeView, ReadModel
from streams.web.responses import HTML, BadQuery, ResponseCache, uncached_response
from streams.web.schemas import count_states
from streams.web.templating import create_environment
from streams.web.timeline import fit_percent_axis, lay_out_lanes
from streams.web.view_models import (
    MAX_TREND_LINES,
    Pager,
    changed_by_days,
    evidence_views,
    explain_milestone,
    find_milestone,
    read_gate_impact,
    read_trend_lines,
    select_trend_milestones,
    slip_bars,
    sort_gates_first,
    trend_series,
)

PROGRAMMES_PER_PAGE, MILESTONES_PER_PAGE, FORECAST_CHANGES_PER_PAGE, SUCCESSORS_PER_PAGE = 50, 1000, 100, 500
_STATE_FILTERS: Final[Mapping[str, frozenset[State]]] = {
    "all": frozenset(State),
    "late": frozenset({State.OVERDUE, State.BLOCKED, State.SLIPPING}),
    "open": frozenset(State) - {State.ACHIEVED, State.CANCELLED},
}


class HtmlPages:
    """The handlers of the pages."""

    def __init__(
        self,
        read_model: ReadModel,
        response_cache: ResponseCache,
        pipeline: PipelineMonitor,
        static_urls: Mapping[str, str],
    ) -> None:
        self._read_model, self._response_cache, self._pipeline = read_model, response_cache, pipeline
        self._templates = create_environment(static_urls)
        # A page of another release, with other static files, must have another entity tag.
        self._release = "-" + blake2b("".join(static_urls.values()).encode(), digest_size=6).hexdigest()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the pages."""
        milestone = "{project}/{milestone}"
        return [
            web.get("/", self.overview),
            self._programme_route("", self.timeline),
            self._programme_route("/trend", self.trend),
            self._programme_route(f"/milestones/{milestone}", self.milestone),
            self._programme_route(f"/gates/{milestone}", self.gate),
            web.get(urls.PIPELINE_PATH, self.pipeline),
        ]

    def _programme_route(
        self, path: str, read: Callable[[web.Request, ProgrammeView], Awaitable[dict[str, Any]]]
    ) -> web.RouteDef:
        """Return the route of a programme's page: its template has the name of the function that reads its values."""

        async def render(request: web.Request, view: ProgrammeView) -> bytes:
            values = {"view": view, "programme": view.programme} | await read(request, view)
            return await self._read_model.run_in_executor(self._render, f"{read.__name__}.html", **values)

        handler = self._response_cache.programme_handler(HTML, render, self._release)
        return web.get(f"/programmes/{{programme}}{path}", handler)

    def _render(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - whatever the template shows
        return self._templates.get_template(template).render(values).encode()

    def html_error_response(self, _request: web.Request, status: HTTPStatus, message: str) -> web.Response:
        """Return an error as a page."""
        response = uncached_response(self._render("error.html", status=status, message=message), HTML)
        response.set_status(status)
        return response

    async def overview(self, request: web.Request) -> web.Response:
        """Show all programmes: which gates slipped, and which milestones they delay."""
        offset = OFFSET.read(request)
        version = await self._read_model.get_version()

        async def render() -> bytes:
            overview = await self._read_model.get_overview(version, offset, PROGRAMMES_PER_PAGE)
            delay_roots = [root for roots in overview.delay_roots.values() for root in roots]
            return await self._read_model.run_in_executor(
                self._render,
                "overview.html",
                version=version,
                overview=overview,
                gate_count=len(delay_roots),
                delayed_count=sum(root.late_count for root in delay_roots),
                pager=Pager.for_list(request.path, offset, PROGRAMMES_PER_PAGE, overview.total),
            )

        return await self._response_cache.respond(request, HTML, f"all-{version}{self._release}", render)

    async def timeline(self, request: web.Request, view: ProgrammeView) -> dict[str, Any]:
        """Show the milestones of a programme over time."""
        offset, show = OFFSET.read(request), request.query.get("show", "all")
        if show not in _STATE_FILTERS:
            raise BadQuery(text=f"show is one of {', '.join(_STATE_FILTERS)}.")
        return await self._read_model.run_in_executor(_timeline_values, request.path, view, offset, show)

    async def trend(self, request: web.Request, view: ProgrammeView) -> dict[str, Any]:
        """Show the forecasts of milestones against the days on which they were reported."""
        before = BEFORE.read(request) or None
        requested = request.query.getall("milestone", [])[:MAX_TREND_LINES]
        statuses = [find_milestone(view, name) for name in requested] or select_trend_milestones(view)
        lines = await read_trend_lines(self._read_model, view, statuses)
        changes = await self._read_model.run_query(
            read_programme_history, view.programme, before, FORECAST_CHANGES_PER_PAGE
        )
        return {
            "lines": lines,
            "chart_data": list(map(trend_series, lines)),
            "changes": [(change, changed_by_days(change.row)) for change in changes],
            "older_than": changes[-1].row.number if len(changes) == FORECAST_CHANGES_PER_PAGE else None,
            "requested": requested,
        }

    async def milestone(self, request: web.Request, view: ProgrammeView) -> dict[str, Any]:
        """Show why a milestone's forecast is what it is."""
        explanation = await explain_milestone(self._read_model, view, *milestone_in_path(request))
        status = explanation.chain[0].status
        [line] = await read_trend_lines(self._read_model, view, [status])
        return {
            "milestone_status": status,
            "project": _project_claims(view, status.project),
            "chain": [
                (link, list(link_sentences(link)), evidence_views(explanation, link.evidence))
                for link in explanation.chain
            ],
            "line": line,
            "chart_data": [trend_series(line)],
        }

    async def gate(self, request: web.Request, view: ProgrammeView) -> dict[str, Any]:
        """Show which milestones wait for a milestone, and the days by which they moved with it."""
        impact = await read_gate_impact(self._read_model, view, *milestone_in_path(request))
        return {
            "impact": impact,
            "milestone_status": impact.status,
            "project": _project_claims(view, impact.status.project),
            "successors": impact.successors[:SUCCESSORS_PER_PAGE],
            "slip_bars": slip_bars(impact.successors),
        }

    async def pipeline(self, _request: web.Request) -> web.Response:
        """Show the state of reading, recording and calculating."""
        values = msgspec.structs.asdict(await self._pipeline.read())
        return uncached_response(await self._read_model.run_in_executor(self._render, "pipeline.html", **values), HTML)


def _timeline_values(path: str, view: ProgrammeView, offset: int, show: str) -> dict[str, Any]:
    counts = count_states(view.statuses)
    matching = [status for status in sort_gates_first(view) if status.state in _STATE_FILTERS[show]]
    page = matching[offset : offset + MILESTONES_PER_PAGE]
    axis = fit_percent_axis(page, view.schedule.data_date)
    lanes_by_project = groupby(lay_out_lanes(page, axis), key=lambda lane: lane.status.project)
    return {
        "counts": counts,
        "axis": axis,
        "today_percent": axis.to_percent(view.schedule.data_date),
        "projects": [(name, _project_claims(view, name), list(lanes)) for name, lanes in lanes_by_project],
        "show": show,
        "filters": {name: sum(counts.get(state, 0) for state in states) for name, states in _STATE_FILTERS.items()},
        "pager": Pager.for_list(path, offset, MILESTONES_PER_PAGE, len(matching), f"&show={show}"),
    }


def _project_claims(view: ProgrammeView, project: str) -> ProjectClaims:
    return view.facts.projects.get(ProjectKey(view.programme, project)) or ProjectClaims()
