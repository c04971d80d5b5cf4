"""Cycles of any shape end, and what is left out of them is what the contract says, told by networkx."""

import random

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import DependencyKey, Facts, MilestoneKey
from models.domain.events import Event
from models.domain.network import Network, build_network
from tests.helpers.networks import any_facts, declare_dependency, dependency_graph, event_lists, facts_of, plan_date


def left_in(net: Network) -> dict[tuple[MilestoneKey, MilestoneKey], int]:
    """Give the lags of the dependencies that count, by gate and what waits for it."""
    links = [(place, link) for place, its in enumerate(net.predecessors) for link in its]
    return {(net.milestones[gate], net.milestones[place]): lag for place, (gate, lag) in links}


def assert_greedy(known: Facts) -> Network:
    """Hold a network against networkx, which takes one dependency after the other."""
    net, (graph, set_aside) = build_network(known), dependency_graph(known)
    assert nx.is_directed_acyclic_graph(graph)
    assert net.cyclic == set_aside
    assert left_in(net) == {edge: graph.edges[edge]["lag"] for edge in graph.edges}
    assert list(net.milestones) == sorted(graph)
    assert [net.milestones[place] for place in net.index_of.values()] == list(net.index_of)
    assert sorted(net.topological_order) == list(range(len(net.milestones)))
    turn = {place: number for number, place in enumerate(net.topological_order)}
    assert all(turn[gate] < turn[place] for place, its in enumerate(net.predecessors) for gate, _ in its)
    return net


@settings(max_examples=300)
@given(any_facts)
def test_what_is_set_aside_is_what_closes_a_cycle_when_taken_in_the_order_of_the_stamps(known: Facts) -> None:
    assert_greedy(known)


@settings(max_examples=100)
@given(st.integers(2, 25), st.floats(0.02, 0.5), st.integers(0, 2**32))
def test_however_thick_the_tangle(size: int, density: float, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    names = [f"p/m{number}" for number in range(size)]
    pairs = [(name, gate) for name in names for gate in names if chance.random() < density]
    assert_greedy(
        facts_of(*(declare_dependency(number, *pair) for number, pair in enumerate(chance.sample(pairs, len(pairs)))))
    )


def test_hundreds_of_milestones_in_one_tangle() -> None:
    chance = random.Random(7)  # noqa: S311 - a repeatable choice, not a secret
    names = [f"p/m{number}" for number in range(400)]
    said = [declare_dependency(number, chance.choice(names), chance.choice(names)) for number in range(1600)]
    assert len(assert_greedy(facts_of(*said)).cyclic) > 100


@settings(max_examples=100)
@given(event_lists(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_were_heard_is_nothing_to_a_network(
    events: list[Event], chance: random.Random
) -> None:
    one, other = (build_network(facts_of(*order)) for order in (events, chance.sample(events, len(events))))
    assert (one.milestones, one.cyclic, left_in(one)) == (other.milestones, other.cyclic, left_in(other))


@settings(max_examples=100)
@given(any_facts, any_facts)
def test_a_network_of_two_sets_of_programmes_is_that_of_each(one: Facts, other: Facts) -> None:
    moved = {DependencyKey(f"{name[0]}-2", *name[1:]): said for name, said in other.dependencies.items()}
    both = build_network(Facts(dependencies=one.dependencies | moved)).cyclic
    assert [name for name in both if name not in moved] == build_network(Facts(dependencies=one.dependencies)).cyclic
    assert [name for name in both if name in moved] == build_network(Facts(dependencies=moved)).cyclic


def test_more_milestones_than_python_calls_deep_stand_in_one_chain() -> None:
    names = [f"p/m{number:05}" for number in range(5000)]
    chain = facts_of(
        plan_date(0, names[0], 1), *(declare_dependency(n, names[n], names[n - 1]) for n in range(1, 5000))
    )
    assert build_network(chain).topological_order == list(range(5000))
