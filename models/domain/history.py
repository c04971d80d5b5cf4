"""The history of forecasts, by claims: contract, section 2, "History". A pure function of the set of events.

The walk goes through the instants of a programme's claims in order. A claim changes the date of one milestone, or one
dependency, and only what lies downstream can move. The forecast of an open milestone is the later of a date and of the
data date + a lag, both of which stay the same while only days pass: so there is no pass for each day.

Days are ordinals here, as in `models.domain.schedule`. The module is long so that the walk, the forecasts that it moves
and the rows that come of them stand together.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

from models.domain.changing_network import ChangingNetwork, Link
from models.domain.claim_steps import (
    ACTUAL,
    LINK,
    NAMED,
    OWN,
    PLAN,
    PROJECT,
    STATUS,
    ClaimSteps,
    Entry,
    RegisterKey,
    Registers,
    Step,
    build_steps,
)
from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.row_order import MilestoneSortKey, dated_sort_key
from models.domain.schedule import MilestoneRef, State
from models.domain.timestamps import Instant, Stamp, day_of, parse_stamp

_MAX_ORDINAL: Final = date.max.toordinal()
#: Before any day, whatever lags are added.
_NEVER: Final = -(1 << 60)


class HistoryEntry(NamedTuple):
    """What was said at an instant moved a forecast, or achieved a milestone or took that back."""

    milestone: MilestoneKey
    said: Instant
    previous: date | None
    current: date | None
    #: The actual date, else the own date. The passing of days does not move it.
    own_previous: date | None
    own_current: date | None
    slip_days: int | None
    state: State | None  # None: no event names the milestone any more
    driver: MilestoneRef | None
    cause: Stamp

    @property
    def said_on(self) -> date:
        """The day of the instant, in UTC."""
        return day_of(self.said)

    @property
    def source(self) -> str:
        """Who said it."""
        return parse_stamp(self.cause).source

    @property
    def moved_days(self) -> int | None:
        """The days by which the forecast moved; None when there was none before or after."""
        return None if self.previous is None or self.current is None else (self.current - self.previous).days


def trace_history(
    events: Iterable[Event],
    programme: str,
    milestones: Collection[MilestoneRef] | None = None,
    other_stamps: Iterable[Stamp] = (),
) -> Iterator[HistoryEntry]:
    """Yield the history of a programme, or of some of its milestones; of one instant in the order of rows.

    `events` are those of the programme and the retractions of them, in any order, repeated or not. Those that are only
    about milestones for which the given ones never waited may be left out, if `other_stamps` has their stamps.
    """
    names = None if milestones is None else {(ref.project, ref.milestone) for ref in milestones}
    claims = build_steps(events, programme, names, other_stamps)
    walk = _Walk(programme, claims)
    wanted = range(len(claims.names)) if names is None else {n for n, name in enumerate(claims.names) if name in names}
    for step in claims.steps:
        yield from walk.take(step, wanted)


class _Forecast(NamedTuple):
    """The later of a day and of the data date + a lag; of an achieved milestone the day alone.

    Exact as long as no chain of lags leads beyond the last day of the calendar and back.
    """

    day: int
    lag_days: int

    def on(self, data_date: int) -> int:
        """Return the forecast on a data date."""
        # Calls of `max` and `min` would take longer than the rest.
        day = data_date + self.lag_days
        day = max(day, self.day)
        return day if day < _MAX_ORDINAL else _MAX_ORDINAL  # noqa: FURB136 - speed


class _Side:
    """What is known before or after a step, on the day of the step."""

    def __init__(self, walk: "_Walk", data_date: int, *, is_before: bool) -> None:
        self._walk, self.data_date, self._is_before = walk, data_date, is_before
        self._drivers: dict[int, int | None] = {}
        self._causes: dict[int, Stamp | None] = {}

    def newest(self, key: RegisterKey) -> Entry | None:
        if self._is_before and key in self._walk.touched:
            return self._walk.touched[key]
        return self._walk.registers.newest(key)

    def value(self, key: RegisterKey) -> Any | None:  # noqa: ANN401 - a day, a lag or a decision
        entry = self.newest(key)
        return None if entry is None else entry[1]

    def forecast(self, node: int) -> int | None:
        walk = self._walk
        forecast = walk.former.get(node, walk.forecasts[node]) if self._is_before else walk.forecasts[node]
        return None if forecast is None else forecast.on(self.data_date)

    def exists(self, node: int) -> bool:
        return self.newest((STATUS, node)) is not None or self.newest((NAMED, node)) is not None

    def is_achieved(self, node: int) -> bool:
        return self.forecast(node) is not None and self.newest((ACTUAL, node)) is not None

    def shown_day(self, node: int) -> int | None:
        """Return the actual date, else the own date."""
        return self.value((OWN, node)) if (actual := self.value((ACTUAL, node))) is None else actual

    def sort_key(self, node: int) -> MilestoneSortKey:
        """Return the milestone's place in the order of rows."""
        baseline = self._walk.registers.oldest((PLAN, node))
        # Without a baseline there is no plan: the own date is an estimate.
        day = self.value((OWN, node)) or self.value((ACTUAL, node)) if baseline is None else baseline[1]
        return dated_sort_key(self._walk.key_of(node), day or self.forecast(node))

    def driver(self, node: int) -> int | None:
        """Return the predecessor that sets the forecast."""
        if node not in self._drivers:
            self._drivers[node] = self._find_driver(node)
        return self._drivers[node]

    def _find_driver(self, node: int) -> int | None:
        if self.forecast(node) is None or self.is_achieved(node):
            return None
        latest, driver, walk = max(self.value((OWN, node)) or 0, self.data_date), None, self._walk
        predecessors = walk.network.predecessors[node]
        if self._is_before:
            predecessors = walk.former_predecessors.get(node, predecessors)
        # The nodes are in the order of their names.
        for predecessor in sorted(predecessors):
            if (forecast := self.forecast(predecessor)) is not None and forecast + predecessors[predecessor] > latest:
                latest, driver = forecast + predecessors[predecessor], predecessor
        return driver

    def cause(self, node: int) -> Stamp | None:
        """Return the event of the step that changed what decides a milestone's forecast; None when none did."""
        path: list[int] = []
        current: int | None = node
        cause = None
        while current is not None and cause is None:
            if current in self._causes:
                cause = self._causes[current]
                break
            path.append(current)
            keys, current = self._deciding(current)
            cause = next(filter(None, map(self._walk.cause_in, keys)), None)
        self._causes.update(dict.fromkeys(path, cause))
        return cause

    def _deciding(self, node: int) -> tuple[list[RegisterKey], int | None]:
        """Return the registers that decide a milestone's forecast, and the driver that has part in the decision."""
        project, status = (PROJECT, self._walk.project_of(node)), (STATUS, node)
        if not self.exists(node):
            return [], None
        if self.value(status) or self.value(project):
            return [key for key in (status, project) if self.value(key)], None
        if self.newest((ACTUAL, node)) is not None:
            return [(ACTUAL, node)], None
        if (driver := self.driver(node)) is not None:
            return [(LINK, (node, driver))], driver
        return ([] if self.forecast(node) is None else [(OWN, node)]), None


class _Walk:
    """The claims and the forecasts after each step."""

    def __init__(self, programme: str, claims: ClaimSteps) -> None:
        self._programme, self._names = programme, claims.names
        self.registers = Registers()
        self.network = ChangingNetwork(len(claims.names), claims.edges)
        self.forecasts: list[_Forecast | None] = [None] * len(claims.names)
        self._members: dict[str, list[int]] = {}
        for node, (project, _) in enumerate(claims.names):
            self._members.setdefault(project, []).append(node)
        # Of the step: the newest claim that each touched register had before, the retraction of each claim that is
        # taken back, and what the changed nodes had before.
        self.touched: dict[RegisterKey, Entry | None] = {}
        self._retracted_by: dict[Stamp, Stamp] = {}
        self.former: dict[int, _Forecast | None] = {}
        self.former_predecessors: dict[int, dict[int, int]] = {}

    def key_of(self, node: int) -> MilestoneKey:
        return MilestoneKey(self._programme, *self._names[node])

    def project_of(self, node: int) -> str:
        return self._names[node][0]

    def take(self, step: Step, wanted: Collection[int]) -> Iterator[HistoryEntry]:
        """Apply a step; yield the history of the wanted nodes that it makes."""
        if not step.additions and not step.removals:
            return
        self._apply_claims(step)
        self._update_forecasts(self._update_network())
        changed = [node for node in self.former if node in wanted]
        if not changed:
            return
        day = day_of(step.instant).toordinal()
        before, after = _Side(self, day, is_before=True), _Side(self, day, is_before=False)
        for node in sorted(changed, key=after.sort_key):
            if before.forecast(node) != after.forecast(node) or before.is_achieved(node) != after.is_achieved(node):
                yield self._entry(step, node, before, after)

    def _apply_claims(self, step: Step) -> None:
        self.touched = {}
        self._retracted_by = {removal.claim: removal.retraction for removal in step.removals}
        registers, touched = self.registers, self.touched
        for removal in step.removals:
            for key, _ in removal.settings:
                if key not in touched:
                    touched[key] = registers.newest(key)
                registers.remove(key, removal.claim)
        for stamp, settings in step.additions:
            for key, value in settings:
                if key not in touched:
                    touched[key] = registers.newest(key)
                registers.add(key, (stamp, value))

    def _update_network(self) -> set[int]:
        """Apply the changed dependencies; return the nodes whose forecast may change without their predecessors'."""
        links: dict[tuple[int, int], Link | None] = {}
        dirty: set[int] = set()
        for (kind, key), before in self.touched.items():
            if kind is LINK:
                newest = self.registers.newest((kind, key))
                links[key] = Link(*newest) if newest is not None and newest[1] is not None else None
            elif kind is PROJECT:
                if self._is_withdrawn(key) != bool(before and before[1]):
                    dirty.update(self._members[key])
            elif kind is not PLAN and kind is not NAMED:
                dirty.add(key)
        self.former_predecessors = self.network.update(links) if links else {}
        return dirty.union(self.former_predecessors)

    def _update_forecasts(self, dirty: set[int]) -> None:
        """Calculate dirty nodes and those downstream of what changed, predecessors first."""
        self.former = {}
        network, forecasts = self.network, self.forecasts
        pending = [(network.rank(node), node) for node in dirty]
        heapify(pending)
        last = -1
        while pending:
            _, node = heappop(pending)
            if node == last:
                continue
            last = node
            forecast = self._calculate(node)
            if forecast != forecasts[node]:
                self.former[node], forecasts[node] = forecasts[node], forecast
                for successor in network.successors(node):
                    heappush(pending, (network.rank(successor), successor))

    def _calculate(self, node: int) -> _Forecast | None:
        newest = self.registers.newest
        status = newest((STATUS, node))
        if (status is not None and status[1]) or self._is_withdrawn(self.project_of(node)):
            return None
        if (actual := newest((ACTUAL, node))) is not None:
            return _Forecast(actual[1], _NEVER)
        own = newest((OWN, node))
        is_known, day, lag_days = own is not None, own[1] if own else _NEVER, 0
        for predecessor, link_days in self.network.predecessors[node].items():
            if (forecast := self.forecasts[predecessor]) is not None:
                is_known = True
                if (other := forecast.day + link_days) > day:
                    day = other
                if (other := forecast.lag_days + link_days) > lag_days:
                    lag_days = other
        # A day that came from `_NEVER` stays there.
        return _Forecast(min(_MAX_ORDINAL, day) if day > 0 else _NEVER, lag_days) if is_known else None

    def _is_withdrawn(self, project: str) -> bool:
        newest = self.registers.newest((PROJECT, project))
        return newest is not None and bool(newest[1])

    def cause_in(self, key: RegisterKey) -> Stamp | None:
        """Return the event of the step that changed which claim of a register counts: the claim, or a retraction."""
        if key not in self.touched:
            return None
        before, after = self.touched[key], self.registers.newest(key)
        if after == before:
            return None
        if after is not None and (before is None or after > before):
            return after[0]
        return None if before is None else self._retracted_by.get(before[0])

    def _entry(self, step: Step, node: int, before: _Side, after: _Side) -> HistoryEntry:
        forecast, driver = after.forecast(node), after.driver(node)
        baseline = self.registers.oldest((PLAN, node))
        return HistoryEntry(
            self.key_of(node),
            step.instant,
            _date(before.forecast(node)),
            _date(forecast),
            _date(before.shown_day(node)),
            _date(after.shown_day(node)),
            forecast - baseline[1] if forecast is not None and baseline is not None else None,
            self._state(node, after, forecast, driver, baseline),
            None if driver is None else MilestoneRef(*self._names[driver]),
            # Of the deciding ones; before that, the one that took away what decided.
            after.cause(node) or before.cause(node) or step.last_stamp,
        )

    def _state(
        self, node: int, after: _Side, forecast: int | None, driver: int | None, baseline: Entry | None
    ) -> State | None:
        is_cancelled = after.value((STATUS, node)) or self._is_withdrawn(self.project_of(node))
        # The first that applies: contract, section 2.
        states = (
            (None, not after.exists(node)),
            (State.CANCELLED, is_cancelled),
            (State.ACHIEVED, after.is_achieved(node)),
            (State.UNKNOWN, forecast is None),
            (State.OVERDUE, 0 < (after.value((OWN, node)) or 0) < after.data_date),
            (State.BLOCKED, driver is not None),
            (State.SLIPPING, bool(baseline and forecast and forecast > baseline[1])),
        )
        return next((state for state, applies in states if applies), State.PLANNED)


def _date(day: int | None) -> date | None:
    return None if day is None else date.fromordinal(day)
