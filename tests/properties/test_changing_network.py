"""Laws of a network whose dependencies change: after every update it is what all dependencies in force give."""

from collections.abc import Mapping

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.changing_network import ChangingNetwork, Link
from models.domain.timestamps import Stamp
from models.domain.topological_order import Edge

NODES = 5
EDGES: list[Edge] = [(successor, predecessor) for successor in range(NODES) for predecessor in range(NODES)]

#: What changes at once: of some edges, when they were declared and with which lag; None ends one.
changes = st.dictionaries(
    st.sampled_from(EDGES), st.none() | st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=3
)


def links_of(chosen: Mapping[Edge, tuple[int, int] | None]) -> dict[Edge, Link | None]:
    # No two declarations have the same stamp.
    return {
        edge: None if said is None else Link(Stamp(f"{said[0]:02}\t{edge}"), said[1]) for edge, said in chosen.items()
    }


def expected_predecessors(in_force: Mapping[Edge, Link]) -> list[dict[int, int]]:
    """Take all in the order of their stamps, and leave out what would close a cycle."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(NODES))
    predecessors: list[dict[int, int]] = [{} for _ in range(NODES)]
    for (successor, predecessor), link in sorted(in_force.items(), key=lambda item: item[1]):
        if not nx.has_path(graph, successor, predecessor):
            graph.add_edge(predecessor, successor)
            predecessors[successor][predecessor] = link.lag_days
    return predecessors


@settings(max_examples=500)
@given(st.lists(changes, max_size=25))
def test_after_every_update_the_oldest_that_close_no_cycle_count(
    updates: list[dict[Edge, tuple[int, int] | None]],
) -> None:
    network, in_force = ChangingNetwork(NODES, EDGES), dict[Edge, Link]()
    for update in map(links_of, updates):
        before = [dict(links) for links in network.predecessors]
        former = network.update(update)
        for edge, link in update.items():
            in_force.pop(edge, None)
            if link is not None:
                in_force[edge] = link
        assert network.predecessors == expected_predecessors(in_force)
        assert former == {node: links for node, links in enumerate(before) if links != network.predecessors[node]}
        for node, links in enumerate(network.predecessors):
            assert all(network.rank(predecessor) < network.rank(node) for predecessor in links)
            assert all(node in network.successors(predecessor) for predecessor in links)
