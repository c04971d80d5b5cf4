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
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State


class MilestoneSummary(NamedTuple):
    """As much of how a milestone stands as hold-ups take."""

    name: MilestoneRef
    baseline: date | None
    forecast: date | None
    slip_days: int | None
    state: State
    driver: MilestoneRef | None
    dependents: int

    @property
    def is_late(self) -> bool:
        """Whether it is overdue, or forecast for after its baseline."""
        return self.state is State.OVERDUE or (self.slip_days or 0) > 0


class DelayRoot(NamedTuple):
    """A gate, and every open milestone whose date it sets, directly or through others."""

    gate: MilestoneSummary
    #: The one that slipped most first.
    driven: Sequence[MilestoneSummary]

    @property
    def late_count(self) -> int:
        """How many of those it holds up are late."""
        return sum(stand.is_late for stand in self.driven)


def milestone_summary(status: MilestoneStatus) -> MilestoneSummary:
    """Return what hold-ups take of a standing."""
    return MilestoneSummary(
        MilestoneRef(status.project, status.milestone),
        status.baseline,
        status.forecast,
        status.slip_days,
        status.state,
        status.driver,
        status.dependents,
    )


def delay_roots(summaries: Iterable[MilestoneSummary]) -> list[DelayRoot]:
    """Return the roots that make others of one programme late, the one that makes most of them late first.

    What is not among the stands is taken for a milestone of which nothing is known.
    """
    known = {stand.name: stand for stand in summaries if stand.state is not State.CANCELLED}
    held: dict[MilestoneRef, list[MilestoneSummary]] = {}
    for stand in known.values():
        if stand.driver is not None and stand.state is not State.ACHIEVED:
            held.setdefault(_find_root(known, stand.driver), []).append(stand)
    found = [
        DelayRoot(known[root], sorted(its, key=lambda stand: (-(stand.slip_days or 0), stand.name)))
        for root, its in held.items()
        if root in known and any(stand.is_late for stand in its)
    ]
    return sorted(found, key=lambda one: (-one.late_count, -(one.gate.slip_days or 0), one.gate.name))


def _find_root(summaries_by_name: dict[MilestoneRef, MilestoneSummary], start: MilestoneRef) -> MilestoneRef:
    """Follow the drivers; a network has no cycles, but rows may have been changed by hand."""
    seen = set()
    while (stand := summaries_by_name.get(start)) is not None and stand.driver is not None and start not in seen:
        seen.add(start)
        start = stand.driver
    return start


_UNLIMITED_SLACK: Final = 1 << 60


class Successor(NamedTuple):
    """An open milestone that waits for a gate, directly or through others."""

    status: MilestoneStatus
    #: The one it waits for on the way from the gate with the least slack, and how long after that it comes at least.
    predecessor: MilestoneRef
    lag_days: int
    #: By how many days the gate may come later before this moves; none when it never would.
    slack_days: int | None

    @property
    def has_no_slack(self) -> bool:
        """Whether one day more of the gate is one day more of this."""
        return self.slack_days == 0


def successors_of(schedule: Schedule, key: MilestoneKey) -> Sequence[Successor]:
    """Return who waits for a milestone of a picture, those who would move first at the head."""
    network, standings = schedule.network, schedule.statuses
    start = network.index_of[key]
    slack = {start: 0 if standings[start].is_open and standings[start].forecast is not None else _UNLIMITED_SLACK}
    waiters = []
    cancelled = schedule.inputs.cancelled
    for place in () if cancelled[start] else network.topological_order:
        standing = standings[place]
        ways = [
            (_path_slack(standings[gate], standing, lag_days, slack[gate]), gate, lag_days)
            for gate, lag_days in network.predecessors[place]
            if gate in slack
        ]
        if not ways or cancelled[place]:
            continue
        least, gate, lag_days = min(ways)
        # What has happened moves no more, and nothing moves through it.
        slack[place] = least if standing.is_open else _UNLIMITED_SLACK
        if standing.is_open:
            after = MilestoneRef(*network.milestones[gate][1:])
            waiters.append(Successor(standing, after, lag_days, None if least >= _UNLIMITED_SLACK else least))
    return sorted(waiters, key=lambda one: (one.slack_days is None, one.slack_days, -(one.status.slip_days or 0)))


def _path_slack(gate: MilestoneStatus, successor: MilestoneStatus, lag_days: int, gate_slack: int) -> int:
    if gate.forecast is None or successor.forecast is None or gate_slack >= _UNLIMITED_SLACK:
        return _UNLIMITED_SLACK
    return gate_slack + (successor.forecast - gate.forecast).days - lag_days
