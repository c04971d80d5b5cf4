"""Which gates hold others up: the milestones at the root of what is late, and all whose dates they set.

Pure. Drivers make a tree of every programme: a milestone without a driver is a root, and whatever has it at the end
of its chain of drivers comes when it comes. So one late gate and its tenants are one thing to look at, not many.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from models.schedule import Driver, Standing, State


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
