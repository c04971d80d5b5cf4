"""What a gate means for others: the roots of delays, and the successors of a milestone with their slack.

Driver links form a forest. A milestone without a driver is a root; every milestone whose driver chain ends there takes
its date from it. Grouping by root reports one late gate instead of all its dependents.

A gate that comes later moves a successor only once the slack on the way is used up. The slack of a path is the sum over
its links of the days by which the successor comes later than the link requires; of several paths the least counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from models.domain.claims import MilestoneKey
from models.domain.row_order import MilestoneSortKey, milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State

_UNLIMITED_SLACK: Final = 1 << 60


class DelayRoot(NamedTuple):
    """A gate, and every open milestone whose date it sets, directly or through others."""

    gate: MilestoneStatus
    driven: Sequence[MilestoneStatus]  # the largest slip first

    @property
    def late_count(self) -> int:
        """How many of the driven milestones are late."""
        return sum(status.is_late for status in self.driven)


def delay_roots(statuses: Iterable[MilestoneStatus]) -> list[DelayRoot]:
    """Return the gates that make other milestones of one programme late, those with the most late milestones first."""
    by_ref = {status.ref: status for status in statuses if status.state is not State.CANCELLED}
    driven_by: dict[MilestoneRef, list[MilestoneStatus]] = {}
    for status in by_ref.values():
        if status.driver is not None and status.state is not State.ACHIEVED:
            driven_by.setdefault(_find_root(by_ref, status.driver), []).append(status)
    # A driver that is not among the statuses is taken for a milestone about which nothing is known.
    roots = [
        DelayRoot(by_ref[root], sorted(driven, key=_largest_slip_first))
        for root, driven in driven_by.items()
        if root in by_ref and any(status.is_late for status in driven)
    ]
    return sorted(roots, key=lambda root: (-root.late_count, _largest_slip_first(root.gate)))


def _largest_slip_first(status: MilestoneStatus) -> tuple[int, MilestoneSortKey]:
    return -(status.slip_days or 0), milestone_sort_key(status)


def _find_root(by_ref: Mapping[MilestoneRef, MilestoneStatus], start: MilestoneRef) -> MilestoneRef:
    """Follow the drivers; a network has no cycles, but rows may have been changed by hand."""
    visited = set()
    while (status := by_ref.get(start)) is not None and status.driver is not None and start not in visited:
        visited.add(start)
        start = status.driver
    return start


class Successor(NamedTuple):
    """An open milestone that waits for a gate, directly or through others."""

    status: MilestoneStatus
    #: Its own predecessor on the path from the gate with the least slack, and the lag after that.
    predecessor: MilestoneRef
    lag_days: int
    #: By how many days the gate may come later before this milestone moves; None when it never would.
    slack_days: int | None


def successors_of(schedule: Schedule, key: MilestoneKey) -> Sequence[Successor]:
    """Return the milestones that wait for a gate, those with the least slack first, then the largest slip."""
    network, statuses, cancelled = schedule.network, schedule.statuses, schedule.inputs.cancelled
    gate = network.index_of[key]
    if cancelled[gate]:
        return []
    slack = {gate: 0 if statuses[gate].is_open and statuses[gate].forecast is not None else _UNLIMITED_SLACK}
    successors = []
    for index in network.topological_order:
        status = statuses[index]
        paths = [
            (_path_slack(statuses[predecessor], status, lag_days, slack[predecessor]), predecessor, lag_days)
            for predecessor, lag_days in network.predecessors[index]
            if predecessor in slack
        ]
        if not paths or cancelled[index]:
            continue
        least, predecessor, lag_days = min(paths)
        # An achieved milestone does not move, and delays nothing behind it.
        slack[index] = least if status.is_open else _UNLIMITED_SLACK
        if status.is_open:
            slack_days = None if least >= _UNLIMITED_SLACK else least
            successors.append(Successor(status, statuses[predecessor].ref, lag_days, slack_days))
    return sorted(successors, key=lambda row: (row.slack_days is None, row.slack_days, _largest_slip_first(row.status)))


def _path_slack(predecessor: MilestoneStatus, successor: MilestoneStatus, lag_days: int, predecessor_slack: int) -> int:
    if predecessor.forecast is None or successor.forecast is None or predecessor_slack >= _UNLIMITED_SLACK:
        return _UNLIMITED_SLACK
    return predecessor_slack + (successor.forecast - predecessor.forecast).days - lag_days
