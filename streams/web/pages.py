"""The board's pages: rendered completely on the server, and readable without a script."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from models.database import queries
from models.domain.impact import milestones_moved_by, successors_of
from models.domain.report_span import Span
from models.domain.schedule import MilestoneStatus
from models.domain.sources import days_between_sources
from models.views.explanation import link_sentences, source_words_schemas
from models.views.formatting import format_day
from models.views.queries import parse_data_date
from models.views.upcoming import own_dates
from streams.monitoring.freshness import FreshnessMonitor
from streams.web import report_page, urls, view_models
from streams.web.api import BEFORE, OFFSET, read_milestone
from streams.web.background_queries import StillCalculating
from streams.web.errors import BadQuery, NotFoundError
from streams.web.freshness import FreshnessText, freshness_text
from streams.web.guard import GuardedApplication
from streams.web.history_cache import LastMove, MoveFilter
from streams.web.milestone_filters import DISAGREE, FILTERS, PROJECT, SORT, MilestoneSelection, read_selection
from streams.web.overview import SHOWN_GATES, OverviewVersion, stamps_of_dates
from streams.web.picture_parameters import ASSUME, COMPARE, PICTURE_PARAMETERS, REPEATABLE
from streams.web.pipeline_status import MAX_DEAD_LETTER_OFFSETS, PipelineReader
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel
from streams.web.responses import HTML, Parameter, ResponseCache, UnfinishedPage, uncached_response
from streams.web.templating import create_environment, isolated_label
from streams.web.timeline_page import filter_options, project_claims, project_values, timeline_values
from streams.web.unmatched_retractions import MAX_RETRACTIONS
from streams.web.urls import FeedLinks, PageUrls, with_query

PROGRAMMES_PER_PAGE, MOVES_PER_PAGE, SUCCESSORS_PER_PAGE = 50, 100, 500
_MILESTONE, _ON = "milestone", "on"
#: Another picture begins at its first page.
_NOT_IN_FORMS: Final = frozenset({OFFSET.name, BEFORE.name, *PICTURE_PARAMETERS})
#: Days before today that a page offers.
_PRESETS: Final = {"a week ago": 7, "a month ago": 30, "a year ago": 365}


class HtmlPages:
    """The handlers of the pages."""

    def __init__(  # noqa: PLR0913 - each is something that the pages show
        self,
        read_model: ReadModel,
        cache: ResponseCache,
        pipeline: PipelineReader,
        freshness: FreshnessMonitor,
        static_urls: Mapping[str, str],
        read_feed_links: Callable[[], FeedLinks],
    ) -> None:
        self._read_model, self._cache, self._pipeline, self._freshness = read_model, cache, pipeline, freshness
        self._templates, self._read_feed_links = create_environment(static_urls), read_feed_links
        # A page of another release, with other static files, must have another entity tag.
        self._release = "".join(static_urls.values())

    def add_to(self, guarded: GuardedApplication) -> None:
        """Serve the pages."""
        programme, milestone = "/programmes/{programme}", "{project}/{milestone}"
        overview = self._handler(self.overview, OFFSET.read)
        guarded.add_get("/", overview, [OFFSET.name, *PICTURE_PARAMETERS], REPEATABLE)
        filters = [*FILTERS, SORT, *PICTURE_PARAMETERS]
        timeline = self._handler(self.timeline, OFFSET.read, read_selection)
        guarded.add_get(programme, timeline, [OFFSET.name, *filters], REPEATABLE)
        trend = self._handler(self.trend, BEFORE.read, _read_trend_milestones, read_selection)
        trend_parameters = [BEFORE.name, _MILESTONE, *filters]
        guarded.add_get(f"{programme}/trend", trend, trend_parameters, [_MILESTONE, *REPEATABLE])
        of_milestone = self._handler(self.milestone, read_milestone)
        guarded.add_get(f"{programme}/milestones/{milestone}", of_milestone, [*PICTURE_PARAMETERS], REPEATABLE)
        gate = _redirect_to_assumption(self._handler(self.gate, read_milestone))
        guarded.add_get(f"{programme}/gates/{milestone}", gate, [_ON, *PICTURE_PARAMETERS], REPEATABLE)
        report = self._handler(self.report, self._read_span, is_history=True)
        guarded.add_get(f"{programme}/report", report, [report_page.SINCE, report_page.UNTIL])
        guarded.add_get(urls.PIPELINE_PATH, self.pipeline)
        guarded.add_get(urls.RUNBOOK_PATH, self.runbook)

    def _handler(
        self, read: Callable[..., Awaitable[dict[str, Any]]], *parameters: Parameter, is_history: bool = False
    ) -> Handler:
        """Return the handler of a page: its template has the name of the function that reads its values."""

        async def render(request: web.Request, view: ProgrammeView | OverviewVersion, *arguments: Any) -> bytes:  # noqa: ANN401 - the arguments of `read`
            values = self._picture_values(request, view)
            values |= await read(request, view, *arguments)
            page = await self._read_model.run_in_executor(self._render, f"{read.__name__}.html", values)
            if values.get("is_pending"):
                raise UnfinishedPage(page)
            return page

        return self._cache.handler(HTML, render, parameters, self._get_tag, is_form=True, is_history=is_history)

    def _picture_values(self, request: web.Request, view: ProgrammeView | OverviewVersion) -> dict[str, Any]:
        """Return what every page has that shows a picture: links that stay in it, and a form for another."""
        today = self._read_model.today()
        compared = view.compared.picture if isinstance(view.compared, ProgrammeView) else view.compared
        kept = [(name, text) for name, text in view.parameters if name != COMPARE]
        others = [(name, text) for name, text in request.query.items() if name not in _NOT_IN_FORMS]
        return {
            "view": view,
            "urls": PageUrls(view.parameters),
            "feeds": self._read_feed_links(),
            "today": today,
            "compared_picture": compared,
            "without_comparison": with_query(request.path, [*others, *kept]),
            "path": request.path,
            "same_page": with_query(request.path, request.query.items()),
            "other_parameters": others,
            "without_assumptions": {name: text for name, text in view.parameters if name != ASSUME},
            "here": lambda **parameters: with_query(request.path, [*others, *parameters.items()]),
            "presets": [(name, (today - timedelta(days)).isoformat()) for name, days in _PRESETS.items()],
        }

    def _get_tag(self) -> str:
        """Return what the entity tags of pages end with: a page with another head is another one."""
        head = f"{self._release} {self._read_freshness()} {self._read_feed_links().version}"
        return "-" + blake2b(head.encode(), digest_size=6).hexdigest()

    def _read_freshness(self) -> FreshnessText:
        return freshness_text(self._freshness.status, self._freshness.now())

    def _render(self, template: str, values: Mapping[str, Any]) -> bytes:
        return self._templates.get_template(template).render(values, freshness=self._read_freshness()).encode()

    def error_response(self, status: int, message: str) -> web.Response:
        """Return an error as a page."""
        values = {"status": HTTPStatus(status), "message": message}
        return uncached_response(self._render("error.html", values), HTML, HTTPStatus(status))

    async def overview(self, request: web.Request, version: OverviewVersion, offset: int) -> dict[str, Any]:
        """Show all programmes: which gates slipped, and which milestones they delay."""
        overview = await self._read_model.get_overview(version, offset, PROGRAMMES_PER_PAGE)
        return {
            "overview": overview,
            "pager": view_models.Pager.for_list(
                request.path, offset, PROGRAMMES_PER_PAGE, overview.total, version.parameters
            ),
        }

    async def timeline(
        self, request: web.Request, view: ProgrammeView, offset: int, selection: MilestoneSelection
    ) -> dict[str, Any]:
        """Show the milestones of a programme, or of one of its projects, over time."""
        if selection.show == DISAGREE:
            selection = selection._replace(disagreed=await self._read_model.get_disagreed(view))
        values = await self._read_model.run_in_executor(timeline_values, request.path, view, offset, selection)
        shown = [*values["delay_roots"][:SHOWN_GATES], *values["held_up_by"][:SHOWN_GATES]]
        gates = [root.gate.key for root in shown]
        stamps = stamps_of_dates(view.facts, gates)
        return values | {"words": await self._read_model.run_query(queries.read_words, stamps)}

    async def trend(
        self,
        _request: web.Request,
        view: ProgrammeView,
        before: int | None,
        requested: list[MilestoneStatus],
        selection: MilestoneSelection,
    ) -> dict[str, Any]:
        """Show the forecasts of milestones against the days on which they were said."""
        history, only = self._read_model.history, None
        statuses = requested or view_models.select_trend_milestones(view)
        if selection.show == DISAGREE:
            selection = selection._replace(disagreed=await self._read_model.get_disagreed(view))
        if selection.is_narrowed and not requested:
            matching = await self._read_model.run_in_executor(selection.matching, view)
            statuses = view_models.with_largest_slip(matching)
            only = frozenset(status.ref for status in matching)
        among = MoveFilter(view.said_until, only)
        lines, is_pending = await view_models.trace_lines(self._read_model, view, statuses), False
        try:
            moves = await history.get_moves(view.programme, view.revision, before, MOVES_PER_PAGE, among)
        except StillCalculating:
            # The lines are there at once; and with them what had moved when somebody looked last.
            moves, is_pending = history.get_known_moves(view.programme, before, MOVES_PER_PAGE, among), True
        return {
            "is_pending": is_pending,
            "lines": lines,
            "passed": own_dates(view.facts, [line.status for line in lines]),
            "moves": [move.entry for move in moves if view.is_listed(move.entry)],
            "older_than": moves[-1].number
            if moves and moves[-1].number > 1 and view.is_listed(moves[-1].entry)
            else None,
            "requested": requested,
            "selection": selection,
            **project_values(view, selection.get(PROJECT)),
            "options": await self._read_model.run_in_executor(filter_options, view),
        }

    async def milestone(self, _request: web.Request, view: ProgrammeView, status: MilestoneStatus) -> dict[str, Any]:
        """Show why a milestone's forecast is what it is."""
        explanation = await view_models.explain_milestone(self._read_model, view, status.key)
        [line] = await view_models.trace_lines(self._read_model, view, [status])
        format_label = partial(isolated_label, names=view.names)
        return {
            "milestone_status": status,
            "project": project_claims(view, status.project),
            "moved": await self._moved_by(view, status),
            "passed": own_dates(view.facts, [link.status for link in explanation.chain]),
            "chain": [
                (
                    link,
                    list(link_sentences(link, format_day, format_label)),
                    view_models.evidence_rows(explanation, link.evidence),
                )
                for link in explanation.chain
            ],
            "line": line,
            "sources": source_words_schemas(explanation.sources),
            "differ_days": days_between_sources(explanation.sources),
        }

    async def gate(self, _request: web.Request, view: ProgrammeView, status: MilestoneStatus) -> dict[str, Any]:
        """Show which milestones wait for a milestone, and the days by which they moved with it."""
        successors = await self._read_model.run_in_executor(successors_of, view.schedule, status.key)
        last_move, is_pending = LastMove(None, {}), False
        try:
            last_move = await self._read_model.history.get_last_move(
                view.programme, view.revision, status.ref, view.picture.as_of
            )
        except StillCalculating:
            is_pending = True
        return {
            "is_pending": is_pending,
            "milestone_status": status,
            "project": project_claims(view, status.project),
            "successors": successors,
            "moved": await self._moved_by(view, status),
            "passed": own_dates(view.facts, [status, *(successor.status for successor in successors)]),
            "successors_per_page": SUCCESSORS_PER_PAGE,
            "last_move": last_move.entry,
            "days_by_milestone": last_move.days_by_milestone,
            "slip_bars": view_models.slip_bars(successors, view.names),
            "what_if": await self._read_model.run_in_executor(view_models.what_if, view, status),
        }

    async def _moved_by(self, view: ProgrammeView, status: MilestoneStatus) -> list[MilestoneStatus]:
        if not view.impact_of(status).moved:
            return []
        return await self._read_model.run_in_executor(milestones_moved_by, view.schedule.statuses, status.key)

    async def report(self, _request: web.Request, view: ProgrammeView, span: Span) -> dict[str, Any]:
        """Show what was said in a span of days, what is late, and what comes."""
        return await report_page.read_values(self._read_model, view.programme, view.revision, span)

    def _read_span(self, request: web.Request, _view: object) -> Span:
        return report_page.read_span(request, self._read_model.today())

    async def pipeline(self, _request: web.Request) -> web.Response:
        """Show the state of reading, recording and calculating."""
        values = msgspec.structs.asdict(await self._pipeline.read()) | {
            "max_dead_letter_offsets": MAX_DEAD_LETTER_OFFSETS,
            "max_retractions": MAX_RETRACTIONS,
        }
        return uncached_response(await self._read_model.run_in_executor(self._render, "pipeline.html", values), HTML)

    async def runbook(self, _request: web.Request) -> web.Response:
        """Show what each alert means, and what to do."""
        return uncached_response(await self._read_model.run_in_executor(self._render, "runbook.html", {}), HTML)


def _redirect_to_assumption(page: Handler) -> Handler:
    """Return a handler of a gate's page that turns the day of a form (`on`) into the link that assumes it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if not (text := request.query.get(_ON)):
            return await page(request)
        try:
            day = parse_data_date(text)
        except ValueError as error:
            raise BadQuery(text=f"{_ON} is {error}.") from None
        name = "{project}/{milestone}".format_map(request.match_info)
        others = [
            (parameter, value)
            for parameter, value in request.query.items()
            if value and parameter != _ON and not (parameter == ASSUME and value.startswith(f"{name}@"))
        ]
        location = with_query(request.rel_url.raw_path, [*others, (ASSUME, f"{name}@{day}")])
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": location, "Cache-Control": "no-store"})

    return handle


def _read_trend_milestones(request: web.Request, view: ProgrammeView) -> list[MilestoneStatus]:
    names = request.query.getall(_MILESTONE, [])
    if len(names) > view_models.MAX_TREND_LINES:
        raise BadQuery(text=f"A trend has at most {view_models.MAX_TREND_LINES} milestones.")
    if any("/" not in name for name in names):
        raise NotFoundError("A milestone is named project/milestone.")
    return [view.get_status(*name.split("/", 1)) for name in names]
