"""What a gate means for others: what it holds up, the roots of delays, and successors with their slack.

A gate moves the milestones on whose chain of drivers it is, and whose forecast lies after their baseline; what stands
behind their projects is held up (contract, section 2.1). A gate that comes on time holds up nothing.

Driver links form a forest, so one pass from its leaves to its roots measures all gates. The gate farthest up a chain
that does not come on time is a delay root: one late gate to look at instead of all that it moves.

A gate that comes later moves a successor only once the slack on the way is used up. The slack of a path is the sum over
its links of the days by which the successor comes later than the link requires; of several paths the least counts.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Final, NamedTuple

from msgspec import Struct

from models.domain.claims import MilestoneKey, ProjectClaims, ProjectKey
from models.domain.row_order import MilestoneSortKey, milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State

_UNLIMITED_SLACK: Final = 1 << 60
#: More currencies than ISO 4217 has; a programme that names more must not make every sum of it long.
MAX_CURRENCIES: Final = 200
#: Adds any two amounts exactly: the digits between the largest and the smallest floating-point number.
_EXACT: Final = Context(prec=700)


class HeldUp(Struct, frozen=True):
    """What stands behind the projects of the milestones that a gate moves, its own project left out."""

    projects: int
    #: Exact, by currency.
    investment: Mapping[str, Decimal]
    jobs: int


class Impact(NamedTuple):
    """What a gate holds up."""

    #: How many milestones it moves.
    moved: int
    held_up: HeldUp


NOTHING_HELD_UP: Final = HeldUp(0, {}, 0)
NO_IMPACT: Final = Impact(0, NOTHING_HELD_UP)


def is_moved(status: MilestoneStatus) -> bool:
    """Return whether the gates on a milestone's chain of drivers move it: it is open, and comes after its baseline."""
    return status.driver is not None and status.is_open and status.slip_days is not None and status.slip_days > 0


def is_on_time(status: MilestoneStatus) -> bool:
    """Return whether a gate comes no later than its baseline; without one, it is never on time."""
    return status.slip_days is not None and status.slip_days <= 0


class _Stake(NamedTuple):
    # Of a project.
    jobs: int
    currency: str | None
    amount: Decimal


@dataclass(slots=True)
class _Totals:
    """What is known of the moved milestones below a gate; every project counts once."""

    stakes: Mapping[tuple[str, str], _Stake]
    moved: int = 0
    projects: set[tuple[str, str]] = field(default_factory=set)
    jobs: int = 0
    #: For each currency, the number of projects and the sum.
    investment: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    #: Shared by all gates with the same projects.
    _held_up: HeldUp | None = None

    def add_projects(self, projects: Collection[tuple[str, str]]) -> None:
        for project in projects:
            if project in self.projects:
                continue
            self._held_up = None
            self.projects.add(project)
            if (stake := self.stakes.get(project)) is None:
                continue
            self.jobs += stake.jobs
            if stake.currency is not None:
                number, amount = self.investment.get(stake.currency, (0, Decimal()))
                self.investment[stake.currency] = number + 1, _EXACT.add(amount, stake.amount)

    def merged_with(self, other: "_Totals") -> "_Totals":
        """Return the totals of both; the smaller set is added to the larger, which keeps a long chain fast."""
        small, large = (self, other) if len(self.projects) < len(other.projects) else (other, self)
        large.moved += small.moved
        large.add_projects(small.projects)
        return large

    def held_up_without(self, project: tuple[str, str]) -> HeldUp:
        if project not in self.projects:
            if self._held_up is None:
                sums = {currency: amount for currency, (_, amount) in sorted(self.investment.items())}
                self._held_up = HeldUp(len(self.projects), sums, self.jobs)
            return self._held_up
        if len(self.projects) == 1:
            return NOTHING_HELD_UP
        own = self.stakes.get(project, _Stake(0, None, Decimal()))
        sums = {}
        for currency, (number, amount) in sorted(self.investment.items()):
            if currency != own.currency:
                sums[currency] = amount
            elif number > 1:
                sums[currency] = _EXACT.subtract(amount, own.amount)
        return HeldUp(len(self.projects) - 1, sums, self.jobs - own.jobs)


def measure_impacts(
    statuses: Sequence[MilestoneStatus], projects: Mapping[ProjectKey, ProjectClaims]
) -> dict[MilestoneKey, Impact]:
    """Return the impact of every gate that moves a milestone; all others have `NO_IMPACT`."""
    drivers = _driver_indexes(statuses)
    if not any(map(is_moved, statuses)):
        return {}
    stakes, totals = _collect_stakes(projects), dict[int, _Totals]()
    impacts = {}
    for index, driver in _leaves_first(drivers):
        status, below = statuses[index], totals.pop(index, None)
        if below is not None and not is_on_time(status):
            impacts[status.key] = Impact(below.moved, below.held_up_without(status[:2]))
        if driver is None:
            continue
        if is_moved(status):
            below = below or _Totals(stakes)
            below.moved += 1
            below.add_projects([status[:2]])
        if below is not None:
            totals[driver] = totals[driver].merged_with(below) if driver in totals else below
    return impacts


def milestones_moved_by(statuses: Sequence[MilestoneStatus], gate: MilestoneKey) -> list[MilestoneStatus]:
    """Return the milestones that a gate moves, the largest slip first."""
    below: set[int] = set()
    moved = []
    # Drivers before what they drive.
    for index, driver in reversed([*_leaves_first(_driver_indexes(statuses))]):
        status = statuses[index]
        if status[:3] == gate:
            if is_on_time(status):
                return []
            below.add(index)
        elif driver in below:
            below.add(index)
            if is_moved(status):
                moved.append(status)
    return sorted(moved, key=_largest_slip_first)


def _collect_stakes(projects: Mapping[ProjectKey, ProjectClaims]) -> dict[tuple[str, str], _Stake]:
    named = {claims.investment.value.currency for claims in projects.values() if claims.investment is not None}
    currencies = set(sorted(named)[:MAX_CURRENCIES])
    stakes: dict[tuple[str, str], _Stake] = {}
    for key, claims in projects.items():
        jobs = claims.jobs.value if claims.jobs is not None else 0
        money = claims.investment.value if claims.investment is not None else None
        if money is not None and money.currency in currencies:
            # The shortest decimal number that is read as this float: what was published.
            amount = Decimal(repr(float(money.amount)).removesuffix(".0"))
            stakes[key] = _Stake(jobs, money.currency, amount)
        elif jobs:
            stakes[key] = _Stake(jobs, None, Decimal())
    return stakes


def _driver_indexes(statuses: Sequence[MilestoneStatus]) -> list[int | None]:
    """Return the index of each milestone's driver; None without one, or where the statuses lack it."""
    index_of = {status[:3]: index for index, status in enumerate(statuses) if status.state is not State.CANCELLED}
    return [
        index_of.get((status.programme, *status.driver)) if status.driver is not None and status.is_open else None
        for status in statuses
    ]


def _leaves_first(drivers: Sequence[int | None]) -> Iterator[tuple[int, int | None]]:
    """Yield index and driver of each milestone that drives or is driven, after all that it drives.

    A network has no cycles, but rows may have been changed by hand: what is on a cycle is left out.
    """
    driven_counts = [0] * len(drivers)
    for driver in drivers:
        if driver is not None:
            driven_counts[driver] += 1
    free = [index for index, driver in enumerate(drivers) if driver is not None and not driven_counts[index]]
    while free:
        index = free.pop()
        driver = drivers[index]
        yield index, driver
        if driver is not None:
            driven_counts[driver] -= 1
            if not driven_counts[driver]:
                free.append(driver)


class DelayRoot(NamedTuple):
    """A gate that does not come on time, though what it waits for does, and every milestone that it moves."""

    gate: MilestoneStatus
    moved: Sequence[MilestoneStatus]  # the largest slip first
    held_up: HeldUp


def delay_roots(statuses: Sequence[MilestoneStatus], impacts: Mapping[MilestoneKey, Impact]) -> list[DelayRoot]:
    """Return the gates that hold others up, each moved milestone below one of them; those that move most come first."""
    drivers = _driver_indexes(statuses)
    roots: dict[int, int] = {}
    moved_by: dict[int, list[MilestoneStatus]] = {}
    # Drivers before what they drive.
    for index, driver in reversed([*_leaves_first(drivers)]):
        root = None if driver is None else roots.get(driver)
        if root is not None and is_moved(statuses[index]):
            moved_by.setdefault(root, []).append(statuses[index])
        if root is None and not is_on_time(statuses[index]):
            root = index
        if root is not None:
            roots[index] = root
    found = [
        DelayRoot(
            statuses[root],
            sorted(moved, key=_largest_slip_first),
            impacts.get(statuses[root].key, NO_IMPACT).held_up,
        )
        for root, moved in moved_by.items()
    ]
    return sorted(found, key=lambda root: (-len(root.moved), _largest_slip_first(root.gate)))


def _largest_slip_first(status: MilestoneStatus) -> tuple[int, MilestoneSortKey]:
    return -(status.slip_days or 0), milestone_sort_key(status)


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
        # Nothing waits through an achieved or cancelled milestone.
        if not paths or not status.is_open:
            continue
        least, predecessor, lag_days = min(paths)
        slack[index] = least
        slack_days = None if least >= _UNLIMITED_SLACK else least
        successors.append(Successor(status, statuses[predecessor].ref, lag_days, slack_days))
    return sorted(successors, key=lambda row: (row.slack_days is None, row.slack_days, _largest_slip_first(row.status)))


def _path_slack(predecessor: MilestoneStatus, successor: MilestoneStatus, lag_days: int, predecessor_slack: int) -> int:
    if predecessor.forecast is None or successor.forecast is None or predecessor_slack >= _UNLIMITED_SLACK:
        return _UNLIMITED_SLACK
    return predecessor_slack + (successor.forecast - predecessor.forecast).days - lag_days
