"""The pages: each is rendered here, whole, and readable without a script."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from aiohttp import web

from models.domain.schedule import State
from models.views.explanation import link_sentences
from streams.web import urls
from streams.web.api import MAX_PAGE_OFFSET, programme_etag
from streams.web.dead_letters import DeadLetterCache
from streams.web.pipeline_status import PipelineStatus
from streams.web.read_model import ProgrammeView, ReadModel
from streams.web.responses import HTML, BadQuery, ResponseCache, int_parameter, uncached_response
from streams.web.schemas import dead_letter_schema
from streams.web.templating import create_environment
from streams.web.timeline import fit_percent_axis, lay_out_lanes
from streams.web.view_models import (
    MAX_TREND_LINES,
    Pager,
    changed_by_days,
    evidence_views,
    explain_milestone,
    find_milestone,
    programme_context,
    project_view,
    read_gate_impact,
    read_programme_changes,
    read_trend_lines,
    select_trend_milestones,
    slip_bars,
    sort_gates_first,
    trend_series,
)

#: How many programmes, milestones, moves and waiting milestones one page takes.
PROGRAMMES_PER_PAGE, MILESTONES_PER_PAGE, FORECAST_CHANGES_PER_PAGE, SUCCESSORS_PER_PAGE = 50, 1000, 100, 500
_STATE_FILTERS: Final[Mapping[str, frozenset[State]]] = {
    "all": frozenset(State),
    "late": frozenset({State.OVERDUE, State.BLOCKED, State.SLIPPING}),
    "open": frozenset(State) - {State.ACHIEVED, State.CANCELLED},
}


class HtmlPages:
    """Renders them."""

    def __init__(
        self,
        read_model: ReadModel,
        response_cache: ResponseCache,
        static_urls: Mapping[str, str],
        dead_letters: DeadLetterCache,
        read_status: Callable[[], PipelineStatus],
    ) -> None:
        self._read_model, self._response_cache = read_model, response_cache
        self._dead_letters, self._read_status = dead_letters, read_status
        self._templates = create_environment(static_urls)
        # A page of another release, with other static files, must have another entity tag.
        self._release = blake2b("".join(static_urls.values()).encode(), digest_size=6).hexdigest()

    def routes(self) -> list[web.RouteDef]:
        """Return where they are."""
        programme, milestone = "/programmes/{programme}", "{project}/{milestone}"
        return [
            web.get("/", self.overview),
            web.get(programme, self.timeline),
            web.get(f"{programme}/trend", self.trend),
            web.get(f"{programme}/milestones/{milestone}", self.milestone),
            web.get(f"{programme}/gates/{milestone}", self.gate),
            web.get(urls.PIPELINE_PATH, self.pipeline),
        ]

    def html_error_response(self, _request: web.Request, status: HTTPStatus, message: str) -> web.Response:
        """Return an error for people."""
        body = self._render("error.html", status=status, message=message)
        response = uncached_response(body, HTML)
        response.set_status(status)
        return response

    async def overview(self, request: web.Request) -> web.Response:
        """Show all programmes: which gate slipped, and whom it holds up."""
        offset = int_parameter(request, "offset", 0, MAX_PAGE_OFFSET)
        version = await self._read_model.get_version()

        async def render() -> bytes:
            overview = await self._read_model.get_overview(version, offset, PROGRAMMES_PER_PAGE)
            delay_roots = [root for roots in overview.delay_roots.values() for root in roots]
            return await self._render_in_executor(
                "overview.html",
                version=version,
                overview=overview,
                gate_count=len(delay_roots),
                delayed_count=sum(root.late_count for root in delay_roots),
                pager=Pager.for_list(request.path, offset, PROGRAMMES_PER_PAGE, overview.total),
            )

        return await self._respond(request, f"all-{version}", render)

    async def timeline(self, request: web.Request) -> web.Response:
        """Show a programme over time."""
        view = await self._programme_view(request)
        show = request.query.get("show", "all")
        if show not in _STATE_FILTERS:
            raise BadQuery(text=f"show is one of {', '.join(_STATE_FILTERS)}.")
        offset = int_parameter(request, "offset", 0, MAX_PAGE_OFFSET)

        def render() -> bytes:
            matching = [status for status in sort_gates_first(view) if status.state in _STATE_FILTERS[show]]
            page = matching[offset : offset + MILESTONES_PER_PAGE]
            axis = fit_percent_axis(page, view.schedule.data_date)
            lanes_by_project = groupby(lay_out_lanes(page, axis), key=lambda lane: lane.status.project)
            return self._render(
                "timeline.html",
                **programme_context(view),
                axis=axis,
                today_percent=axis.to_percent(view.schedule.data_date),
                projects=[(project_view(view, project), list(lanes)) for project, lanes in lanes_by_project],
                show=show,
                filters={
                    name: sum(status.state in states for status in view.statuses)
                    for name, states in _STATE_FILTERS.items()
                },
                pager=Pager.for_list(request.path, offset, MILESTONES_PER_PAGE, len(matching), show=show),
                active_tab="timeline",
            )

        return await self._respond(request, programme_etag(view), lambda: self._read_model.run_in_executor(render))

    async def trend(self, request: web.Request) -> web.Response:
        """Show what was forecast when."""
        view = await self._programme_view(request)
        before = int_parameter(request, "before", 0, 1 << 62) or None
        requested = request.query.getall("milestone", [])[:MAX_TREND_LINES]
        statuses = [find_milestone(view, text) for text in requested] or select_trend_milestones(view)

        async def render() -> bytes:
            lines = await read_trend_lines(self._read_model, view, statuses)
            changes = await read_programme_changes(self._read_model, view.programme, before, FORECAST_CHANGES_PER_PAGE)
            return await self._render_in_executor(
                "trend.html",
                **programme_context(view),
                lines=lines,
                chart_data=[trend_series(line) for line in lines],
                changes=[(change, changed_by_days(change.row)) for change in changes],
                older_than=changes[-1].row.number if len(changes) == FORECAST_CHANGES_PER_PAGE else None,
                requested=requested,
                active_tab="trend",
            )

        return await self._respond(request, programme_etag(view), render)

    async def milestone(self, request: web.Request) -> web.Response:
        """Show why a milestone's forecast is what it is."""
        view, milestone = await self._programme_view(request), _milestone_in_path(request)
        status = view.get_status(*milestone)

        async def render() -> bytes:
            explanation = await explain_milestone(self._read_model, view, *milestone)
            [line] = await read_trend_lines(self._read_model, view, [status])
            return await self._render_in_executor(
                "milestone.html",
                **programme_context(view),
                milestone_status=status,
                project=project_view(view, status.project),
                chain=[
                    (link, list(link_sentences(link)), evidence_views(explanation, link.evidence))
                    for link in explanation.chain
                ],
                line=line,
                chart_data=[trend_series(line)],
                active_tab=None,
            )

        return await self._respond(request, programme_etag(view), render)

    async def gate(self, request: web.Request) -> web.Response:
        """Show who waits for a milestone, and by how much they moved."""
        view, milestone = await self._programme_view(request), _milestone_in_path(request)

        async def render() -> bytes:
            impact = await read_gate_impact(self._read_model, view, *milestone)
            return await self._render_in_executor(
                "gate.html",
                **programme_context(view),
                impact=impact,
                milestone_status=impact.status,
                project=project_view(view, impact.status.project),
                successors=impact.successors[:SUCCESSORS_PER_PAGE],
                slip_bars=slip_bars(impact.successors),
                active_tab=None,
            )

        return await self._respond(request, programme_etag(view), render)

    async def pipeline(self, _request: web.Request) -> web.Response:
        """Show how reading, recording and drawing go."""
        newest = await self._dead_letters.newest()
        body = await self._render_in_executor(
            "pipeline.html",
            pipeline=self._read_status(),
            dead_letters=[dead_letter_schema(dead_letter) for dead_letter in newest.dead_letters],
            dead_letters_error=newest.error,
        )
        return uncached_response(body, HTML)

    async def _programme_view(self, request: web.Request) -> ProgrammeView:
        return await self._read_model.get_programme(request.match_info["programme"])

    async def _respond(self, request: web.Request, etag: str, render: Callable[[], Awaitable[bytes]]) -> web.Response:
        return await self._response_cache.respond(request, HTML, f"{etag}-{self._release}", render)

    async def _render_in_executor(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - whatever the template shows
        return await self._read_model.run_in_executor(lambda: self._render(template, **values))

    def _render(self, template: str, **values: Any) -> bytes:  # noqa: ANN401 - as above
        return self._templates.get_template(template).render(values).encode()


def _milestone_in_path(request: web.Request) -> tuple[str, str]:
    return request.match_info["project"], request.match_info["milestone"]
