"""Two pictures of the same day to what moved between them, and the event behind each movement.

An event moves a forecast when the pictures with and without it differ; that only the day changed moves nothing here,
because both pictures are drawn for the same day. Several events may lie between two pictures. The one behind a
movement is then the newest that was said about what decides the forecast: an actual date, which waits for nothing; its
driver (how it moved itself, how long after it), the milestone's own dates, the driver that was, and whatever else it
waits for, in this order.
"""
# What is told to others when a forecast moves: CloudEvents of the contract, section 8.
#
# Pure: a history row says it all, down to the bytes, so that a change published twice is twice the same event.

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from models.domain.claims import (
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProjectClaims,
    ProjectKey,
)
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State
from models.domain.timestamps import Stamp, instant_from_epoch_ms

_NO_MILESTONE_CLAIMS: Final = MilestoneClaims()
_NO_PROJECT_CLAIMS: Final = ProjectClaims()


class ForecastChange(NamedTuple):
    """A forecast that an event moved, or a milestone that it achieved, or both."""

    milestone: MilestoneKey
    previous: date | None
    current: date | None
    slip_days: int | None
    state: State
    driver: MilestoneRef | None
    #: Only where the milestone was achieved: how many open ones waited for it.
    dependents: int | None
    #: The stamp of the event behind it.
    cause: Stamp


class HistoryRow(NamedTuple):
    """A movement as it is kept: a row of `history`."""

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
    #: Only where the milestone was achieved: how many open ones waited for it.
    dependents: int | None
    cause_source: str
    cause_id: str
    correlationid: str | None

    @property
    def driver(self) -> str | None:
        """The predecessor that set the forecast, as it is shown everywhere."""
        return None if self.driver_project is None else f"{self.driver_project}/{self.driver_milestone}"


class ScheduleDiff(NamedTuple):
    """What moved between two pictures."""

    explained: list[ForecastChange]
    #: What moved although nothing was said that moves it: rows were changed past the events.
    unexplained: list[MilestoneKey]


def diff_schedules(
    before: tuple[Facts, Schedule], after: tuple[Facts, Schedule], retracted_by: Mapping[Stamp, Stamp]
) -> ScheduleDiff:
    """Return what moved, every gate before those that wait for it.

    `taken_back` gives, for the stamp of every claim that a retraction took back between the two, the retraction's.
    """
    then, now = before[1], after[1]
    search = _CauseFinder(before[0], then, after[0], now, retracted_by)
    moved = ScheduleDiff([], [])
    for key, was, becomes in _changed_statuses(then, now):
        cause = search.find_cause(key)
        if cause is None:
            moved.unexplained.append(key)
            continue
        becomes_achieved = becomes is not None and _is_achieved(becomes) and not (was is not None and _is_achieved(was))
        moved.explained.append(
            ForecastChange(
                key,
                was.forecast if was else None,
                becomes.forecast if becomes else None,
                becomes.slip_days if becomes else None,
                becomes.state if becomes else State.UNKNOWN,
                becomes.driver if becomes else None,
                becomes.dependents if becomes and becomes_achieved else None,
                cause,
            )
        )
    return moved


def _is_achieved(status: MilestoneStatus) -> bool:
    return status.state is State.ACHIEVED


def _changed_statuses(
    schedule_before: Schedule, schedule_after: Schedule
) -> Iterator[tuple[MilestoneKey, MilestoneStatus | None, MilestoneStatus | None]]:
    """Return how each milestone stood and stands whose forecast differs or that was achieved, gates first."""
    places = schedule_before.network.index_of
    same = schedule_after.network is schedule_before.network
    for place in schedule_after.network.topological_order:
        becomes = schedule_after.statuses[place]
        at = place if same else places.get(becomes[:3])
        was = None if at is None else schedule_before.statuses[at]
        if was is becomes:
            continue
        was_forecast, was_achieved = (was.forecast, _is_achieved(was)) if was else (None, False)
        if was_forecast != becomes.forecast or (_is_achieved(becomes) and not was_achieved):
            yield becomes.key, was, becomes
    if not same:
        for was in schedule_before.statuses:
            if was.forecast is not None and was[:3] not in schedule_after.network.index_of:
                yield was.key, was, None


class _CauseFinder:
    """Looks for the event behind each movement; gates have to be asked about before those that wait for them."""

    def __init__(
        self,
        facts_before: Facts,
        schedule_before: Schedule,
        facts_after: Facts,
        schedule_after: Schedule,
        retracted_by: Mapping[Stamp, Stamp],
    ) -> None:
        self._facts_before, self._schedule_before, self._facts_after, self._schedule_after = (
            facts_before,
            schedule_before,
            facts_after,
            schedule_after,
        )
        self._retracted_by = retracted_by
        self._causes: dict[MilestoneKey, Stamp] = {}
        self._cycle_causes: dict[MilestoneKey, Stamp | None] = {}

    def find_cause(self, key: MilestoneKey) -> Stamp | None:
        """Return the stamp of the event behind the movement of a milestone; None: nothing was said that moves it."""
        for said in self._candidate_causes(key):
            if said is not None:
                self._causes[key] = said
                return said
        return None

    def _candidate_causes(self, key: MilestoneKey) -> Iterator[Stamp | None]:
        was, becomes = (
            facts.milestones.get(key, _NO_MILESTONE_CLAIMS) for facts in (self._facts_before, self._facts_after)
        )
        if was.actual is not None or becomes.actual is not None:
            # What is done waits for nothing.
            yield self._cause_in_dates(was, becomes)
            yield self._cause_in_cancellation(key)
        now, then = _driver_key(self._schedule_after, key), _driver_key(self._schedule_before, key)
        if now is not None:
            yield self._cause_in_gate(key, now)
        yield self._cause_in_dates(was, becomes)
        if then is not None:
            yield self._cause_in_gate(key, then)
        gates = _predecessor_keys(self._schedule_after, key) | _predecessor_keys(self._schedule_before, key)
        yield max(filter(None, (self._cause_in_gate(key, gate) for gate in gates)), default=None)

    def _cause_in_dates(self, claims_before: MilestoneClaims, claims_after: MilestoneClaims) -> Stamp | None:
        """Return what changed the claim that decides a milestone's own date."""
        known, deciding = _date_stamps(claims_before), _date_stamps(claims_after)[:1]
        # The own date that an actual one kept from deciding is no news.
        return self._deciding_stamp(known[:1], [stamp for stamp in deciding if stamp not in known])

    def _cause_in_gate(self, key: MilestoneKey, gate: MilestoneKey) -> Stamp | None:
        """Return the newest of what moved a gate and what changed whether and how long after it a milestone comes."""
        linked_then, linked_now = (
            gate in _predecessor_keys(picture, key) for picture in (self._schedule_before, self._schedule_after)
        )
        about = [self._cause_in_cancellation(gate)]
        if linked_now and not _is_cancelled(self._schedule_after, gate):
            about.append(self._causes.get(gate))
        dependency = DependencyKey(*key, gate.project, gate.milestone)
        was, becomes = (facts.dependencies.get(dependency) for facts in (self._facts_before, self._facts_after))
        if _lag_in_force(was) != _lag_in_force(becomes):
            about.append(self._deciding_stamp(_dependency_stamps(was), _dependency_stamps(becomes)))
        elif linked_then != linked_now:
            about.append(self._cause_in_cycle(key))
        return max(filter(None, about), default=None)

    def _cause_in_cancellation(self, key: MilestoneKey) -> Stamp | None:
        """Return what made a milestone count no longer, or again."""
        if _is_cancelled(self._schedule_before, key) == _is_cancelled(self._schedule_after, key):
            return None
        both, project = (self._facts_before, self._facts_after), ProjectKey(key.programme, key.project)
        claims = [facts.milestones.get(key, _NO_MILESTONE_CLAIMS) for facts in both]
        projects = [facts.projects.get(project, _NO_PROJECT_CLAIMS) for facts in both]
        about = []
        if claims[0].is_cancelled != claims[1].is_cancelled:
            about.append(self._deciding_stamp(*((of.cancelled, of.last_report_stamp) for of in claims)))
        if projects[0].is_withdrawn != projects[1].is_withdrawn:
            about.append(self._deciding_stamp(*((of.registered, of.withdrawn) for of in projects)))
        return max(filter(None, about), default=None)

    def _cause_in_cycle(self, key: MilestoneKey) -> Stamp | None:
        """Return the newest of what was said of the dependencies that lead from a milestone back to it.

        A dependency is set aside, or counts again, because of others on the same circles alone.
        """
        if key not in self._cycle_causes:
            both = [self._facts_before.dependencies, self._facts_after.dependencies]
            ends = {name: _link_ends(name) for known in both for name, said in known.items() if said.is_in_force}
            circle = _reachable_keys(key, ends.values()) & _reachable_keys(
                key, [(gate, waiting) for waiting, gate in ends.values()]
            )
            said = [
                self._deciding_stamp(*(_dependency_stamps(known.get(name)) for known in both))
                for name, (waiting, gate) in ends.items()
                if waiting in circle and gate in circle
            ]
            self._cycle_causes.update(dict.fromkeys(circle, max(filter(None, said), default=None)))
        return self._cycle_causes[key]

    def _deciding_stamp(
        self, stamps_before: Iterable[Stamp | None], stamps_after: Iterable[Stamp | None]
    ) -> Stamp | None:
        """Return the event that made one set of winning claims the other: the newest new one, or a retraction."""
        before, after = set(filter(None, stamps_before)), set(filter(None, stamps_after))
        gone = [stamp for stamp in before - after if stamp in self._retracted_by]
        newest, struck = max(after - before, default=None), max(gone, default=None)
        # A claim that is older than the one taken back has only come to the fore again.
        if struck is not None and (newest is None or newest < struck):
            return self._retracted_by[struck]
        return newest


def _link_ends(dependency: DependencyKey) -> tuple[MilestoneKey, MilestoneKey]:
    """Return what waits, and its gate."""
    waiting = MilestoneKey(dependency.programme, dependency.project, dependency.milestone)
    return waiting, MilestoneKey(dependency.programme, dependency.after_project, dependency.after_milestone)


def _reachable_keys(start: MilestoneKey, links: Iterable[tuple[MilestoneKey, MilestoneKey]]) -> set[MilestoneKey]:
    """Return what links lead to from a start, itself included."""
    leading: defaultdict[MilestoneKey, list[MilestoneKey]] = defaultdict(list)
    for one, other in links:
        leading[one].append(other)
    reached, open_ = {start}, [start]
    while open_:
        further = set(leading[open_.pop()]) - reached
        reached |= further
        open_ += further
    return reached


def _find_index(schedule: Schedule, key: MilestoneKey) -> int | None:
    return schedule.network.index_of.get(key)


def _driver_key(schedule: Schedule, key: MilestoneKey) -> MilestoneKey | None:
    place = _find_index(schedule, key)
    driver = None if place is None else schedule.statuses[place].driver
    return None if driver is None else MilestoneKey(key.programme, *driver)


def _predecessor_keys(schedule: Schedule, key: MilestoneKey) -> set[MilestoneKey]:
    place = _find_index(schedule, key)
    return (
        set()
        if place is None
        else {schedule.network.milestones[gate] for gate, _ in schedule.network.predecessors[place]}
    )


def _is_cancelled(schedule: Schedule, key: MilestoneKey) -> bool:
    place = _find_index(schedule, key)
    return place is not None and schedule.statuses[place].state is State.CANCELLED


def _date_stamps(claims: MilestoneClaims) -> list[Stamp]:
    """Return the stamps of the actual and the own date; the first of them decides."""
    return [claim.stamp for claim in (claims.actual, claims.own_claim) if claim is not None]


def _dependency_stamps(dependency: DependencyClaims | None) -> list[Stamp | None]:
    if dependency is None:
        return []
    return [dependency.declared.stamp if dependency.declared else None, dependency.withdrawn]


def _lag_in_force(dependency: DependencyClaims | None) -> int | None:
    """Return the lag of a dependency that holds."""
    return (
        dependency.declared.value if dependency is not None and dependency.declared and dependency.is_in_force else None
    )


FORECAST_CHANGED: Final = "milepost.forecast.changed.v1"
MILESTONE_ACHIEVED: Final = "milepost.milestone.achieved.v1"
GATE_OPENED: Final = "milepost.gate.opened.v1"
#: Who says so.
MILEPOST_SOURCE: Final = "/milepost"


def encode_changes(row: HistoryRow) -> Iterator[bytes]:
    """Return the events that a history row stands for, in structured mode."""
    if row.previous != row.current:
        told = {"from": row.previous, "to": row.current, "slip_days": row.slip_days}
        yield _encode_event(FORECAST_CHANGED, row, {**told, "driver": row.driver, "state": row.state})
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
        # An id names an event of its source alone.
        "causationsource": row.cause_source,
        "datacontenttype": "application/json",
        "data": {"milestone": row.milestone, **data},
    }
    if row.correlationid is not None:
        event["correlationid"] = row.correlationid
    return msgspec.json.encode(event)


def _event_id(event_type: str, row: HistoryRow) -> str:
    """Return an id that follows from what changed and why alone: not from when, where or how often it was noted."""
    moved = (row.programme, row.project, row.milestone, row.previous, row.current)
    content = (event_type, *moved, row.cause_source, row.cause_id)
    return blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()
