"""The report of a span: what was said in it, what was said late, and the picture at its end. Contract, section 5.

A pure function of the events, their times of arrival, the span and the day. What was said is the history of forecasts
(`models.domain.history`): each of its rows that lies in the span is in exactly one list of the report, so the rows of
adjoining spans are those of the span that they make up.

An event that arrives in the span with a stamp from before the span is *said late*: it belongs to an earlier span, whose
report may have been read without it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple

from models.domain.claims import NO_MILESTONE_CLAIMS, Facts, MilestoneKey, exclude_retracted, fold
from models.domain.events import Event, EventRetracted
from models.domain.history import HistoryEntry, trace_history
from models.domain.impact import NO_IMPACT, Impact, measure_impacts
from models.domain.report_span import Span
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneStatus, Schedule, State, compute_schedule
from models.domain.timestamps import Instant, Stamp

#: What comes is what is forecast within so many days of the data date.
COMING_DAYS: Final = 30


class ArrivedEvent(NamedTuple):
    """An event, and when the broker appended it to the log."""

    event: Event
    arrived: Instant


class RowKind(StrEnum):
    """The list of the report in which a row of the history stands; the first that applies."""

    RETRACTED = "retracted"  # a retraction moved it
    ACHIEVED = "achieved"  # it was not achieved before
    CANCELLED = "cancelled"
    NEW = "new"  # its first forecast
    MOVED = "moved"


class ReportRow(NamedTuple):
    """A row of the history, and the event behind it."""

    kind: RowKind
    entry: HistoryEntry
    cause: Event
    #: What the same event moved with this milestone; of each event only one row has them, the others follow that one.
    followers: Sequence[HistoryEntry]
    is_follower: bool
    #: What the milestone holds up at the end of the span.
    impact: Impact


class Retraction(NamedTuple):
    """A retraction, the event that it took back, and the forecasts that it moved."""

    event: Event
    retracted: Event | None
    rows: Sequence[HistoryEntry]


class LateEvent(NamedTuple):
    """An event that arrived in the span with an older stamp, and the forecasts that it moved at its stamp."""

    event: Event
    arrived: Instant
    rows: Sequence[HistoryEntry]


class OverdueMilestone(NamedTuple):
    """A milestone that nobody reported as done, and the day that has passed."""

    status: MilestoneStatus
    due: date


class GateImpact(NamedTuple):
    """A milestone that others wait for, and what it holds up."""

    status: MilestoneStatus
    impact: Impact


@dataclass(frozen=True, slots=True)
class ProgrammeReport:
    """What was said of a programme in a span, and the picture at its end."""

    programme: str
    span: Span
    #: The day of the picture: the last of the span, and no later than today.
    data_date: date
    #: By the events stamped before the end.
    facts: Facts
    statuses: Sequence[MilestoneStatus]
    #: By time; of one event the row about its own milestone first, then in the order of rows.
    achieved: Sequence[ReportRow]
    moved: Sequence[ReportRow]
    new: Sequence[ReportRow]
    cancelled: Sequence[ReportRow]
    #: By time.
    retracted: Sequence[Retraction]
    #: New or cancelled in the span, and without a forecast all the time.
    new_undated: Sequence[MilestoneStatus]
    cancelled_undated: Sequence[MilestoneStatus]
    #: Open and late at the end, and not late at the beginning.
    newly_late: Sequence[MilestoneStatus]
    #: By arrival.
    said_late: Sequence[LateEvent]
    #: By the day that has passed; by forecast.
    overdue: Sequence[OverdueMilestone]
    coming: Sequence[MilestoneStatus]
    #: Those that move most come first.
    gates: Sequence[GateImpact]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was said, nothing became late, and nothing is overdue or coming."""
        said = (self.achieved, self.moved, self.new, self.cancelled, self.retracted, self.said_late)
        undated = (self.new_undated, self.cancelled_undated)
        return not any((*said, *undated, self.newly_late, self.overdue, self.coming))


def build_report(arrivals: Iterable[ArrivedEvent], programme: str, span: Span, today: date) -> ProgrammeReport:
    """Return the report of a programme, from its events and the retractions of them, in any order, repeated or not.

    What was said after the span changes nothing, what arrives after it does: the history is that of the set of events.
    """
    unique = {(arrival.event.source, arrival.event.id): arrival for arrival in arrivals}
    events = [arrival.event for arrival in unique.values()]
    start = _Picture(events, programme, span.start, min(span.day_before, today))
    end = _Picture(events, programme, span.end, min(span.last_day, today))
    impacts = measure_impacts(end.schedule.statuses, end.facts.projects)
    history = _History(unique, programme, span, impacts)
    late_before = start.late_keys()
    said = defaultdict[RowKind, list[ReportRow]](list)
    for row in history.rows:
        said[row.kind].append(row)
    statuses = end.statuses
    moved_keys = {row.entry.milestone for row in history.rows}
    cancelled_keys = {row.entry.milestone for row in said[RowKind.CANCELLED]}
    return ProgrammeReport(
        programme,
        span,
        end.schedule.data_date,
        end.facts,
        statuses,
        said[RowKind.ACHIEVED],
        said[RowKind.MOVED],
        said[RowKind.NEW],
        said[RowKind.CANCELLED],
        history.retractions,
        [status for status in statuses if status.key not in start.by_key and status.key not in moved_keys],
        [
            status
            for status in statuses
            if status.state is State.CANCELLED
            and status.key not in cancelled_keys
            and start.state_of(status.key) not in {State.CANCELLED, None}
        ],
        [status for status in statuses if _is_late(status) and status.key not in late_before],
        history.late_events,
        end.overdue(),
        end.coming(),
        _gates(statuses, impacts),
    )


def _is_late(status: MilestoneStatus) -> bool:
    return status.is_open and status.is_late


class _Picture:
    """A programme by the events stamped before an instant."""

    def __init__(self, events: Sequence[Event], programme: str, before: Instant, data_date: date) -> None:
        unretracted = exclude_retracted(event for event in events if event.instant < before)
        self.facts = fold(event for event in unretracted if event.programme == programme)
        self.schedule: Schedule = compute_schedule(self.facts, data_date)
        self.statuses = sorted(self.schedule.statuses, key=milestone_sort_key)
        self.by_key = {status.key: status for status in self.statuses}

    def state_of(self, key: MilestoneKey) -> State | None:
        """Return the state of a milestone; None when no event names it."""
        status = self.by_key.get(key)
        return None if status is None else status.state

    def late_keys(self) -> set[MilestoneKey]:
        return {status.key for status in self.statuses if _is_late(status)}

    def overdue(self) -> list[OverdueMilestone]:
        own_claims = (
            (status, self.facts.milestones.get(status.key, NO_MILESTONE_CLAIMS).own_claim)
            for status in self.statuses
            if status.state is State.OVERDUE
        )
        overdue = [OverdueMilestone(status, own.date) for status, own in own_claims if own is not None]
        return sorted(overdue, key=lambda milestone: milestone.due)

    def coming(self) -> list[MilestoneStatus]:
        """Return what is forecast for the next days, without what is overdue."""
        last = self.schedule.data_date.toordinal() + COMING_DAYS
        coming = [
            (status.forecast, number, status)
            for number, status in enumerate(self.statuses)
            if status.is_open and status.state is not State.OVERDUE and status.forecast is not None
        ]
        return [
            status for forecast, _, status in sorted(coming, key=lambda row: row[:2]) if forecast.toordinal() <= last
        ]


def _gates(statuses: Sequence[MilestoneStatus], impacts: Mapping[MilestoneKey, Impact]) -> list[GateImpact]:
    gates = [GateImpact(status, impacts.get(status.key, NO_IMPACT)) for status in statuses if status.dependents]
    # The statuses are in the order of rows, which sorting keeps among equals.
    return sorted(gates, key=lambda gate: -gate.impact.moved)


class _History:
    """The rows of the span, its retractions, and what was said late."""

    def __init__(
        self,
        arrivals: Mapping[tuple[str, str], ArrivedEvent],
        programme: str,
        span: Span,
        impacts: Mapping[MilestoneKey, Impact],
    ) -> None:
        self._programme, self._arrivals, self._impacts = programme, arrivals, impacts
        self._events: dict[Stamp, Event] = {arrival.event.stamp: arrival.event for arrival in arrivals.values()}
        late = {
            arrival.event.stamp: arrival
            for arrival in arrivals.values()
            if arrival.event.instant < span.start
            and span.contains(arrival.arrived)
            and programme in {arrival.event.programme, self._programme_retracted_by(arrival.event)}
        }
        rows_of_late = defaultdict[Stamp, list[HistoryEntry]](list)
        in_span = defaultdict[Stamp, list[tuple[RowKind, HistoryEntry]]](list)
        has_history: set[MilestoneKey] = set()
        achieved: set[MilestoneKey] = set()
        for entry in trace_history((arrival.event for arrival in arrivals.values()), programme):
            key = entry.milestone
            if entry.said >= span.end:
                break
            if span.contains(entry.said):
                kind = self._kind_of(entry, is_first=key not in has_history, was_achieved=key in achieved)
                in_span[entry.cause].append((kind, entry))
            elif entry.cause in late:
                rows_of_late[entry.cause].append(entry)
            has_history.add(key)
            (achieved.add if entry.state is State.ACHIEVED else achieved.discard)(key)
        self.rows = [row for of_cause in in_span.values() for row in self._rows_of_cause(of_cause)]
        self.retractions = self._find_retractions(span)
        self.late_events = [
            LateEvent(arrival.event, arrival.arrived, rows_of_late[stamp])
            for stamp, arrival in sorted(late.items(), key=lambda item: (item[1].arrived, item[0]))
        ]

    def _retracted_by(self, event: Event) -> Event | None:
        """Return what an event takes back, as far as that is known; a retraction cannot be retracted."""
        if not isinstance(event.data, EventRetracted):
            return None
        target = self._arrivals.get((event.source, event.data.retracts))
        return None if target is None or isinstance(target.event.data, EventRetracted) else target.event

    def _programme_retracted_by(self, event: Event) -> str | None:
        target = self._retracted_by(event)
        return None if target is None else target.programme

    def _kind_of(self, entry: HistoryEntry, *, is_first: bool, was_achieved: bool) -> RowKind:
        is_retraction = isinstance(self._events[entry.cause].data, EventRetracted)
        kinds = (
            (RowKind.RETRACTED, is_retraction or entry.state is None),
            (RowKind.ACHIEVED, entry.state is State.ACHIEVED and not was_achieved),
            (RowKind.CANCELLED, entry.state is State.CANCELLED),
            (RowKind.NEW, is_first),
        )
        return next((kind for kind, applies in kinds if applies), RowKind.MOVED)

    def _rows_of_cause(self, rows: Sequence[tuple[RowKind, HistoryEntry]]) -> list[ReportRow]:
        """Return the rows that one event made: the one about its own milestone leads those that only moved."""
        cause = self._events[rows[0][1].cause]
        own = (cause.programme, cause.project, getattr(cause.data, "milestone", None))
        leader = next((entry for _, entry in rows if entry.milestone == own), None)
        if leader is None:
            leader = next((entry for kind, entry in rows if kind is not RowKind.MOVED), rows[0][1])
        followers = [entry for kind, entry in rows if kind is RowKind.MOVED and entry is not leader]
        return [
            ReportRow(
                kind,
                entry,
                cause,
                followers if entry is leader else [],
                kind is RowKind.MOVED and entry is not leader,
                self._impacts.get(entry.milestone, NO_IMPACT),
            )
            # The leader first; sorting keeps the order of the others.
            for kind, entry in sorted(rows, key=lambda row: row[1] is not leader)
        ]

    def _find_retractions(self, span: Span) -> list[Retraction]:
        """Return the first retraction of each event, if it lies in the span, and whatever else took rows back."""
        first: dict[Stamp, Event] = {}
        for event in sorted(self._events.values(), key=lambda event: event.stamp):
            target = self._retracted_by(event)
            if target is not None and target.programme == self._programme:
                first.setdefault(target.stamp, event)
        targets = {event.stamp: self._events[target] for target, event in first.items() if span.contains(event.instant)}
        rows = defaultdict[Stamp, list[HistoryEntry]](list)
        for row in self.rows:
            if row.kind is RowKind.RETRACTED:
                rows[row.entry.cause].append(row.entry)
        return [Retraction(self._events[stamp], targets.get(stamp), rows[stamp]) for stamp in sorted({*targets, *rows})]
