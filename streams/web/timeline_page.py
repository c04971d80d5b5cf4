"""What the page of a programme's timeline shows: a selection of milestones, by project or the worst first."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from models.domain.claims import NO_PROJECT_CLAIMS, ProjectClaims, ProjectKey
from models.domain.impact import DelayRoot
from models.views.upcoming import find_upcoming, own_dates
from streams.web.milestone_filters import PROJECT, SELECTIONS, SHOW, MilestoneSelection, sources_of
from streams.web.overview import SHOWN_GATES
from streams.web.programme_view import ProgrammeView
from streams.web.schemas import count_states
from streams.web.timeline import Lane, fit_percent_axis, lay_out_lanes, zoom
from streams.web.view_models import Pager

MILESTONES_PER_PAGE: Final = 1000
#: Of more rows, only projects with something late are unfolded at first.
_MAX_UNFOLDED: Final = 100
#: What a field of a form offers; other values can be typed.
_MAX_OPTIONS: Final = 200


class ProjectLanes(NamedTuple):
    """The lanes of one project."""

    slug: str
    claims: ProjectClaims
    lanes: Sequence[Lane]
    #: Whether its rows are shown before somebody unfolds them.
    is_unfolded: bool

    @property
    def late_count(self) -> int:
        """How many of its open milestones are late."""
        return sum(lane.status.is_open and lane.status.is_late for lane in self.lanes)

    @property
    def open_count(self) -> int:
        """How many of its milestones are neither achieved nor cancelled."""
        return sum(lane.status.is_open for lane in self.lanes)


def project_claims(view: ProgrammeView, project: str) -> ProjectClaims:
    """Return what is registered of a project."""
    return view.facts.projects.get(ProjectKey(view.programme, project), NO_PROJECT_CLAIMS)


def project_values(view: ProgrammeView, project: str) -> dict[str, Any]:
    """Return what the head of a page shows of the project that it is about; of none where that is empty."""
    return {"project_slug": project, "project": project_claims(view, project)}


def roots_of_page(view: ProgrammeView, project: str) -> tuple[Sequence[DelayRoot], Sequence[DelayRoot]]:
    """Return the gates of a page that hold others up, and on the page of a project those that hold the project up."""
    if not project:
        return view.delay_roots, ()
    own = [root for root in view.delay_roots if root.gate.project == project]
    others = [
        root
        for root in view.delay_roots
        if root.gate.project != project and any(status.project == project for status in root.moved)
    ]
    return own, others


def timeline_values(path: str, view: ProgrammeView, offset: int, selection: MilestoneSelection) -> dict[str, Any]:
    """Return the values of the template."""
    project = selection.get(PROJECT)
    delay_roots, held_up_by = roots_of_page(view, project)
    of_project = [status for status in view.statuses if not project or status.project == project]
    in_scope, matching = selection.matching(view, without=SHOW), selection.matching(view)
    former = [] if view.compared is None else view.compared.statuses
    passed = own_dates(view.facts, of_project)
    page = matching[offset : offset + MILESTONES_PER_PAGE]
    span = selection.span
    axis = fit_percent_axis(page, view.schedule.data_date)
    if any(span):
        axis = zoom(axis, *span)
    former_days = {status.ref: status.forecast for status in former if status.forecast is not None}
    lanes = lay_out_lanes(page, axis, former_days, is_zoomed=any(span))
    return {
        "counts": count_states(of_project),
        "compared_counts": count_states(status for status in former if not project or status.project == project),
        **project_values(view, project),
        "delay_roots": delay_roots,
        "held_up_by": held_up_by,
        "shown_gates": SHOWN_GATES,
        "passed": passed,
        "upcoming": find_upcoming(of_project, passed, view.schedule.data_date),
        "axis": axis,
        "lanes": lanes,
        "projects": [] if selection.sort == "worst" else _by_project(view, lanes),
        "selection": selection,
        # Who looks for something wants to see that first.
        "has_summary": not offset and not (selection.others or any(span)),
        "shows": {
            name: sum(matches(view, status) for status in in_scope)
            for name, matches in SELECTIONS.items()
            if name != "moved" or view.compared is not None
        },
        "options": filter_options(view),
        "pager": Pager.for_list(
            path, offset, MILESTONES_PER_PAGE, len(matching), [*selection.parameters, *view.parameters]
        ),
    }


def _by_project(view: ProgrammeView, lanes: Sequence[Lane]) -> list[ProjectLanes]:
    groups = [(slug, list(group)) for slug, group in groupby(lanes, key=lambda lane: lane.status.project)]
    is_small = len(lanes) <= _MAX_UNFOLDED or len(groups) == 1
    return [
        ProjectLanes(
            slug,
            project_claims(view, slug),
            group,
            is_small or any(lane.status.is_open and lane.status.is_late for lane in group),
        )
        for slug, group in groups
    ]


def filter_options(view: ProgrammeView) -> dict[str, list[str]]:
    """Return what the fields of the form offer."""
    sources = set[str]().union(*(sources_of(view, status) for status in view.statuses))
    return {
        "project": list(dict.fromkeys(status.project for status in view.statuses))[:_MAX_OPTIONS],
        "kind": sorted({claims.kind.value for claims in view.facts.projects.values() if claims.kind})[:_MAX_OPTIONS],
        "source": sorted(sources)[:_MAX_OPTIONS],
    }
