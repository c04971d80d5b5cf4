"""What the API answers with: the fields of `milepost status --json` and its kind, in pages.

These classes are the schema too: `openapi.json` is made of them.
"""
# What was read, as the API tells it.

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from msgspec import Struct, field

from models.database.queries import DatedHistoryRow, ProgrammeSummary
from models.domain.dead_letters import DeadLetter
from models.domain.events import Money
from models.domain.impact import DelayRoot, MilestoneSummary, Successor
from models.domain.schedule import MilestoneStatus, State
from models.domain.timestamps import instant_from_epoch_ms
from models.views.status import StatusRow
from streams.web.pipeline_status import PipelineStatus
from streams.web.read_model import Overview, ProgrammeView


class MilestoneSummarySchema(Struct, frozen=True):
    """A milestone whose date a gate sets."""

    project: str
    milestone: str
    baseline: date | None
    forecast: date | None
    slip_days: int | None
    state: State


class DelayRootSchema(Struct, frozen=True):
    """A gate at the root of what is late."""

    gate: MilestoneSummarySchema
    #: How many it holds up, directly or through others, and how many of them are late.
    held_count: int
    late_count: int
    #: The first of them, those that slipped most at the head.
    held: Sequence[MilestoneSummarySchema]


class ProgrammeSummarySchema(Struct, frozen=True):
    """A programme from afar, as it was drawn last."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    #: Milestones by state.
    states: Mapping[State, int]
    hold_ups: Sequence[DelayRootSchema]


class ProgrammeListSchema(Struct, frozen=True):
    """A page of programmes, those with the most that is late first."""

    total: int
    #: Where the next page is; none behind the last.
    next: str | None
    programmes: Sequence[ProgrammeSummarySchema]


class CyclicDependencySchema(Struct, frozen=True):
    """A dependency that would close a cycle."""

    project: str
    milestone: str
    after_project: str
    after_milestone: str


class ProgrammeSchema(Struct, frozen=True):
    """A programme, as its events say it stands today."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    investment: Money | None
    jobs: int | None
    states: Mapping[State, int]
    hold_ups: Sequence[DelayRootSchema]
    set_aside: Sequence[CyclicDependencySchema]


class MilestoneListSchema(Struct, frozen=True):
    """A page of a programme's milestones, by project and in the catalogue's order."""

    programme: str
    revision: int
    data_date: date
    total: int
    next: str | None
    milestones: Sequence[StatusRow]


class SuccessorSchema(Struct, frozen=True):
    """A milestone that waits for a gate."""

    milestone: StatusRow
    #: The one it waits for on the way from the gate, and how long after that it comes at least.
    after: str
    lag_days: int
    #: By how many days the gate may come later before this moves; none when it never would.
    slack_days: int | None


class SuccessorListSchema(Struct, frozen=True):
    """A gate, and a page of who waits for it: those who would move first at the head."""

    programme: str
    revision: int
    data_date: date
    gate: StatusRow
    total: int
    next: str | None
    waiting: Sequence[SuccessorSchema]


class CauseSchema(Struct, frozen=True):
    """The event behind something, and when it was said; none when the ledger does not hold it."""

    source: str
    id: str
    time: str | None


class ForecastChangeSchema(Struct, frozen=True):
    """A forecast that an event moved, or a milestone that it achieved."""

    number: int
    project: str
    milestone: str
    revision: int
    noted: str
    previous: date | None = field(name="from")
    current: date | None = field(name="to")
    slip_days: int | None
    state: State
    driver: str | None
    cause: CauseSchema


class ForecastChangeListSchema(Struct, frozen=True):
    """A page of moves, the newest first."""

    programme: str
    next: str | None
    moves: Sequence[ForecastChangeSchema]


class EvidenceSchema(Struct, frozen=True):
    """A claim that counts, and as what."""

    role: str
    type: str | None
    source: str
    id: str
    time: str
    date: str | None
    lag_days: int | None
    reason: str | None
    remark: str | None
    party: str | None


class IgnoredPredecessorSchema(Struct, frozen=True):
    """A predecessor that has no say."""

    project: str
    milestone: str
    why: str


class ChainLinkSchema(Struct, frozen=True):
    """One milestone of a chain of drivers."""

    project: str
    milestone: str
    forecast: date | None
    state: State
    own_date: date | None
    own_classifier: str | None
    set_by: str
    lag_days: int | None
    events: Sequence[EvidenceSchema]
    left_out: Sequence[IgnoredPredecessorSchema]


class ExplanationSchema(Struct, frozen=True):
    """Why a forecast is what it is, as `milepost explain --json` has it."""

    programme: str
    project: str
    milestone: str
    data_date: date
    forecast: date | None
    state: State
    slip_days: int | None
    float_days: int | None
    driver: str | None
    chain: Sequence[ChainLinkSchema]


class DeadLetterSchema(Struct, frozen=True):
    """A dead letter; `milepost dead-letters show KEY` has all of it."""

    key: str
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None
    source: str | None


class PipelineSchema(Struct, frozen=True):
    """How reading, recording and drawing go in this worker, and the newest of the rejected."""

    pipeline: PipelineStatus
    letters: Sequence[DeadLetterSchema]
    #: Why the letters cannot be told; none when they can.
    letters_unknown: str | None


class ProgrammeUpdateSchema(Struct, frozen=True):
    """What the stream sends when a programme is drawn anew."""

    programme: str
    revision: int
    data_date: date


class VersionSchema(Struct, frozen=True):
    """What the stream of all programmes sends when any is drawn anew: a name of what they are drawn of together."""

    turn: str


class ErrorSchema(Struct, frozen=True):
    """Why there is no answer, in one sentence."""

    error: str


#: Of one programme, how many hold-ups are told, and of each of them how many that it holds up; counts say how many
#: there are.
MAX_DELAY_ITEMS: Final = 50


def status_row(status: MilestoneStatus, revision: int) -> StatusRow:
    """Return a standing as `milepost status --json` has it."""
    own: dict[str, Any] = {
        name: getattr(status, name) for name in StatusRow.__struct_fields__ if name not in {"driver", "revision"}
    }
    return StatusRow(**own, driver=None if status.driver is None else str(status.driver), revision=revision)


def count_states(statuses: Iterable[MilestoneStatus]) -> dict[State, int]:
    """Return how many there are of each state, in the states' order."""
    found = dict.fromkeys(State, 0)
    for standing in statuses:
        found[standing.state] += 1
    return {state: number for state, number in found.items() if number}


def delay_root_schema(root: DelayRoot) -> DelayRootSchema:
    """Return a hold-up, bounded."""
    return DelayRootSchema(
        _milestone_summary_schema(root.gate),
        len(root.driven),
        root.late_count,
        [_milestone_summary_schema(stand) for stand in root.driven[:MAX_DELAY_ITEMS]],
    )


def _milestone_summary_schema(status: MilestoneSummary) -> MilestoneSummarySchema:
    return MilestoneSummarySchema(*status.name, status.baseline, status.forecast, status.slip_days, status.state)


def programme_list_schema(overview: Overview, next_url: str | None) -> ProgrammeListSchema:
    """Return a page of programmes."""
    return ProgrammeListSchema(
        overview.total, next_url, [_programme_summary_schema(one, overview) for one in overview.programmes]
    )


def _programme_summary_schema(summary: ProgrammeSummary, overview: Overview) -> ProgrammeSummarySchema:
    name = summary.programme
    found = [delay_root_schema(each) for each in overview.delay_roots[name][:MAX_DELAY_ITEMS]]
    return ProgrammeSummarySchema(
        name,
        overview.titles.get(name),
        summary.forecast_version.revision,
        summary.forecast_version.data_date,
        summary.counts,
        found,
    )


def programme_schema(view: ProgrammeView) -> ProgrammeSchema:
    """Return a programme."""
    known = view.facts.programmes.get(view.programme)
    name, investment, jobs = (
        None if known is None or (register := getattr(known, field_name)) is None else register.value
        for field_name in ("name", "investment", "jobs")
    )
    return ProgrammeSchema(
        view.programme,
        name,
        view.revision,
        view.schedule.data_date,
        investment,
        jobs,
        count_states(view.statuses),
        [delay_root_schema(one) for one in view.delay_roots[:MAX_DELAY_ITEMS]],
        [CyclicDependencySchema(*key[1:]) for key in view.schedule.cyclic[:MAX_DELAY_ITEMS]],
    )


def successor_schema(successor: Successor, revision: int) -> SuccessorSchema:
    """Return who waits."""
    return SuccessorSchema(
        status_row(successor.status, revision), str(successor.predecessor), successor.lag_days, successor.slack_days
    )


def forecast_change_schema(report: DatedHistoryRow) -> ForecastChangeSchema:
    """Return a row of the history."""
    noted = report.row
    return ForecastChangeSchema(
        number=noted.number,
        project=noted.project,
        milestone=noted.milestone,
        revision=noted.revision,
        noted=f"{instant_from_epoch_ms(noted.recorded_ms)}Z",
        previous=noted.previous,
        current=noted.current,
        slip_days=noted.slip_days,
        state=State(noted.state),
        driver=noted.driver,
        cause=CauseSchema(
            noted.cause_source, noted.cause_id, None if report.claimed_at is None else f"{report.claimed_at}Z"
        ),
    )


def dead_letter_schema(dead_letter: DeadLetter) -> DeadLetterSchema:
    """Return a dead letter without what it carries; a key that is no text is spelled out."""
    key = dead_letter.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return DeadLetterSchema(
        key,
        dead_letter.reason,
        dead_letter.detail,
        dead_letter.topic,
        dead_letter.partition,
        dead_letter.offset,
        dead_letter.source,
    )


def next_page_url(path: str, offset: int, limit: int, total: int) -> str | None:
    """Return the address of the next page; none behind the last."""
    return f"{path}?offset={offset + limit}&limit={limit}" if offset + limit < total else None
