"""The dependency network: which milestone waits for which, in topological order and without cycles.

Contract, section 2: dependencies are added in the order of their stamps, and one that would close a cycle is set
aside. Most networks have no cycle, and one pass shows that (Kahn, 1962). Only the part that such a pass cannot order is
built up one dependency at a time, with an order that is repaired as it grows (`models.domain.topological_order`).
"""

from collections.abc import Collection, Container, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

from models.domain.claims import DependencyKey, Facts, MilestoneKey
from models.domain.topological_order import TopologicalOrder, approximate_order

#: The index of a predecessor in `Network.milestones`, and the lag in days. (Plain tuples, here and below: there are
#: tens of thousands, and a named tuple takes six times as long to make.)
PredecessorLink = tuple[int, int]
_Predecessors = Sequence[Sequence[PredecessorLink]]
_Indexes = Mapping[tuple[str, ...], int]
#: Never changed.
_NO_LINKS: Final[list[PredecessorLink]] = []


class Network(NamedTuple):
    """The milestones that exist and the dependencies that count, by index into `milestones`."""

    milestones: Sequence[MilestoneKey]  # sorted by programme, project, milestone
    index_of: _Indexes
    #: The predecessors of each milestone. Successors are not stored: a walk against the order meets them first.
    predecessors: Sequence[Sequence[PredecessorLink]]
    topological_order: Sequence[int]  # all indexes, predecessors before successors
    cyclic: Sequence[DependencyKey]  # the dependencies in force that would close a cycle, in the order of their stamps
    facts: Facts  # that the network was built from

    def is_reusable_for(self, facts: Facts) -> bool:
        """Return whether these facts are known to have the same network, without building it."""
        # `Facts.merged_with` keeps the same dictionary of dependencies when none of them changes.
        return self.facts.dependencies is facts.dependencies and self.facts.milestones.keys() == facts.milestones.keys()


def build_network(facts: Facts) -> Network:
    """Return the network of one programme or of many."""
    try:
        return _build_network(facts, sorted(facts.milestones))
    except KeyError:
        # Some milestone is named by dependencies alone.
        return _build_network(facts, sorted(facts.existing_milestones()))


def _build_network(facts: Facts, milestones: Sequence[MilestoneKey]) -> Network:
    """Return the network of these milestones; raises `KeyError` when a dependency names another."""
    index_of: _Indexes = dict(zip(milestones, count()))
    predecessors, successor_counts = _build_predecessors(facts, milestones, ())
    order = _sort_topologically(predecessors, successor_counts)
    cyclic: list[DependencyKey] = []
    if len(order) < len(index_of):
        cyclic = _find_cyclic(facts, index_of, set(range(len(index_of))).difference(order))
        predecessors, successor_counts = _build_predecessors(facts, milestones, set(cyclic))
        order = _sort_topologically(predecessors, successor_counts)
    return Network(milestones, index_of, predecessors, order, cyclic, facts)


def _build_predecessors(
    facts: Facts, milestones: Sequence[MilestoneKey], excluded: Collection[DependencyKey]
) -> tuple[_Predecessors, list[int]]:
    """Return the predecessors of each milestone, and how many successors it has."""
    # A look-up by project and then by milestone neither builds a tuple nor hashes one.
    indexes: dict[str, dict[str, dict[str, int]]] = {}
    for index, (programme, project, milestone) in enumerate(milestones):
        indexes.setdefault(programme, {}).setdefault(project, {})[milestone] = index
    # Most milestones of many programmes wait for nothing: one object for all of them.
    predecessors = [_NO_LINKS] * len(milestones)
    successor_counts = [0] * len(milestones)
    for key, claims in facts.dependencies.items():
        programme, project, milestone, after_project, after_milestone = key
        of_programme = indexes[programme]
        successor = of_programme[project][milestone]
        predecessor = of_programme[after_project][after_milestone]
        # As `lag_days` of the claims says, without two calls for each.
        declared, withdrawn = claims.declared, claims.withdrawn
        if declared is None or (withdrawn is not None and declared.stamp <= withdrawn):
            continue
        if excluded and key in excluded:
            continue
        if links := predecessors[successor]:
            links.append((predecessor, declared.value))
        else:
            predecessors[successor] = [(predecessor, declared.value)]
        successor_counts[predecessor] += 1
    return predecessors, successor_counts


def _sort_topologically(predecessors: _Predecessors, successor_counts: list[int]) -> list[int]:
    """Return the indexes, predecessors before successors, without those that are on a cycle or before one."""
    order: list[int] = []
    # From the end: first the milestones without successors. The one that became free last comes next, so that connected
    # milestones lie together in memory.
    free = [index for index, successors in enumerate(successor_counts) if not successors]
    while free:
        index = free.pop()
        order.append(index)
        for predecessor, _ in predecessors[index]:
            if left := successor_counts[predecessor] - 1:
                successor_counts[predecessor] = left
            else:
                free.append(predecessor)
    order.reverse()
    return order


def _find_cyclic(facts: Facts, index_of: _Indexes, unordered: Container[int]) -> list[DependencyKey]:
    """Return the dependencies among unordered milestones that close a cycle, in the order of their stamps."""
    edges = []
    for key, dependency in facts.dependencies.items():
        successor, predecessor = index_of[key.successor], index_of[key.predecessor]
        if dependency.declared and dependency.is_in_force and successor in unordered and predecessor in unordered:
            edges.append((dependency.declared.stamp, successor, predecessor, key))
    edges.sort()
    order = TopologicalOrder(approximate_order([(successor, predecessor) for _, successor, predecessor, _ in edges]))
    return [key for _, successor, predecessor, key in edges if not order.add((successor, predecessor))]
