"""Both ways of counting dependents count the same, and what networkx finds."""

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import Facts
from models.domain.dependents import count_by_bits, count_by_sets, count_dependents
from models.domain.network import build_network
from tests.helpers.networks import any_facts


@settings(max_examples=300)
@given(any_facts, st.data())
def test_sets_and_bits_count_the_open_milestones_behind_each(known: Facts, data: st.DataObject) -> None:
    network = build_network(known)
    size = len(network.milestones)
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    cancelled = data.draw(flags)
    actual = [int(is_achieved) for is_achieved in data.draw(flags)]
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(size))
    for successor, links in enumerate(network.predecessors):
        if not actual[successor] and not cancelled[successor]:
            graph.add_edges_from((predecessor, successor) for predecessor, _ in links)

    expected = [0 if cancelled[index] else len(nx.descendants(graph, index)) for index in range(size)]

    assert count_by_bits(network, actual, cancelled) == expected
    assert count_by_sets(network, actual, cancelled, size**3) == expected
    assert count_dependents(network, actual, cancelled) == expected


@given(any_facts)
def test_sets_that_would_hold_too_many_are_given_up(known: Facts) -> None:
    network = build_network(known)
    size = len(network.milestones)
    counted = count_by_sets(network, [0] * size, [False] * size, 0)

    assert (counted is None) == any(network.predecessors)
