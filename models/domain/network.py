"""Which milestone waits for which: the dependencies that hold, in an order in which all can be scheduled.

Contract, section 2: dependencies are taken in the order of their stamps, and one that would close a cycle is set
aside. Most networks have no cycle, and one walk finds that out (Kahn, 1962). Only what such a walk cannot order is
built up one dependency at a time, with an order that is mended as it grows (Pearce and Kelly, "A dynamic topological
sort algorithm for directed acyclic graphs", 2007): a dependency that cannot be mended in closes a cycle.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from models.domain.claims import DependencyKey, Facts, MilestoneKey
from models.domain.timestamps import Stamp

#: One end of a dependency, seen from the other: its place in `Network.milestones`, and the lag in days. (Plain tuples,
#: here and below: there are tens of thousands, and a named one takes six times as long to make.)
PredecessorLink = tuple[int, int]
#: Stamp, the place that waits, the place of its gate, and which dependency it is.
_StampedEdge = tuple[Stamp, int, int, DependencyKey]


class Network(NamedTuple):
    """The milestones that exist and the dependencies that count; places are indexes of `milestones`."""

    #: Sorted by programme, project, milestone.
    milestones: Sequence[MilestoneKey]
    index_of: Mapping[tuple[str, ...], int]
    #: Of each place: what it waits for. Who waits for it is not kept: a walk against the order meets them first.
    predecessors: Sequence[Sequence[PredecessorLink]]
    #: The places, each behind all that it waits for.
    topological_order: Sequence[int]
    #: Dependencies that hold and would close a cycle, in the order of their stamps.
    cyclic: Sequence[DependencyKey]
    #: What it was made of.
    facts: Facts

    def is_reusable_for(self, facts: Facts) -> bool:
        """Return whether these facts have the same network, as far as that can be told without making it.

        Whoever changes facts by a few claims keeps the very same dictionary of dependencies where none of them changed.
        """
        return self.facts.dependencies is facts.dependencies and self.facts.milestones.keys() == facts.milestones.keys()


def build_network(facts: Facts) -> Network:
    """Return the network of what was said, of one programme or of many."""
    try:
        return _build_network(facts, sorted(facts.milestones))
    except KeyError:
        # A dependency names one of which nothing else was said.
        return _build_network(facts, sorted(facts.existing_milestones()))


def _build_network(facts: Facts, milestones: Sequence[MilestoneKey]) -> Network:
    """Return the network of these milestones; raises `KeyError` when a dependency names another."""
    places: dict[tuple[str, ...], int] = dict(zip(milestones, count()))
    before = _build_predecessors(facts, places, ())
    order = _sort_topologically(before)
    set_aside: list[DependencyKey] = []
    if len(order) < len(places):
        set_aside = _find_cyclic(facts, places, set(range(len(places))).difference(order))
        before = _build_predecessors(facts, places, set(set_aside))
        order = _sort_topologically(before)
    return Network(milestones, places, before, order, set_aside, facts)


def _build_predecessors(
    facts: Facts, index_of: Mapping[tuple[str, ...], int], excluded: Collection[DependencyKey]
) -> list[list[PredecessorLink]]:
    """Return of every place what it waits for."""
    before: list[list[PredecessorLink]] = [[] for _ in range(len(index_of))]
    for key, dependency in facts.dependencies.items():
        programme, project, milestone, gate_project, gate = key
        waiting, its = index_of[programme, project, milestone], index_of[programme, gate_project, gate]
        if (lag_days := dependency.lag_days) is not None and key not in excluded:
            before[waiting].append((its, lag_days))
    return before


def _sort_topologically(predecessors: Sequence[Sequence[PredecessorLink]]) -> list[int]:
    """Return the places, each behind all that it waits for, as far as they can be ordered."""
    left = [0] * len(predecessors)
    for links in predecessors:
        for gate, _ in links:
            left[gate] += 1
    order: list[int] = []
    # From the end: first those that nobody waits for. The one that was freed last comes next, and so those that belong
    # together lie together in memory.
    free = [place for place, waiting in enumerate(left) if not waiting]
    while free:
        place = free.pop()
        order.append(place)
        for gate, _ in predecessors[place]:
            left[gate] -= 1
            if not left[gate]:
                free.append(gate)
    order.reverse()
    return order


def _find_cyclic(
    facts: Facts, index_of: Mapping[tuple[str, ...], int], unordered: Container[int]
) -> list[DependencyKey]:
    """Return the dependencies among some places that close a cycle, in the order of their stamps."""
    edges = []
    for key, dependency in facts.dependencies.items():
        waiting, gate = index_of[key[:3]], index_of[key.programme, key.after_project, key.after_milestone]
        if dependency.declared and dependency.is_in_force and waiting in unordered and gate in unordered:
            edges.append((dependency.declared.stamp, waiting, gate, key))
    return [key for *_, key in _cycle_closing_edges(sorted(edges))]


def _cycle_closing_edges(edges: Sequence[_StampedEdge]) -> list[_StampedEdge]:
    """Return the edges that close a cycle with those that were taken before them."""
    rank = {place: number for number, place in enumerate(_approximate_order(edges))}
    before: dict[int, list[int]] = {place: [] for place in rank}
    after: dict[int, list[int]] = {place: [] for place in rank}
    closing = []
    for edge in edges:
        _, waiting, gate, _ = edge
        low, high = rank[waiting], rank[gate]
        if low <= high:
            later = _reachable_within_ranks(waiting, after, rank, low, high)
            if gate in later:
                closing.append(edge)
                continue
            earlier = _reachable_within_ranks(gate, before, rank, low, high)
            # The gate and what it waits for move ahead of what waits, all within the ranks they had.
            moved = sorted(earlier, key=rank.__getitem__) + sorted(later, key=rank.__getitem__)
            rank.update(zip(moved, sorted(map(rank.__getitem__, moved)), strict=True))
        before[waiting].append(gate)
        after[gate].append(waiting)
    return closing


def _approximate_order(edges: Sequence[_StampedEdge]) -> list[int]:
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


def reachable(start: int, predecessors: Sequence[Sequence[PredecessorLink]], excluded: Sequence[bool]) -> set[int]:
    """Return the places that links lead to from a place, itself left out; to no closed one, and through none."""
    reached: set[int] = set()
    open_ = [] if excluded[start] else [start]
    while open_:
        for place, _ in predecessors[open_.pop()]:
            if place not in reached and not excluded[place]:
                reached.add(place)
                open_.append(place)
    return reached


def _reachable_within_ranks(
    start: int, links: Mapping[int, Sequence[int]], rank: Mapping[int, int], low: int, high: int
) -> set[int]:
    """Return the places that links lead to from a start, itself included, within a range of ranks."""
    reached, open_ = {start}, [start]
    while open_:
        for place in links[open_.pop()]:
            if place not in reached and low <= rank[place] <= high:
                reached.add(place)
                open_.append(place)
    return reached
