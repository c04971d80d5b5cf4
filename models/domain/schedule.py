"""The schedule of a data date: forecast, driver, slip, float and state of every milestone. Contract, section 2.

Pure: the same facts and the same day give the same schedule. A forward pass through the network gives forecasts and
drivers, a backward pass the floats, another the dependents. A schedule calculated from an earlier one reuses what
cannot have changed: the network when no dependency did, the dependents when no milestone was achieved or cancelled, and
the status of every milestone whose numbers are the same.

Days are ordinals here (1 is 1 January of the year 1), and 0 is none: arithmetic on dates would take half of the time.
No forecast is later than the last day that a date can name.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from itertools import compress, count
from operator import is_not, ne
from typing import Final, NamedTuple

from models.domain.claims import NO_MILESTONE_CLAIMS, DependencyKey, Facts, MilestoneClaims, MilestoneKey
from models.domain.dependents import count_dependents, update_dependents
from models.domain.events import Money
from models.domain.network import Network, build_network
from models.domain.timestamps import Stamp

_MAX_ORDINAL: Final = date.max.toordinal()
_NO_DEADLINE: Final = 1 << 60


class State(StrEnum):
    """The state of a milestone; of several that apply, the first in this order."""

    CANCELLED = "cancelled"
    ACHIEVED = "achieved"
    UNKNOWN = "unknown"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    SLIPPING = "slipping"
    PLANNED = "planned"


# Attribute access on the enumeration takes as long as half a dozen comparisons.
_CANCELLED, _ACHIEVED, _UNKNOWN, _OVERDUE, _BLOCKED, _SLIPPING, _PLANNED = State
#: The states of what comes late, or has not come when it should.
LATE_STATES: Final = (_OVERDUE, _BLOCKED, _SLIPPING)
_CLOSED: Final = (_ACHIEVED, _CANCELLED)


class MilestoneRef(NamedTuple):
    """A milestone within its programme."""

    project: str
    milestone: str

    def __str__(self) -> str:
        return f"{self.project}/{self.milestone}"


class MilestoneStatus(NamedTuple):
    """One milestone on one day; positive days are late."""

    programme: str
    project: str
    milestone: str
    baseline: date | None
    planned: date | None
    estimated: date | None
    actual: date | None
    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: State
    driver: MilestoneRef | None
    dependents: int  # how many open milestones wait for it, directly or through other open ones
    last_claim_stamp: Stamp | None
    amount: Money | None
    #: What people call it.
    name: str | None

    @property
    def key(self) -> MilestoneKey:
        """Identifies the milestone."""
        return MilestoneKey(*self[:3])

    @property
    def ref(self) -> MilestoneRef:
        """Identifies the milestone within its programme."""
        return MilestoneRef(self.project, self.milestone)

    @property
    def is_open(self) -> bool:
        """Whether it is neither achieved nor cancelled."""
        return self.state not in _CLOSED

    @property
    def is_late(self) -> bool:
        """Whether it is overdue, or forecast for after its baseline."""
        return self.state is _OVERDUE or (self.slip_days or 0) > 0


class _Inputs(NamedTuple):
    # Of the passes, for each milestone of a network.
    claims: list[MilestoneClaims]
    own_days: list[int]
    planned_days: list[int]
    actual_days: list[int]
    cancelled: list[bool]


class _PassResults(NamedTuple):
    # For each milestone of a network.
    forecasts: list[int]
    drivers: list[int]  # indexes; -1 is none
    floats: list[int]  # `_NO_DEADLINE` is none
    dependents: list[int]


class Schedule(NamedTuple):
    """The statuses of all milestones on one day."""

    statuses: list[MilestoneStatus]  # sorted by programme, project, milestone
    data_date: date
    network: Network
    inputs: _Inputs
    results: _PassResults

    @property
    def cyclic(self) -> Sequence[DependencyKey]:
        """The dependencies in force that are set aside because they close a cycle, in the order of their stamps."""
        return self.network.cyclic


def compute_schedule(facts: Facts, data_date: date, previous: Schedule | None = None) -> Schedule:
    """Return the schedule of a day, of one programme or of many.

    `previous`, any earlier schedule of the same programmes, makes it faster and does not change the result.
    """
    if previous is not None and not previous.network.is_reusable_for(facts):
        previous = None
    network = build_network(facts) if previous is None else previous.network
    inputs = _collect_inputs(facts, network)
    today = data_date.toordinal()
    forecasts, drivers = _forward_pass(network, inputs, today)
    dependents = _dependents(network, inputs, previous)
    results = _PassResults(forecasts, drivers, _backward_pass(network, inputs, forecasts), dependents)
    if previous is None or previous.data_date != data_date:
        statuses = list(_build_statuses(network, inputs, results, range(len(network.milestones)), today))
    else:
        statuses, changed = previous.statuses.copy(), _changed_indexes(previous, inputs, results)
        for index, status in zip(changed, _build_statuses(network, inputs, results, changed, today), strict=True):
            statuses[index] = status
    return Schedule(statuses, data_date, network, inputs, results)


#: One object for equal days: a schedule holds several of every milestone.
_ordinal_of = lru_cache(maxsize=4096)(date.toordinal)


def _changed_indexes(previous: Schedule, inputs: _Inputs, results: _PassResults) -> set[int]:
    """Return the indexes of the milestones whose status differs from that on the same day in the same network."""
    changed = set(compress(count(), map(is_not, previous.inputs.claims, inputs.claims)))
    before: Sequence[Sequence[object]] = (previous.inputs.cancelled, *previous.results)
    after: Sequence[Sequence[object]] = (inputs.cancelled, *results)
    return changed.union(*(compress(count(), map(ne, old, new)) for old, new in zip(before, after, strict=True)))


def _collect_inputs(facts: Facts, network: Network) -> _Inputs:
    withdrawn = {key for key, project in facts.projects.items() if project.is_withdrawn}
    claims = [claim or NO_MILESTONE_CLAIMS for claim in map(facts.milestones.get, network.milestones)]
    own_claims = [claim.own_claim for claim in claims]
    return _Inputs(
        claims,
        own_days=[_ordinal_of(own.date) if own else 0 for own in own_claims],
        planned_days=[_ordinal_of(planned.date) if (planned := claim.planned) else 0 for claim in claims],
        actual_days=[_ordinal_of(actual.date) if (actual := claim.actual) else 0 for claim in claims],
        cancelled=[
            (claim.cancelled is not None and claim.is_cancelled) or (bool(withdrawn) and key[:2] in withdrawn)
            for key, claim in zip(network.milestones, claims, strict=True)
        ],
    )


def _forward_pass(network: Network, inputs: _Inputs, today: int) -> tuple[list[int], list[int]]:
    """Return the forecast of each milestone, and the index of its driver; a cancelled one has neither."""
    predecessors, own, actual, cancelled = network.predecessors, inputs.own_days, inputs.actual_days, inputs.cancelled
    size = len(network.milestones)
    forecasts, drivers = [0] * size, [-1] * size
    for index in network.topological_order:
        if cancelled[index]:
            # Without a forecast, it drives none of its successors.
            continue
        if forecast := actual[index]:
            forecasts[index] = forecast
            continue
        known, driver = own[index], -1
        # Calls of `max` and `min` would take longer than the rest.
        forecast = known if known > today else today  # noqa: FURB136 - speed
        for predecessor, lag_days in predecessors[index]:
            if earliest := forecasts[predecessor]:
                known = 1
                earliest += lag_days
                if earliest > forecast or (earliest == forecast and predecessor < driver):
                    forecast, driver = earliest, predecessor
        if known:
            forecasts[index] = forecast if forecast < _MAX_ORDINAL else _MAX_ORDINAL  # noqa: FURB136 - speed
            drivers[index] = driver
    return forecasts, drivers


def _backward_pass(network: Network, inputs: _Inputs, forecasts: list[int]) -> list[int]:
    """Return the float of each milestone."""
    predecessors, planned = network.predecessors, inputs.planned_days
    closed = [actual > 0 or cancelled for actual, cancelled in zip(inputs.actual_days, inputs.cancelled, strict=True)]
    floats = [_NO_DEADLINE] * len(closed)
    # The latest day that delays no successor; a closed successor sets no deadline.
    deadlines = [_NO_DEADLINE] * len(closed)
    for index in reversed(network.topological_order):
        deadline = planned[index] or _NO_DEADLINE
        if (successors_deadline := deadlines[index]) < deadline:
            deadline = successors_deadline
        if deadline == _NO_DEADLINE or closed[index]:
            continue
        if forecast := forecasts[index]:
            floats[index] = deadline - forecast
        for predecessor, lag_days in predecessors[index]:
            if (latest := deadline - lag_days) < deadlines[predecessor]:
                deadlines[predecessor] = latest
    return floats


def _dependents(network: Network, inputs: _Inputs, previous: Schedule | None) -> list[int]:
    actual, cancelled = inputs.actual_days, inputs.cancelled
    if previous is None or previous.inputs.cancelled != cancelled:
        return count_dependents(network, actual, cancelled)
    return update_dependents(network, previous.results.dependents, previous.inputs.actual_days, actual, cancelled)


_date_from_ordinal = lru_cache(maxsize=4096)(date.fromordinal)


def _build_statuses(
    network: Network, inputs: _Inputs, results: _PassResults, indexes: Iterable[int], today: int
) -> Iterator[MilestoneStatus]:
    milestones, all_claims, own, cancelled = network.milestones, inputs.claims, inputs.own_days, inputs.cancelled
    forecasts, drivers, floats, dependents = results
    new = tuple.__new__
    for index in indexes:
        claims = all_claims[index]
        baseline, planned, estimated, actual = claims.baseline, claims.planned, claims.estimated, claims.actual
        forecast, driver, float_days = forecasts[index], drivers[index], floats[index]
        slip = forecast - baseline.date.toordinal() if forecast and baseline else None
        # The first that applies: contract, section 2.
        if cancelled[index]:
            state = _CANCELLED
        elif actual:
            state = _ACHIEVED
        elif not forecast:
            state = _UNKNOWN
        elif 0 < own[index] < today:
            state = _OVERDUE
        elif driver >= 0:
            state = _BLOCKED
        elif slip is not None and slip > 0:
            state = _SLIPPING
        else:
            state = _PLANNED
        programme, project, milestone = milestones[index]
        # In the order of the fields: the constructor of the named tuple takes twice as long.
        yield new(
            MilestoneStatus,
            (
                programme,
                project,
                milestone,
                baseline.date if baseline else None,
                planned.date if planned else None,
                estimated.date if estimated else None,
                actual.date if actual else None,
                _date_from_ordinal(forecast) if forecast else None,
                slip,
                None if float_days == _NO_DEADLINE else float_days,
                state,
                new(MilestoneRef, milestones[driver][1:]) if driver >= 0 else None,
                dependents[index],
                claims.last_claim_stamp,
                claims.amount,
                claims.name.value if claims.name else None,
            ),
        )
