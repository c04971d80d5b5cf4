"""The winning claims and a data date to the picture of that day: forecast, driver, slip, float, state.

Contract, section 2. Pure: the same facts and the same day give the same picture. One walk along the network gives the
forecasts and what drives them; one walk back gives the floats, another who waits. A picture drawn after another takes
over what cannot have changed: the network when no dependency did, who waits when nothing was achieved or cancelled,
and the standing of every milestone for which all numbers are as they were.

Days are ordinals here (1 is the first of January of the year 1) and 0 is none: arithmetic on dates would be half of
the time. No forecast lies beyond the last day that a date can name.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from itertools import compress, count
from operator import is_not, ne
from typing import Final, NamedTuple

from models.domain.claims import DependencyKey, Facts, MilestoneClaims, MilestoneKey
from models.domain.events import Money
from models.domain.network import Network, build_network, reachable
from models.domain.timestamps import Stamp

_MAX_ORDINAL: Final = date.max.toordinal()
_NO_DEADLINE: Final = 1 << 60
_NO_MILESTONE_CLAIMS: Final = MilestoneClaims()
#: Of more achievements at once than this, all is reckoned anew.
_MAX_INCREMENTAL: Final = 20


class State(StrEnum):
    """How a milestone stands; of several that apply, the first in this order."""

    CANCELLED = "cancelled"
    ACHIEVED = "achieved"
    UNKNOWN = "unknown"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    SLIPPING = "slipping"
    PLANNED = "planned"


#: To look one up in its class takes as long as half a dozen comparisons.
_CANCELLED, _ACHIEVED, _UNKNOWN, _OVERDUE, _BLOCKED, _SLIPPING, _PLANNED = State
_CLOSED: Final = (_ACHIEVED, _CANCELLED)


class MilestoneRef(NamedTuple):
    """The predecessor that sets a forecast, of the same programme."""

    project: str
    milestone: str

    def __str__(self) -> str:
        """Return it as it is shown everywhere."""
        return f"{self.project}/{self.milestone}"


class MilestoneStatus(NamedTuple):
    """One milestone on one day; days count late as positive."""

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
    #: How many open milestones wait for it, directly or through others.
    dependents: int
    #: The newest claim about it.
    last_claim_stamp: Stamp | None
    amount: Money | None

    @property
    def key(self) -> MilestoneKey:
        """Which milestone."""
        return MilestoneKey(*self[:3])

    @property
    def is_open(self) -> bool:
        """Whether it is still to come."""
        return self.state not in _CLOSED


class _Inputs(NamedTuple):
    """What is known of each place of a network before the walks."""

    claims: list[MilestoneClaims]
    own_days: list[int]
    planned_days: list[int]
    actual_days: list[int]
    cancelled: list[bool]


class _PassResults(NamedTuple):
    """What the walks find out of each place."""

    forecasts: list[int]
    #: Places; -1 is none.
    drivers: list[int]
    #: `_NEVER` is none.
    floats: list[int]
    dependents: list[int]


class Schedule(NamedTuple):
    """How everything stands on one day."""

    #: Sorted by programme, project, milestone.
    statuses: list[MilestoneStatus]
    data_date: date
    network: Network
    inputs: _Inputs
    results: _PassResults

    @property
    def cyclic(self) -> Sequence[DependencyKey]:
        """Dependencies that hold, and are left out because they close a cycle; in the order of their stamps."""
        return self.network.cyclic


def compute_schedule(facts: Facts, data_date: date, previous: Schedule | None = None) -> Schedule:
    """Return how every milestone stands on a day, of one programme or of many.

    `before`, any earlier picture of the same programmes, makes it faster and changes nothing.
    """
    known = previous if previous is not None and previous.network.is_reusable_for(facts) else None
    net = build_network(facts) if known is None else known.network
    inputs = _collect_inputs(facts, net)
    today = data_date.toordinal()
    forecasts, drivers = _forward_pass(net, inputs, today)
    dependents = _count_dependents(net, inputs) if known is None else _update_dependents(known, inputs)
    outcome = _PassResults(forecasts, drivers, _backward_pass(net, inputs, forecasts), dependents)
    if known is None or known.data_date != data_date:
        standings = list(_build_statuses(net, inputs, outcome, range(len(net.topological_order)), today))
    else:
        standings, differing = known.statuses.copy(), _changed_indexes(known, inputs, outcome)
        for place, standing in zip(differing, _build_statuses(net, inputs, outcome, differing, today), strict=True):
            standings[place] = standing
    return Schedule(standings, data_date, net, inputs, outcome)


def _changed_indexes(previous: Schedule, inputs: _Inputs, results: _PassResults) -> set[int]:
    """Return the places that do not stand as they did on the same day in the same network."""
    differing = set(compress(count(), map(is_not, previous.inputs.claims, inputs.claims)))
    then: Sequence[Sequence[object]] = (previous.inputs.cancelled, *previous.results)
    now: Sequence[Sequence[object]] = (inputs.cancelled, *results)
    return differing.union(*(compress(count(), map(ne, was, is_now)) for was, is_now in zip(then, now, strict=True)))


def _collect_inputs(facts: Facts, network: Network) -> _Inputs:
    withdrawn = {key for key, project in facts.projects.items() if project.is_withdrawn}
    claims = [claim or _NO_MILESTONE_CLAIMS for claim in map(facts.milestones.get, network.milestones)]
    owns = [claim.own_claim for claim in claims]
    return _Inputs(
        claims,
        own_days=[own.date.toordinal() if own else 0 for own in owns],
        planned_days=[planned.date.toordinal() if (planned := claim.planned) else 0 for claim in claims],
        actual_days=[actual.date.toordinal() if (actual := claim.actual) else 0 for claim in claims],
        cancelled=[
            (claim.cancelled is not None and claim.is_cancelled) or (bool(withdrawn) and key[:2] in withdrawn)
            for key, claim in zip(network.milestones, claims, strict=True)
        ],
    )


def _forward_pass(network: Network, inputs: _Inputs, today: int) -> tuple[list[int], list[int]]:
    """Return of each place the forecast, and the place of its driver."""
    before, own, actual, cancelled = network.predecessors, inputs.own_days, inputs.actual_days, inputs.cancelled
    forecasts, drivers = [0] * len(network.topological_order), [-1] * len(network.topological_order)
    # What a place tells those that wait for it: nothing when it is cancelled or has no forecast.
    told = [0] * len(network.topological_order)
    for place in network.topological_order:
        if forecast := actual[place]:
            forecasts[place] = forecast
        else:
            known, driver = own[place], -1
            # To call `max` and `min` takes longer than the rest.
            forecast = known if known > today else today  # noqa: FURB136 - as said
            for gate, lag_days in before[place]:
                if after := told[gate]:
                    known = 1
                    after += lag_days
                    if after > forecast or (after == forecast and gate < driver):
                        forecast, driver = after, gate
            if not known:
                continue
            if forecast > _MAX_ORDINAL:  # noqa: PLR1730 - as said
                forecast = _MAX_ORDINAL
            forecasts[place] = forecast
            drivers[place] = driver
        if not cancelled[place]:
            told[place] = forecast
    return forecasts, drivers


def _backward_pass(network: Network, inputs: _Inputs, forecasts: list[int]) -> list[int]:
    """Return of each place by how many days it may still move."""
    before, planned = network.predecessors, inputs.planned_days
    closed = [actual > 0 or cancelled for actual, cancelled in zip(inputs.actual_days, inputs.cancelled, strict=True)]
    floats = [_NO_DEADLINE] * len(network.topological_order)
    # By when a place has to be reached for those that wait for it; a closed one holds up nothing before it.
    latest = [_NO_DEADLINE] * len(network.topological_order)
    for place in reversed(network.topological_order):
        by = planned[place] or _NO_DEADLINE
        if (its := latest[place]) < by:
            by = its
        if by == _NO_DEADLINE or closed[place]:
            continue
        if forecast := forecasts[place]:
            floats[place] = by - forecast
        for gate, lag_days in before[place]:
            if (its := by - lag_days) < latest[gate]:
                latest[gate] = its
    return floats


def _count_dependents(network: Network, inputs: _Inputs) -> list[int]:
    """Return of each place how many open milestones wait for it; nothing waits through a cancelled one."""
    before, actual, cancelled = network.predecessors, inputs.actual_days, inputs.cancelled
    dependents = [0] * len(network.topological_order)
    # The set of open places behind each place: a bit for each, in the order of this walk, so that no set reaches beyond
    # its place, and shifted by the first that may be in it, so that a set within one project is short.
    sets, lows = [0] * len(network.topological_order), [0] * len(network.topological_order)
    for number, place in enumerate(reversed(network.topological_order)):
        if cancelled[place]:
            continue
        behind, low = sets[place], lows[place]
        if behind:
            dependents[place] = behind.bit_count()
            sets[place] = 0
            if not actual[place]:
                behind |= 1 << (number - low)
        elif actual[place]:
            continue
        else:
            behind, low = 1, number
        for gate, _ in before[place]:
            if not (known := sets[gate]):
                sets[gate], lows[gate] = behind, low
            elif (its := lows[gate]) > low:
                sets[gate], lows[gate] = known << (its - low) | behind, low
            else:
                sets[gate] = known | behind << (low - its) if low > its else known | behind
    return dependents


def _update_dependents(previous: Schedule, inputs: _Inputs) -> list[int]:
    """Return of each place how many open milestones wait for it, given how many did in the same network."""
    net, actual, cancelled = previous.network, inputs.actual_days, inputs.cancelled
    differing = compress(count(), map(ne, previous.inputs.actual_days, actual))
    turned = [place for place in differing if bool(previous.inputs.actual_days[place]) != bool(actual[place])]
    if previous.inputs.cancelled != cancelled or len(turned) > _MAX_INCREMENTAL:
        return _count_dependents(net, inputs)
    dependents = previous.results.dependents.copy() if turned else previous.results.dependents
    for place in turned:
        step = -1 if actual[place] else 1
        for gate in reachable(place, net.predecessors, cancelled):
            dependents[gate] += step
    return dependents


@lru_cache(maxsize=4096)
def _date_from_ordinal(ordinal: int) -> date:
    return date.fromordinal(ordinal)


def _build_statuses(
    network: Network, inputs: _Inputs, results: _PassResults, indexes: Iterable[int], today: int
) -> Iterator[MilestoneStatus]:
    milestones, all_claims, own, cancelled = network.milestones, inputs.claims, inputs.own_days, inputs.cancelled
    forecasts, drivers, floats, dependents = results
    made = tuple.__new__
    for place in indexes:
        claims = all_claims[place]
        first, planned, estimated, actual = claims.baseline, claims.planned, claims.estimated, claims.actual
        forecast, driver, float_days = forecasts[place], drivers[place], floats[place]
        slip = forecast - first.date.toordinal() if forecast and first else None
        # The first that applies: contract, section 2.
        if cancelled[place]:
            state = _CANCELLED
        elif actual:
            state = _ACHIEVED
        elif not forecast:
            state = _UNKNOWN
        elif 0 < own[place] < today:
            state = _OVERDUE
        elif driver >= 0:
            state = _BLOCKED
        elif slip is not None and slip > 0:
            state = _SLIPPING
        else:
            state = _PLANNED
        programme, project, milestone = milestones[place]
        # In the order of the fields, past what a named tuple does with them: by name it takes twice as long.
        yield made(
            MilestoneStatus,
            (
                programme,
                project,
                milestone,
                first.date if first else None,
                planned.date if planned else None,
                estimated.date if estimated else None,
                actual.date if actual else None,
                _date_from_ordinal(forecast) if forecast else None,
                slip,
                None if float_days == _NO_DEADLINE else float_days,
                state,
                MilestoneRef._make(milestones[driver][1:]) if driver >= 0 else None,
                dependents[place],
                claims.last_claim_stamp,
                claims.amount,
            ),
        )
