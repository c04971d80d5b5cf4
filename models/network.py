"""Which milestone waits for which: the dependencies that hold, in an order in which all can be scheduled.

Contract, section 2: dependencies are taken in the order of their stamps, and one that would close a cycle is set
aside. Most networks have no cycle, and one walk finds that out (Kahn, 1962). Only what such a walk cannot order is
built up one dependency at a time, with an order that is mended as it grows (Pearce and Kelly, "A dynamic topological
sort algorithm for directed acyclic graphs", 2007): a dependency that cannot be mended in closes a cycle.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count, repeat
from operator import itemgetter
from typing import Final, NamedTuple

from models.instants import Stamp
from models.milestones import DependencyKey, Facts, MilestoneKey

#: One end of a dependency, seen from the other: its place in `Network.milestones`, and the lag in days. (Plain tuples,
#: here and below: there are tens of thousands, and a named one takes six times as long to make.)
Link = tuple[int, int]
#: Stamp, the place that waits, the place of its gate, and which of the dependencies it is.
_Edge = tuple[Stamp, int, int, int]
#: Of a dependency's key, those of its two ends.
_WAITING: Final = itemgetter(0, 1, 2)
_GATE: Final = itemgetter(0, 3, 4)
_NOWHERE: Final = -1


class Network(NamedTuple):
    """The milestones that exist and the dependencies that count; places are indexes of `milestones`."""

    #: Sorted by programme, project, milestone.
    milestones: Sequence[MilestoneKey]
    places: Mapping[tuple[str, ...], int]
    #: Of each place: what it waits for.
    before: Sequence[Sequence[Link]]
    #: Of each place: what waits for it.
    after: Sequence[Sequence[Link]]
    #: The places, each behind all that it waits for.
    order: Sequence[int]
    #: Dependencies that hold and would close a cycle, in the order of their stamps.
    set_aside: Sequence[DependencyKey]
    #: What it was made of.
    of: Facts

    def fits(self, facts: Facts) -> bool:
        """Return whether these facts have the same network, as far as that can be told without making it.

        Whoever changes facts by a few claims keeps the very same dictionary of dependencies where none of them changed.
        """
        return self.of.dependencies is facts.dependencies and self.of.milestones.keys() == facts.milestones.keys()


def network(facts: Facts) -> Network:
    """Return the network of what was said, of one programme or of many."""
    # A column at a time, which mostly stays in C: there are tens of thousands of dependencies.
    lags = [dependency.lag_days for dependency in facts.dependencies.values()]
    milestones = sorted(facts.milestones)
    places: dict[tuple[str, ...], int] = dict(zip(milestones, count()))
    waiting, gates = _ends(facts, places)
    if _NOWHERE in waiting or _NOWHERE in gates:
        milestones = sorted(facts.existing_milestones())
        places = dict(zip(milestones, count()))
        waiting, gates = _ends(facts, places)
    before, after, order = _walk(len(places), zip(waiting, gates, lags, strict=True))
    set_aside: list[DependencyKey] = []
    if len(order) < len(places):
        tangled = set(range(len(places))).difference(order)
        edges = [
            (dependency.declared.stamp, at, gate, number)
            for number, (dependency, at, gate) in enumerate(
                zip(facts.dependencies.values(), waiting, gates, strict=True)
            )
            if dependency.declared and dependency.holds and at in tangled and gate in tangled
        ]
        keys = list(facts.dependencies)
        for *_, number in _closing(sorted(edges)):
            lags[number] = None
            set_aside.append(keys[number])
        before, after, order = _walk(len(places), zip(waiting, gates, lags, strict=True))
    return Network(milestones, places, before, after, order, set_aside, facts)


def _ends(facts: Facts, places: Mapping[tuple[str, ...], int]) -> tuple[list[int], list[int]]:
    waiting, gates = (map(end, facts.dependencies) for end in (_WAITING, _GATE))
    return list(map(places.get, waiting, repeat(_NOWHERE))), list(map(places.get, gates, repeat(_NOWHERE)))


def _walk(
    count: int, edges: Iterable[tuple[int, int, int | None]]
) -> tuple[list[list[Link]], list[list[Link]], list[int]]:
    """Return the links of every place, and the places in order as far as they can be ordered.

    Of an edge: the place that waits, that of its gate, the lag in days; one without a lag does not count.
    """
    before: list[list[Link]] = [[] for _ in range(count)]
    after: list[list[Link]] = [[] for _ in range(count)]
    for waiting, gate, lag_days in edges:
        if lag_days is not None:
            before[waiting].append((gate, lag_days))
            after[gate].append((waiting, lag_days))
    left = list(map(len, before))
    order: list[int] = []
    # The one that was freed last comes next: what waits for it lies near it in memory.
    free = [place for place in range(count - 1, -1, -1) if not left[place]]
    while free:
        gate = free.pop()
        order.append(gate)
        for waiting, _ in reversed(after[gate]):
            left[waiting] -= 1
            if not left[waiting]:
                free.append(waiting)
    return before, after, order


def _closing(edges: Sequence[_Edge]) -> list[_Edge]:
    """Return the edges that close a cycle with those that were taken before them."""
    rank = {place: number for number, place in enumerate(_nearly_ordered(edges))}
    before: dict[int, list[int]] = {place: [] for place in rank}
    after: dict[int, list[int]] = {place: [] for place in rank}
    closing = []
    for edge in edges:
        _, waiting, gate, _ = edge
        low, high = rank[waiting], rank[gate]
        if low <= high:
            later = _reached(waiting, after, rank, low, high)
            if gate in later:
                closing.append(edge)
                continue
            earlier = _reached(gate, before, rank, low, high)
            # The gate and what it waits for move ahead of what waits, all within the ranks they had.
            moved = sorted(earlier, key=rank.__getitem__) + sorted(later, key=rank.__getitem__)
            rank.update(zip(moved, sorted(map(rank.__getitem__, moved)), strict=True))
        before[waiting].append(gate)
        after[gate].append(waiting)
    return closing


def _nearly_ordered(edges: Sequence[_Edge]) -> list[int]:
    """Return the places in an order against which few edges go: the less there is to mend."""
    gates: dict[int, list[int]] = {place: [] for edge in edges for place in edge[1:3]}
    for _, waiting, gate, _ in edges:
        gates[waiting].append(gate)
    ordered, seen = [], set()
    for start, its in gates.items():
        open_ = [] if start in seen else [(start, iter(its))]
        seen.add(start)
        while open_:
            place, left = open_[-1]
            unseen = next((gate for gate in left if gate not in seen), None)
            if unseen is None:
                ordered.append(place)
                open_.pop()
            else:
                seen.add(unseen)
                open_.append((unseen, iter(gates[unseen])))
    return ordered


def leading_on(start: int, links: Sequence[Sequence[Link]], closed: Sequence[bool]) -> set[int]:
    """Return the places that links lead to from a place, itself left out; to no closed one, and through none."""
    reached: set[int] = set()
    open_ = [] if closed[start] else [start]
    while open_:
        for place, _ in links[open_.pop()]:
            if place not in reached and not closed[place]:
                reached.add(place)
                open_.append(place)
    return reached


def _reached(start: int, links: Mapping[int, Sequence[int]], rank: Mapping[int, int], low: int, high: int) -> set[int]:
    """Return the places that links lead to from a start, itself included, within a range of ranks."""
    reached, open_ = {start}, [start]
    while open_:
        for place in links[open_.pop()]:
            if place not in reached and low <= rank[place] <= high:
                reached.add(place)
                open_.append(place)
    return reached
