"""A topological order that is repaired as edges are added.

Pearce and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs", 2007: an edge for which no repair
exists closes a cycle.

Nodes are numbers. An edge is a pair: the successor, and the predecessor that it waits for.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

T = TypeVar("T")

#: Successor and predecessor.
Edge = tuple[int, int]


class TopologicalOrder:
    """A graph without cycles, and a rank for each node: predecessors have lower ranks than successors."""

    def __init__(self, nodes: Iterable[int]) -> None:
        """Begin with nodes and no edge. The closer their order is to the final one, the less there is to repair."""
        self.rank = {node: number for number, node in enumerate(nodes)}
        self.predecessors: dict[int, set[int]] = {node: set() for node in self.rank}
        self.successors: dict[int, set[int]] = {node: set() for node in self.rank}

    def add(self, edge: Edge) -> bool:
        """Add an edge and repair the order; return False, and change nothing, if the edge would close a cycle."""
        successor, predecessor = edge
        rank = self.rank
        ranks = range(rank[successor], rank[predecessor] + 1)
        if ranks:
            later = self._reachable_within(ranks, successor, self.successors)
            if predecessor in later:
                return False
            # The predecessor and what it waits for move ahead of the successor, all within the ranks they had.
            earlier = self._reachable_within(ranks, predecessor, self.predecessors)
            moved = sorted(earlier, key=rank.__getitem__) + sorted(later, key=rank.__getitem__)
            rank.update(zip(moved, sorted(map(rank.__getitem__, moved)), strict=True))
        self.predecessors[successor].add(predecessor)
        self.successors[predecessor].add(successor)
        return True

    def remove(self, edge: Edge) -> None:
        """Remove an edge, if the graph has it. The order stays."""
        successor, predecessor = edge
        self.predecessors[successor].discard(predecessor)
        self.successors[predecessor].discard(successor)

    def _reachable_within(self, ranks: range, start: int, neighbours: dict[int, set[int]]) -> set[int]:
        rank = self.rank
        return reachable(start, lambda node: [other for other in neighbours[node] if rank[other] in ranks])


def approximate_order(edges: Collection[Edge]) -> list[int]:
    """Return the nodes of a graph, which may have cycles, in an order that few edges contradict: depth first."""
    predecessors: dict[int, list[int]] = {node: [] for edge in edges for node in edge}
    for successor, predecessor in edges:
        predecessors[successor].append(predecessor)
    order, visited = [], set()
    for start, start_predecessors in predecessors.items():
        path = [] if start in visited else [(start, iter(start_predecessors))]
        visited.add(start)
        while path:
            node, remaining = path[-1]
            unvisited = next((predecessor for predecessor in remaining if predecessor not in visited), None)
            if unvisited is None:
                order.append(node)
                path.pop()
            else:
                visited.add(unvisited)
                path.append((unvisited, iter(predecessors[unvisited])))
    return order


def reachable(start: T, neighbours: Callable[[T], Iterable[T]]) -> set[T]:
    """Return the nodes of a graph that can be reached from a start, itself included."""
    reached, pending = {start}, [start]
    while pending:
        for node in neighbours(pending.pop()):
            if node not in reached:
                reached.add(node)
                pending.append(node)
    return reached
