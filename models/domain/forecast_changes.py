"""What changed between two schedules of the same day, the event that caused each change, and the events about it.

An event changes a forecast when the schedules with and without it differ; the passing of a day changes nothing here,
because both schedules are for the same day. Several events may lie between two schedules. The cause of a change is
then the newest event about what decides the forecast, in this order: an actual date, which waits for nothing; what
cancelled the milestone or revived it; the driver (a change of its own, or of the lag after it); the milestone's own
dates; the former driver; any other predecessor.

Others learn of a change by CloudEvents: contract, section 8. A history row determines them down to the bytes, so that
a change published twice is the same event twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from models.domain.claims import DependencyClaims, DependencyKey, Facts, MilestoneClaims, MilestoneKey
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State
from models.domain.timestamps import Stamp, instant_from_epoch_ms
from models.domain.topological_order import reachable


class ForecastChange(NamedTuple):
    """A changed forecast, or a milestone that was achieved, or both."""

    milestone: MilestoneKey
    previous: date | None
    current: date | None
    slip_days: int | None
    state: State
    driver: MilestoneRef | None
    dependents: int | None  # only when the milestone was achieved: how many open milestones wait for it
    cause: Stamp


class HistoryRow(NamedTuple):
    """A forecast change as it is stored: a row of `history`."""

    programme: str
    number: int
    project: str
    milestone: str
    revision: int
    recorded_ms: int
    previous: date | None
    current: date | None
    slip_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    dependents: int | None  # as in `ForecastChange`
    cause_source: str
    cause_id: str
    correlationid: str | None

    @property
    def driver(self) -> str | None:
        """The driver as `project/milestone`."""
        return None if self.driver_project is None else f"{self.driver_project}/{self.driver_milestone}"


class ScheduleDiff(NamedTuple):
    """What changed between two schedules."""

    explained: list[ForecastChange]
    unexplained: list[MilestoneKey]  # changed although no event explains it: rows were changed by hand


def diff_schedules(
    before: tuple[Facts, Schedule], after: tuple[Facts, Schedule], retracted_by: Mapping[Stamp, Stamp]
) -> ScheduleDiff:
    """Return the changes, predecessors before successors.

    `retracted_by` maps the stamp of every claim that was retracted between the two to the stamp of its retraction.
    """
    causes = _CauseFinder(_Snapshot(*before), _Snapshot(*after), retracted_by)
    diff = ScheduleDiff([], [])
    for key, previous, current in _changed_statuses(before[1], after[1]):
        cause = causes.find_cause(key)
        if cause is None:
            diff.unexplained.append(key)
            continue
        before_date = previous and previous.forecast
        if current is None:
            diff.explained.append(ForecastChange(key, before_date, None, None, State.UNKNOWN, None, None, cause))
            continue
        dependents = current.dependents if _is_newly_achieved(previous, current) else None
        result = current.forecast, current.slip_days, current.state, current.driver
        diff.explained.append(ForecastChange(key, before_date, *result, dependents, cause))
    return diff


def _is_newly_achieved(previous: MilestoneStatus | None, current: MilestoneStatus) -> bool:
    return current.state is State.ACHIEVED and (previous is None or previous.state is not State.ACHIEVED)


def _changed_statuses(
    before: Schedule, after: Schedule
) -> Iterator[tuple[MilestoneKey, MilestoneStatus | None, MilestoneStatus | None]]:
    """Yield each milestone that was achieved or has another forecast, with both statuses, predecessors first."""
    index_before = before.network.index_of
    same_network = after.network is before.network
    for index in after.network.topological_order:
        current = after.statuses[index]
        previous_index = index if same_network else index_before.get(current[:3])
        previous = None if previous_index is None else before.statuses[previous_index]
        if previous is current:
            continue
        if (previous and previous.forecast) != current.forecast or _is_newly_achieved(previous, current):
            yield current.key, previous, current
    if not same_network:
        for previous in before.statuses:
            if previous.forecast is not None and previous[:3] not in after.network.index_of:
                yield previous.key, previous, None


class _Snapshot(NamedTuple):
    facts: Facts
    schedule: Schedule

    def driver(self, key: MilestoneKey) -> MilestoneKey | None:
        index = self.schedule.network.index_of.get(key)
        driver = None if index is None else self.schedule.statuses[index].driver
        return driver and MilestoneKey(key.programme, *driver)

    def predecessors(self, key: MilestoneKey) -> set[MilestoneKey]:
        network = self.schedule.network
        index = network.index_of.get(key)
        return set() if index is None else {network.milestones[other] for other, _ in network.predecessors[index]}

    def is_cancelled(self, key: MilestoneKey) -> bool:
        index = self.schedule.network.index_of.get(key)
        return index is not None and self.schedule.statuses[index].state is State.CANCELLED


class _CauseFinder:
    """Finds the event behind each change; predecessors have to be looked up before their successors."""

    def __init__(self, before: _Snapshot, after: _Snapshot, retracted_by: Mapping[Stamp, Stamp]) -> None:
        self._before, self._after, self._retracted_by = before, after, retracted_by
        self._causes: dict[MilestoneKey, Stamp] = {}
        self._cycle_causes: dict[MilestoneKey, Stamp | None] = {}

    def find_cause(self, key: MilestoneKey) -> Stamp | None:
        """Return the stamp of the event that changed a milestone; None when no event did."""
        cause = next(filter(None, self._candidate_causes(key)), None)
        if cause is not None:
            self._causes[key] = cause
        return cause

    def _candidate_causes(self, key: MilestoneKey) -> Iterator[Stamp | None]:
        before, after = self._before.facts.milestone(key), self._after.facts.milestone(key)
        has_actual = before.actual is not None or after.actual is not None
        if has_actual and not self._after.is_cancelled(key):
            # An achieved milestone waits for nothing.
            yield self._cause_in_dates(before, after)
        yield self._cause_in_cancellation(key)
        driver, former_driver = self._after.driver(key), self._before.driver(key)
        if driver is not None:
            yield self._cause_in_predecessor(key, driver)
        yield self._cause_in_dates(before, after)
        if former_driver is not None:
            yield self._cause_in_predecessor(key, former_driver)
        predecessors = self._after.predecessors(key) | self._before.predecessors(key)
        yield _newest(self._cause_in_predecessor(key, predecessor) for predecessor in predecessors)

    def _cause_in_dates(self, before: MilestoneClaims, after: MilestoneClaims) -> Stamp | None:
        """Return what changed the claim that decides a milestone's date without its predecessors."""
        known, deciding = _date_stamps(before), _date_stamps(after)[:1]
        # An own date that was known but decided nothing beside an actual date is not a new claim.
        return self._deciding_stamp(known[:1], [stamp for stamp in deciding if stamp not in known])

    def _cause_in_predecessor(self, key: MilestoneKey, predecessor: MilestoneKey) -> Stamp | None:
        """Return the newest of what changed a predecessor, and what changed the link to it."""
        was_linked, is_linked = (predecessor in side.predecessors(key) for side in (self._before, self._after))
        candidates = [self._cause_in_cancellation(predecessor)]
        if is_linked and not self._after.is_cancelled(predecessor):
            candidates.append(self._causes.get(predecessor))
        dependency = DependencyKey(*key, predecessor.project, predecessor.milestone)
        before, after = (side.facts.dependencies.get(dependency) for side in (self._before, self._after))
        if (before and before.lag_days) != (after and after.lag_days):
            candidates.append(self._deciding_stamp(_dependency_stamps(before), _dependency_stamps(after)))
        elif was_linked != is_linked:
            candidates.append(self._cause_in_cycle(key))
        return _newest(candidates)

    def _cause_in_cancellation(self, key: MilestoneKey) -> Stamp | None:
        """Return what cancelled a milestone or its project, or reversed that."""
        if self._before.is_cancelled(key) == self._after.is_cancelled(key):
            return None
        facts = self._before.facts, self._after.facts
        claims, projects = [side.milestone(key) for side in facts], [side.project_of(key) for side in facts]
        candidates = []
        if claims[0].is_cancelled != claims[1].is_cancelled:
            candidates.append(self._deciding_stamp(*((side.cancelled, side.last_report_stamp) for side in claims)))
        if projects[0].is_withdrawn != projects[1].is_withdrawn:
            candidates.append(self._deciding_stamp(*((side.registered, side.withdrawn) for side in projects)))
        return _newest(candidates)

    def _cause_in_cycle(self, key: MilestoneKey) -> Stamp | None:
        """Return the newest change among the dependencies on the cycles through a milestone."""
        # A dependency is set aside, or counts again, only because of others on the same cycles.
        if key not in self._cycle_causes:
            sides = (self._before.facts.dependencies, self._after.facts.dependencies)
            in_force = {name for side in sides for name, dependency in side.items() if dependency.is_in_force}
            predecessors: defaultdict[MilestoneKey, list[MilestoneKey]] = defaultdict(list)
            successors: defaultdict[MilestoneKey, list[MilestoneKey]] = defaultdict(list)
            for name in in_force:
                predecessors[name.successor].append(name.predecessor)
                successors[name.predecessor].append(name.successor)
            upstream, downstream = reachable(key, predecessors.__getitem__), reachable(key, successors.__getitem__)
            cycle = upstream & downstream
            cause = _newest(
                self._deciding_stamp(*(_dependency_stamps(side.get(name)) for side in sides))
                for name in in_force
                if name.successor in cycle and name.predecessor in cycle
            )
            self._cycle_causes.update(dict.fromkeys(cycle, cause))
        return self._cycle_causes[key]

    def _deciding_stamp(self, before: Iterable[Stamp | None], after: Iterable[Stamp | None]) -> Stamp | None:
        """Return the event that turned one set of winning claims into the other: the newest claim, or a retraction."""
        stamps_before, stamps_after = set(filter(None, before)), set(filter(None, after))
        newest = _newest(stamps_after - stamps_before)
        retracted = _newest(stamp for stamp in stamps_before - stamps_after if stamp in self._retracted_by)
        # A claim older than the retracted one only wins again.
        if retracted is not None and (newest is None or newest < retracted):
            return self._retracted_by[retracted]
        return newest


def _newest(stamps: Iterable[Stamp | None]) -> Stamp | None:
    return max(filter(None, stamps), default=None)


def _date_stamps(claims: MilestoneClaims) -> list[Stamp]:
    """Return the stamps of the actual and the own date; the first of them decides."""
    return [claim.stamp for claim in (claims.actual, claims.own_claim) if claim is not None]


def _dependency_stamps(dependency: DependencyClaims | None) -> list[Stamp | None]:
    return [] if dependency is None else [dependency.declared and dependency.declared.stamp, dependency.withdrawn]


FORECAST_CHANGED: Final = "milepost.forecast.changed.v1"
MILESTONE_ACHIEVED: Final = "milepost.milestone.achieved.v1"
GATE_OPENED: Final = "milepost.gate.opened.v1"
MILEPOST_SOURCE: Final = "/milepost"


def encode_changes(row: HistoryRow) -> Iterator[bytes]:
    """Yield the events about a history row, in structured mode."""
    if row.previous != row.current:
        moved = {"from": row.previous, "to": row.current, "slip_days": row.slip_days}
        yield _encode_event(FORECAST_CHANGED, row, {**moved, "driver": row.driver, "state": row.state})
    if row.dependents is not None:
        yield _encode_event(MILESTONE_ACHIEVED, row, {"date": row.current, "slip_days": row.slip_days})
        if row.dependents:
            yield _encode_event(GATE_OPENED, row, {"date": row.current, "dependents": row.dependents})


def _encode_event(event_type: str, row: HistoryRow, data: dict[str, date | str | int | None]) -> bytes:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": _event_id(event_type, row),
        "source": MILEPOST_SOURCE,
        "type": event_type,
        "subject": f"{row.programme}/{row.project}",
        "time": f"{instant_from_epoch_ms(row.recorded_ms)}Z",
        "partitionkey": row.programme,
        "causationid": row.cause_id,
        # An id is unique only within its source.
        "causationsource": row.cause_source,
        "datacontenttype": "application/json",
        "data": {"milestone": row.milestone, **data},
    }
    if row.correlationid is not None:
        event["correlationid"] = row.correlationid
    return msgspec.json.encode(event)


def _event_id(event_type: str, row: HistoryRow) -> str:
    """Return an id made from the change and its cause alone: not from when, where or how often it was recorded."""
    change = (row.programme, row.project, row.milestone, row.previous, row.current)
    content = (event_type, *change, row.cause_source, row.cause_id)
    return blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()
