"""JSON schemas of the API, of which `openapi.json` is made. A milestone has the fields of `milepost status --json`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from models.database.queries import ProgrammeSummary
from models.domain.events import Money
from models.domain.impact import DelayRoot, HeldUp
from models.domain.schedule import MilestoneStatus, State
from models.domain.timestamps import parse_stamp
from models.views.explanation import Explanation, ExplanationSchema, explanation_schema
from models.views.status import StatusRow, status_row
from streams.web.history_cache import Move
from streams.web.overview import Overview
from streams.web.programme_view import ProgrammeView

#: Delay roots of one programme, and delayed milestones of one root, in a response; the counts include all of them.
MAX_DELAY_ITEMS: Final = 50


#: Only in the answer to a query that assumes dates which nobody said.
Assumed = Literal[True] | UnsetType


class MilestoneSummarySchema(Struct, frozen=True):
    """A milestone of a delay."""

    project: str
    milestone: str
    baseline: date | None
    forecast: date | None
    slip_days: int | None
    state: State


class DelayRootSchema(Struct, frozen=True):
    """A gate that holds up others."""

    gate: MilestoneSummarySchema
    #: How many milestones it moves, directly or through others.
    moved: int
    #: What stands behind their projects, the gate's own left out.
    held_up: HeldUp
    #: The first of the milestones, ordered by slip.
    held: Sequence[MilestoneSummarySchema]


class ProgrammeSummarySchema(Struct, frozen=True):
    """A programme in the overview, as it was calculated last."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    #: Number of milestones by state.
    states: Mapping[State, int]
    hold_ups: Sequence[DelayRootSchema]
    #: With `compare`: the same number then; empty for a programme that did not exist.
    states_compared: Mapping[State, int] | UnsetType = UNSET


class ComparedSchema(Struct, frozen=True):
    """A milestone in the picture with which another is compared; all is null if no event had named it."""

    forecast: date | None
    slip_days: int | None
    state: State | None
    #: The days by which the forecast moved since, later is positive.
    moved_days: int | None


class MilestoneRow(StatusRow, frozen=True):
    """A milestone in the API."""

    #: With `compare`: what it was then.
    compared: ComparedSchema | UnsetType = UNSET


class ComparedExplanationSchema(ExplanationSchema, frozen=True):
    """Why a forecast is what it is; the same as `milepost explain --json`."""

    #: With `compare`: what the milestone was then.
    compared: ComparedSchema | UnsetType = UNSET


class ProgrammeListSchema(Struct, frozen=True):
    """A page of programmes, ordered by their number of late milestones."""

    total: int
    #: Path of the next page; null on the last.
    next: str | None
    programmes: Sequence[ProgrammeSummarySchema]
    assumed: Assumed = UNSET


class CyclicDependencySchema(Struct, frozen=True):
    """A dependency that would close a cycle."""

    project: str
    milestone: str
    after_project: str
    after_milestone: str


class ProgrammeSchema(Struct, frozen=True):
    """A programme on the data date."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    investment: Money | None
    jobs: int | None
    states: Mapping[State, int]
    hold_ups: Sequence[DelayRootSchema]
    set_aside: Sequence[CyclicDependencySchema]
    assumed: Assumed = UNSET
    #: With `as_of`: the newest stamp up to then.
    as_of: str | UnsetType = UNSET
    #: With `compare`: the number of milestones by state then.
    states_compared: Mapping[State, int] | UnsetType = UNSET


class ProgrammeUpdateSchema(Struct, frozen=True):
    """A notice of the stream: a programme was recalculated."""

    programme: str
    revision: int
    data_date: date


class MilestoneListSchema(ProgrammeUpdateSchema, frozen=True):
    """A page of a programme's milestones, by project and then by date."""

    total: int
    next: str | None
    milestones: Sequence[MilestoneRow]
    assumed: Assumed = UNSET
    #: With `as_of`: the newest stamp up to then.
    as_of: str | UnsetType = UNSET
    #: With `compare`: the first of the milestones that no event names any more.
    gone: Sequence[MilestoneSummarySchema] | UnsetType = UNSET


class SuccessorSchema(Struct, frozen=True):
    """A milestone that waits for a gate."""

    milestone: MilestoneRow
    #: Its predecessor on the way from the gate, and the lag between the two.
    after: str
    lag_days: int
    #: Days by which the gate may slip before this milestone moves; null when it never moves.
    slack_days: int | None


class SuccessorListSchema(ProgrammeUpdateSchema, frozen=True):
    """A gate, and a page of the milestones that wait for it, ordered by slack."""

    gate: MilestoneRow
    total: int
    next: str | None
    waiting: Sequence[SuccessorSchema]
    assumed: Assumed = UNSET


class MoveSchema(Struct, frozen=True):
    """A forecast that moved: when that was said and by which event; null is no forecast, state and driver."""

    number: int
    project: str
    milestone: str
    said: str
    previous: date | None = field(name="from")
    current: date | None = field(name="to")
    #: The actual date, else the milestone's own date.
    own_previous: date | None = field(name="own_from")
    own_current: date | None = field(name="own_to")
    slip_days: int | None
    state: State | None
    driver: str | None
    source: str
    id: str


class MoveListSchema(Struct, frozen=True):
    """A page of moves, the newest first."""

    programme: str
    next: str | None
    moves: Sequence[MoveSchema]
    assumed: Assumed = UNSET


class VersionSchema(Struct, frozen=True):
    """A notice of the stream of all programmes: the version of all of them together."""

    version: str = field(name="turn")


class ErrorSchema(Struct, frozen=True):
    """Why there is no answer, in one sentence."""

    error: str


def count_states(statuses: Iterable[MilestoneStatus]) -> dict[State, int]:
    """Return the number of milestones by state, in the order of `State`; states without milestones are omitted."""
    counts = Counter(status.state for status in statuses)
    return {state: counts[state] for state in State if counts[state]}


def delay_root_schemas(roots: Sequence[DelayRoot]) -> list[DelayRootSchema]:
    """Return the first delay roots with the first of their milestones."""
    return [
        DelayRootSchema(
            _milestone_summary_schema(root.gate),
            len(root.moved),
            root.held_up,
            list(map(_milestone_summary_schema, root.moved[:MAX_DELAY_ITEMS])),
        )
        for root in roots[:MAX_DELAY_ITEMS]
    ]


def _milestone_summary_schema(status: MilestoneStatus) -> MilestoneSummarySchema:
    return MilestoneSummarySchema(*status.ref, status.baseline, status.forecast, status.slip_days, status.state)


def programme_summary_schema(summary: ProgrammeSummary, overview: Overview) -> ProgrammeSummarySchema:
    """Return a programme of the overview."""
    slug, roots = summary.programme, delay_root_schemas(overview.delay_roots[summary.programme])
    compared = UNSET if overview.compared is None else overview.compared.get(slug, {})
    title = overview.titles.get(slug)
    return ProgrammeSummarySchema(
        slug, title, *summary.forecast_version, summary.counts, roots, states_compared=compared
    )


def milestone_row(view: ProgrammeView, status: MilestoneStatus) -> MilestoneRow:
    """Return a milestone, beside what it was in the compared picture."""
    row = status_row(status, view.revision, view.impact_of(status), view.as_said)
    return MilestoneRow(**msgspec.structs.asdict(row), compared=_compared_schema(view, status))


def _compared_schema(view: ProgrammeView, status: MilestoneStatus) -> ComparedSchema | UnsetType:
    if (comparison := view.compare(status)) is None:
        return UNSET
    if (former := comparison.former) is None:
        return ComparedSchema(None, None, None, None)
    return ComparedSchema(former.forecast, former.slip_days, former.state, comparison.moved_days)


def compared_explanation_schema(
    view: ProgrammeView, status: MilestoneStatus, explanation: Explanation
) -> ComparedExplanationSchema:
    """Return why a forecast is what it is, beside what it was in the compared picture."""
    fields = msgspec.structs.asdict(explanation_schema(explanation))
    return ComparedExplanationSchema(**fields, compared=_compared_schema(view, status))


def milestone_list_schema(
    view: ProgrammeView, statuses: Sequence[MilestoneStatus], next_page: str | None
) -> MilestoneListSchema:
    """Return a page of a programme's milestones."""
    return MilestoneListSchema(
        view.programme,
        view.revision,
        view.schedule.data_date,
        len(view.statuses),
        next_page,
        [milestone_row(view, status) for status in statuses],
        as_of=_as_of(view),
        gone=UNSET if view.compared is None else list(map(_milestone_summary_schema, view.gone[:MAX_DELAY_ITEMS])),
    )


def _as_of(view: ProgrammeView) -> str | UnsetType:
    return UNSET if view.picture.as_of is None else f"{view.picture.as_of}Z"


def programme_schema(view: ProgrammeView) -> ProgrammeSchema:
    """Return a programme."""
    registration = view.registration
    return ProgrammeSchema(
        view.programme,
        registration.name.value if registration.name else None,
        view.revision,
        view.schedule.data_date,
        registration.investment.value if registration.investment else None,
        registration.jobs.value if registration.jobs else None,
        count_states(view.statuses),
        delay_root_schemas(view.delay_roots),
        [CyclicDependencySchema(*key[1:]) for key in view.schedule.cyclic[:MAX_DELAY_ITEMS]],
        as_of=_as_of(view),
        states_compared=UNSET if view.compared is None else count_states(view.compared.statuses),
    )


def move_schema(move: Move) -> MoveSchema:
    """Return a move."""
    entry = move.entry
    _, source, event_id = parse_stamp(entry.cause)
    return MoveSchema(
        move.number,
        *entry.milestone[1:],
        f"{entry.said}Z",
        entry.previous,
        entry.current,
        entry.own_previous,
        entry.own_current,
        entry.slip_days,
        entry.state,
        None if entry.driver is None else str(entry.driver),
        source,
        event_id,
    )
