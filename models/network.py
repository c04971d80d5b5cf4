"""Which milestone waits for which: the dependencies that hold, in an order in which all can be scheduled.

Contract, section 2: dependencies are taken in the order of their stamps, and one that would close a cycle is set
aside. Most networks have no cycle, and one walk finds that out (Kahn, 1962). Only what such a walk cannot order is
built up one dependency at a time, with an order that is mended as it grows (Pearce and Kelly, "A dynamic topological
sort algorithm for directed acyclic graphs", 2007): a dependency that cannot be mended in closes a cycle.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import NamedTuple

from models.instants import Stamp
from models.milestones import DependencyKey, Facts, MilestoneKey

#: One end of a dependency, seen from the other: its place in `Network.milestones`, and the lag in days. (Plain tuples,
#: here and below: there are tens of thousands, and a named one takes six times as long to make.)
Link = tuple[int, int]
#: Stamp, the place that waits, the place of its gate, lag in days, and which dependency it is.
_Edge = tuple[Stamp, int, int, int, DependencyKey]


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
    named = [(key[:3], (key[0], key[3], key[4])) for key in facts.dependencies]
    only_named = {end for end in chain.from_iterable(named) if end not in facts.milestones}
    # No name holds a NUL, so joined by one they sort as the keys do, in a third of the time.
    milestones = sorted([*facts.milestones, *map(MilestoneKey._make, only_named)], key="\0".join)
    places: dict[tuple[str, ...], int] = dict(zip(milestones, count()))
    edges: list[_Edge] = [
        (declared.stamp, places[waiting], places[gate], declared.value, key)
        for (key, dependency), (waiting, gate) in zip(facts.dependencies.items(), named, strict=True)
        if (declared := dependency.declared) is not None and dependency.holds
    ]
    before, after, order = _walk(len(milestones), edges)
    closing: list[_Edge] = []
    if len(order) < len(milestones):
        tangled = set(range(len(milestones))).difference(order)
        closing = _closing(sorted(edge for edge in edges if edge[1] in tangled and edge[2] in tangled))
        left_out = {key for *_, key in closing}
        before, after, order = _walk(len(milestones), [edge for edge in edges if edge[4] not in left_out])
    return Network(milestones, places, before, after, order, [key for *_, key in closing], facts)


def _walk(count: int, edges: Sequence[_Edge]) -> tuple[list[list[Link]], list[list[Link]], list[int]]:
    """Return the links of every place, and the places in order as far as they can be ordered."""
    before: list[list[Link]] = [[] for _ in range(count)]
    after: list[list[Link]] = [[] for _ in range(count)]
    for _, waiting, gate, lag_days, _ in edges:
        before[waiting].append((gate, lag_days))
        after[gate].append((waiting, lag_days))
    left = [len(links) for links in before]
    order = [place for place in range(count) if not left[place]]
    for gate in order:  # grows as it goes
        for waiting, _ in after[gate]:
            left[waiting] -= 1
            if not left[waiting]:
                order.append(waiting)
    return before, after, order


def _closing(edges: Sequence[_Edge]) -> list[_Edge]:
    """Return the edges that close a cycle with those that were taken before them."""
    rank = {place: number for number, place in enumerate(_nearly_ordered(edges))}
    before: dict[int, list[int]] = {place: [] for place in rank}
    after: dict[int, list[int]] = {place: [] for place in rank}
    closing = []
    for edge in edges:
        _, waiting, gate, _, _ = edge
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
    for _, waiting, gate, _, _ in edges:
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
