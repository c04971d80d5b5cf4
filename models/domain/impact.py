"""Which gates hold others up: the milestones at the root of what is late, and all whose dates they set.

Pure. Drivers make a tree of every programme: a milestone without a driver is a root, and whatever has it at the end
of its chain of drivers comes when it comes. So one late gate and its tenants are one thing to look at, not many.
"""
# Who waits for a gate, and how far it may still slip before each of them moves.
#
# Pure, like the picture that it reads. A gate that comes later by some days moves what waits for it only once the slack
# on the way is used up: what a path has of it is the sum over its links of how much later the one that waits comes than
# it would have to, and of several paths the shortest counts.

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple

from models.domain.claims import MilestoneKey
from models.domain.schedule import Driver, Picture, Standing, State


class Stand(NamedTuple):
    """As much of how a milestone stands as hold-ups take."""

    name: Driver
    baseline: date | None
    forecast: date | None
    slip_days: int | None
    state: State
    driver: Driver | None
    dependents: int

    @property
    def is_late(self) -> bool:
        """Whether it is overdue, or forecast for after its baseline."""
        return self.state is State.OVERDUE or (self.slip_days or 0) > 0


class HoldUp(NamedTuple):
    """A gate, and every open milestone whose date it sets, directly or through others."""

    gate: Stand
    #: The one that slipped most first.
    held: Sequence[Stand]

    @property
    def late(self) -> int:
        """How many of those it holds up are late."""
        return sum(stand.is_late for stand in self.held)


def stand_of(standing: Standing) -> Stand:
    """Return what hold-ups take of a standing."""
    return Stand(
        Driver(standing.project, standing.milestone),
        standing.baseline,
        standing.forecast,
        standing.slip_days,
        standing.state,
        standing.driver,
        standing.dependents,
    )


def hold_ups(stands: Iterable[Stand]) -> list[HoldUp]:
    """Return the roots that make others of one programme late, the one that makes most of them late first.

    What is not among the stands is taken for a milestone of which nothing is known.
    """
    known = {stand.name: stand for stand in stands if stand.state is not State.CANCELLED}
    held: dict[Driver, list[Stand]] = {}
    for stand in known.values():
        if stand.driver is not None and stand.state is not State.ACHIEVED:
            held.setdefault(_root(known, stand.driver), []).append(stand)
    found = [
        HoldUp(known[root], sorted(its, key=lambda stand: (-(stand.slip_days or 0), stand.name)))
        for root, its in held.items()
        if root in known and any(stand.is_late for stand in its)
    ]
    return sorted(found, key=lambda one: (-one.late, -(one.gate.slip_days or 0), one.gate.name))


def _root(known: dict[Driver, Stand], gate: Driver) -> Driver:
    """Follow the drivers; a network has no cycles, but rows may have been changed by hand."""
    seen = set()
    while (stand := known.get(gate)) is not None and stand.driver is not None and gate not in seen:
        seen.add(gate)
        gate = stand.driver
    return gate


_NEVER: Final = 1 << 60


class Waiter(NamedTuple):
    """An open milestone that waits for a gate, directly or through others."""

    standing: Standing
    #: The one it waits for on the way from the gate with the least slack, and how long after that it comes at least.
    after: Driver
    lag_days: int
    #: By how many days the gate may come later before this moves; none when it never would.
    slack_days: int | None

    @property
    def is_held(self) -> bool:
        """Whether one day more of the gate is one day more of this."""
        return self.slack_days == 0


def waiting_for(shown: Picture, key: MilestoneKey) -> Sequence[Waiter]:
    """Return who waits for a milestone of a picture, those who would move first at the head."""
    network, standings = shown.network, shown.standings
    start = network.places[key]
    slack = {start: 0 if standings[start].is_open and standings[start].forecast is not None else _NEVER}
    waiters = []
    cancelled = shown.inputs.cancelled
    for place in () if cancelled[start] else network.order:
        standing = standings[place]
        ways = [
            (_slack(standings[gate], standing, lag_days, slack[gate]), gate, lag_days)
            for gate, lag_days in network.before[place]
            if gate in slack
        ]
        if not ways or cancelled[place]:
            continue
        least, gate, lag_days = min(ways)
        # What has happened moves no more, and nothing moves through it.
        slack[place] = least if standing.is_open else _NEVER
        if standing.is_open:
            after = Driver(*network.milestones[gate][1:])
            waiters.append(Waiter(standing, after, lag_days, None if least >= _NEVER else least))
    return sorted(waiters, key=lambda one: (one.slack_days is None, one.slack_days, -(one.standing.slip_days or 0)))


def _slack(gate: Standing, waiting: Standing, lag_days: int, before: int) -> int:
    if gate.forecast is None or waiting.forecast is None or before >= _NEVER:
        return _NEVER
    return before + (waiting.forecast - gate.forecast).days - lag_days
