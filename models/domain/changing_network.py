"""The dependencies that count, while dependencies are declared and withdrawn one after another.

Contract, section 2: dependencies in force are taken in the order of their stamps, and one that would close a cycle is
set aside. A newer dependency is decided without the others. A dependency that ends, is declared again or comes back can
change only the decisions on the cycles through it: those are decided again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from models.domain.timestamps import Stamp
from models.domain.topological_order import Edge, TopologicalOrder, approximate_order, reachable


class Link(NamedTuple):
    """A dependency in force."""

    stamp: Stamp
    lag_days: int


class ChangingNetwork:
    """The predecessors of each node, with their lags, after each update."""

    def __init__(self, node_count: int, edges: Collection[Edge]) -> None:
        """Begin without dependencies; `edges` are all that will ever be in force."""
        # An order that suits all of them leaves nothing to repair, unless they have cycles.
        connected = approximate_order(edges)
        self._order = TopologicalOrder([*connected, *sorted(set(range(node_count)).difference(connected))])
        #: Of the dependencies that count.
        self.predecessors: list[dict[int, int]] = [{} for _ in range(node_count)]
        self._links: dict[Edge, Link] = {}
        self._set_aside: set[Edge] = set()
        # Of all in force, those set aside included.
        self._successors: list[set[int]] = [set() for _ in range(node_count)]
        self._predecessors: list[set[int]] = [set() for _ in range(node_count)]
        self._newest_stamp = Stamp("")

    def rank(self, node: int) -> int:
        """Return a node's place in an order in which predecessors come before successors."""
        return self._order.rank[node]

    def successors(self, node: int) -> Collection[int]:
        """Return the nodes that wait for a node."""
        return self._order.successors[node]

    def update(self, changes: Mapping[Edge, Link | None]) -> dict[int, dict[int, int]]:
        """Set dependencies, or end them with None; return the former predecessors of each node that has others now."""
        former: dict[int, dict[int, int]] = {}
        changed = {edge: link for edge, link in changes.items() if self._links.get(edge) != link}
        if not changed:
            return former
        is_newer = all(
            link is not None and edge not in self._links and link.stamp > self._newest_stamp
            for edge, link in changed.items()
        )
        self._newest_stamp = max(self._newest_stamp, *(link.stamp for link in changed.values() if link), Stamp(""))
        # The cycles through an edge that ends are found while the edge is there, those through a new edge after it is.
        for edge in changed:
            self._connect(edge)
        undecided = self._edges_on_cycles(changed) if self._set_aside and not is_newer else set()
        for edge, link in changed.items():
            if link is None:
                self._links.pop(edge, None)
                self._disconnect(edge)
                self._exclude(edge, former)
                self._set_aside.discard(edge)
            else:
                is_known = edge in self._links
                self._links[edge] = link
                if not is_known:
                    undecided.add(edge)
                elif edge not in self._set_aside:
                    self._include(edge, former)
        closing = self._decide(undecided & self._links.keys(), former)
        if closing and not is_newer:
            # An older dependency that comes back may displace newer ones.
            self._decide(self._edges_on_cycles(closing), former)
        return {node: before for node, before in former.items() if before != self.predecessors[node]}

    def _decide(self, edges: Iterable[Edge], former: dict[int, dict[int, int]]) -> list[Edge]:
        """Decide in the order of the stamps which of some dependencies count; return the others."""
        edges = sorted(edges, key=self._links.__getitem__)
        for edge in edges:
            self._exclude(edge, former)
            self._set_aside.discard(edge)
        closing = []
        for edge in edges:
            if self._order.add(edge):
                self._include(edge, former)
            else:
                self._set_aside.add(edge)
                closing.append(edge)
        return closing

    def _edges_on_cycles(self, edges: Iterable[Edge]) -> set[Edge]:
        """Return the dependencies in force, or about to end, that lie on a cycle with one of the given ones."""
        found: set[Edge] = set()
        for edge in edges:
            successor, predecessor = edge
            if edge in found:
                continue
            downstream: set[int] = reachable(successor, lambda node: self._successors[node])
            if predecessor not in downstream:
                continue
            upstream: set[int] = reachable(predecessor, lambda node: self._predecessors[node])
            cycle = downstream & upstream
            found.update((node, before) for node in cycle for before in self._predecessors[node] if before in cycle)
        return found

    def _include(self, edge: Edge, former: dict[int, dict[int, int]]) -> None:
        successor, predecessor = edge
        former.setdefault(successor, self.predecessors[successor].copy())
        self.predecessors[successor][predecessor] = self._links[edge].lag_days

    def _exclude(self, edge: Edge, former: dict[int, dict[int, int]]) -> None:
        successor, predecessor = edge
        self._order.remove(edge)
        if predecessor in self.predecessors[successor]:
            former.setdefault(successor, self.predecessors[successor].copy())
            del self.predecessors[successor][predecessor]

    def _connect(self, edge: Edge) -> None:
        successor, predecessor = edge
        self._successors[predecessor].add(successor)
        self._predecessors[successor].add(predecessor)

    def _disconnect(self, edge: Edge) -> None:
        successor, predecessor = edge
        self._successors[predecessor].discard(successor)
        self._predecessors[successor].discard(predecessor)
