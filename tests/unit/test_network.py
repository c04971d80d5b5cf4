"""Which dependencies count, by hand: who closes a cycle steps aside."""

import random

import pytest

from models.domain.claims import Facts, MilestoneClaims, ProjectClaims, ProjectKey, Register
from models.domain.events import Event
from models.domain.network import Network, build_network
from models.domain.timestamps import Stamp
from tests.helpers.networks import (
    declare_dependency,
    dependency_key,
    facts_of,
    instant_of,
    milestone_key,
    plan_date,
    retract_claim,
    withdraw_dependency,
)


def counting(net: Network) -> set[tuple[str, str, int]]:
    """Give what waits, its gate, and the lag."""
    names = ["/".join(each[1:]) for each in net.milestones]
    return {(names[place], names[gate], lag) for place, links in enumerate(net.predecessors) for gate, lag in links}


def test_nothing_is_a_network_too() -> None:
    nothing = Facts()
    assert build_network(nothing) == Network([], {}, [], [], [], nothing)


def test_a_network_knows_its_milestones_by_place_and_orders_them_behind_their_gates() -> None:
    said = facts_of(
        declare_dependency(1, "a/x", "c/x", 5), declare_dependency(2, "c/x", "b/x", -2), plan_date(3, "d/x", 1)
    )
    a, b, c, d = (milestone_key(name) for name in ("a/x", "b/x", "c/x", "d/x"))
    assert build_network(said) == Network(
        milestones=[a, b, c, d],
        index_of={a: 0, b: 1, c: 2, d: 3},
        predecessors=[[(2, 5)], [], [(1, -2)], []],
        topological_order=[1, 2, 0, 3],
        cyclic=[],
        facts=said,
    )


def test_only_dependencies_that_hold_count_and_the_newest_declaration_sets_the_lag() -> None:
    net = build_network(
        facts_of(
            *(
                declare_dependency(1, "a/x", "b/x", 5),
                declare_dependency(4, "a/x", "b/x", 7),
                declare_dependency(3, "a/x", "b/x", 6),
            ),
            *(declare_dependency(1, "a/y", "b/x"), withdraw_dependency(2, "a/y", "b/x")),
            *(declare_dependency(5, "a/z", "b/x"), withdraw_dependency(2, "a/z", "b/x")),
            withdraw_dependency(6, "c/x", "b/x"),
            *(declare_dependency(7, "c/y", "b/x"), retract_claim(8, 7)),
        )
    )
    assert counting(net) == {("a/x", "b/x", 7), ("a/z", "b/x", 0)}
    # Being named in a withdrawal is enough to exist; being named in what was taken back is not.
    assert [milestone[1:] for milestone in net.milestones] == [
        ("a", "x"),
        ("a", "y"),
        ("a", "z"),
        ("b", "x"),
        ("c", "x"),
    ]


def test_what_waits_for_itself_is_set_aside() -> None:
    net = build_network(facts_of(declare_dependency(1, "a/x", "a/x", 3), declare_dependency(2, "a/y", "a/x", 4)))
    assert net.cyclic == [dependency_key("a/x", "a/x")]
    assert counting(net) == {("a/y", "a/x", 4)}


@pytest.mark.parametrize("heard", [(0, 1), (1, 0)])
def test_of_two_that_close_a_cycle_the_newer_is_set_aside_whichever_was_heard_first(heard: tuple[int, int]) -> None:
    said = declare_dependency(1, "b/x", "a/x", 1), declare_dependency(2, "a/x", "b/x", 2)
    net = build_network(facts_of(*(said[turn] for turn in heard)))
    assert net.cyclic == [dependency_key("a/x", "b/x")]
    assert counting(net) == {("b/x", "a/x", 1)}


def test_a_renewed_declaration_is_a_newer_one_and_gives_way() -> None:
    net = build_network(
        facts_of(
            declare_dependency(1, "b/x", "a/x", 1),
            declare_dependency(2, "a/x", "b/x", 2),
            declare_dependency(3, "b/x", "a/x", 1),
        )
    )
    assert net.cyclic == [dependency_key("b/x", "a/x")]


@pytest.mark.parametrize(
    "end", [withdraw_dependency(3, "b/x", "a/x"), retract_claim(3, 1)], ids=["withdrawn", "retracted"]
)
def test_without_the_older_the_newer_comes_back(end: Event) -> None:
    net = build_network(facts_of(declare_dependency(1, "b/x", "a/x"), declare_dependency(2, "a/x", "b/x", 2), end))
    assert (net.cyclic, counting(net)) == ([], {("a/x", "b/x", 2)})


def test_a_chain_closes_at_its_newest_link_wherever_that_is() -> None:
    links = [("a/x", "d/x"), ("b/x", "a/x"), ("c/x", "b/x"), ("d/x", "c/x")]
    for newest in range(4):
        numbers = [9 if place == newest else place for place in range(4)]
        said = [declare_dependency(number, *link) for number, link in zip(numbers, links, strict=True)]
        assert build_network(facts_of(*said)).cyclic == [dependency_key(*links[newest])]


def test_what_was_set_aside_closes_no_further_cycle() -> None:
    # The second is set aside, so that the third, which would close a cycle with it alone, counts.
    net = build_network(
        facts_of(
            declare_dependency(1, "b/x", "a/x"),
            declare_dependency(2, "a/x", "b/x"),
            declare_dependency(3, "c/x", "a/x"),
        )
    )
    assert net.cyclic == [dependency_key("a/x", "b/x")]
    net = build_network(
        facts_of(
            declare_dependency(1, "b/x", "a/x"),
            declare_dependency(2, "a/x", "b/x"),
            declare_dependency(3, "c/x", "a/x"),
            declare_dependency(4, "b/x", "c/x"),
        )
    )
    assert net.cyclic == [dependency_key("a/x", "b/x")]
    assert counting(net) == {("b/x", "a/x", 0), ("c/x", "a/x", 0), ("b/x", "c/x", 0)}


def test_of_cycles_that_share_a_link_each_closes_at_its_own_newest() -> None:
    # Both cycles lead from a to b: a, b, c and a, b, d.
    shared = declare_dependency(3, "b/x", "a/x")
    through_c = declare_dependency(1, "c/x", "b/x"), declare_dependency(4, "a/x", "c/x")
    through_d = declare_dependency(5, "d/x", "b/x"), declare_dependency(2, "a/x", "d/x")
    net = build_network(facts_of(shared, *through_c, *through_d))
    assert net.cyclic == [dependency_key("a/x", "c/x"), dependency_key("d/x", "b/x")]
    # Were the shared link the newest, it alone would go.
    net = build_network(facts_of(declare_dependency(6, "b/x", "a/x"), *through_c, *through_d))
    assert net.cyclic == [dependency_key("b/x", "a/x")]


def test_what_is_set_aside_is_reported_in_the_order_of_the_stamps() -> None:
    pairs = [("a/x", "b/x"), ("e/x", "f/x"), ("c/x", "d/x")]
    older = [declare_dependency(number, gate, name) for number, (name, gate) in enumerate(pairs)]
    newer = [declare_dependency(number, *pair) for number, pair in zip((30, 10, 20), pairs, strict=True)]
    assert build_network(facts_of(*older, *newer)).cyclic == [
        dependency_key("e/x", "f/x"),
        dependency_key("c/x", "d/x"),
        dependency_key("a/x", "b/x"),
    ]


def test_at_one_instant_source_and_id_decide() -> None:
    facts = facts_of(declare_dependency(1, "a/x", "b/x"), declare_dependency(2, "b/x", "a/x"))
    facts.dependencies[dependency_key("a/x", "b/x")].declared = Register(Stamp(f"{instant_of(1)}\toffice\te-1"), 0)
    facts.dependencies[dependency_key("b/x", "a/x")].declared = Register(Stamp(f"{instant_of(1)}\toffice\te-2"), 0)
    assert build_network(facts).cyclic == [dependency_key("b/x", "a/x")]
    facts.dependencies[dependency_key("a/x", "b/x")].declared = Register(Stamp(f"{instant_of(1)}\tshipyard\te-1"), 0)
    assert build_network(facts).cyclic == [dependency_key("a/x", "b/x")]
    facts.dependencies[dependency_key("b/x", "a/x")].declared = Register(Stamp(f"{instant_of(2)}\toffice\te-2"), 0)
    assert build_network(facts).cyclic == [dependency_key("b/x", "a/x")]


def test_programmes_do_not_meet() -> None:
    north = declare_dependency(1, "a/x", "b/x"), declare_dependency(4, "b/x", "a/x")
    south = declare_dependency(2, "south/b/x", "south/a/x"), declare_dependency(3, "south/a/x", "south/b/x")
    net = build_network(facts_of(*north, *south))
    assert net.cyclic == [dependency_key("south/a/x", "south/b/x"), dependency_key("b/x", "a/x")]
    # What would be a cycle in one programme is none across two.
    assert (
        build_network(
            facts_of(declare_dependency(1, "a/x", "b/x"), declare_dependency(2, "south/b/x", "south/a/x"))
        ).cyclic
        == []
    )


RING = [f"p/m{number:04}" for number in range(5000)]
LINKS = [(RING[place], RING[place - 1]) for place in range(5000)]


def alternating(count: int) -> list[int]:
    """Give the first, the last, the second, the last but one, and so on."""
    return [place // 2 if place % 2 == 0 else count - 1 - place // 2 for place in range(count)]


def by_halves(count: int) -> list[int]:
    """Give every other, then every other of the rest, and so on: paths join in their middles as late as can be."""
    step, order = 1, list[int]()
    while len(order) < count:
        order += range(step - 1, count, 2 * step)
        step *= 2
    return order


@pytest.mark.parametrize(
    "turns",
    [
        list(range(5000)),
        list(range(4999, -1, -1)),
        alternating(5000),
        by_halves(5000),
        random.Random(5).sample(range(5000), 5000),  # noqa: S311 - a repeatable choice, not a secret
    ],
    ids=["along", "against", "from both ends", "by halves", "at random"],
)
def test_a_ring_of_thousands_opens_at_its_newest_link(turns: list[int]) -> None:
    said = [declare_dependency(number, *LINKS[place]) for number, place in enumerate(turns)]
    assert build_network(facts_of(*said)).cyclic == [dependency_key(*LINKS[turns[-1]])]


def test_a_ladder_of_hundreds_is_taken_apart_rung_by_rung() -> None:
    # Each waits for the one before, and then each for the one behind.
    rungs = LINKS[1:500]
    along = [declare_dependency(number, *pair) for number, pair in enumerate(rungs)]
    back = [declare_dependency(10_000 + number, gate, name) for number, (name, gate) in enumerate(rungs)]
    net = build_network(facts_of(*along, *back))
    assert net.cyclic == [dependency_key(gate, name) for name, gate in rungs]
    assert net.topological_order == list(range(500))


def test_everything_waits_for_everything() -> None:
    names = [f"p/m{number:02}" for number in range(60)]
    pairs = [(name, gate) for name in reversed(names) for gate in reversed(names)]
    net = build_network(facts_of(*(declare_dependency(number, *pair) for number, pair in enumerate(pairs))))
    # The last of them speaks first, and so waits for all others; each that follows, for those that are left.
    assert net.topological_order == list(range(60))
    assert net.cyclic == [dependency_key(*pair) for pair in pairs if pair[0] <= pair[1]]


class TestFits:
    """Whether facts have the network that is there already."""

    SAID = facts_of(plan_date(1, "a/x", 3), declare_dependency(2, "a/x", "b/x"))

    def after(self, **changed: object) -> Facts:
        return self.SAID.merged_with(Facts(**changed))  # type: ignore[arg-type]

    def test_its_own_facts_fit(self) -> None:
        assert build_network(self.SAID).is_reusable_for(self.SAID)

    def test_so_do_facts_that_differ_in_dates_or_projects_alone(self) -> None:
        net = build_network(self.SAID)
        assert net.is_reusable_for(self.after(milestones={milestone_key("a/x"): MilestoneClaims()}))
        assert net.is_reusable_for(self.after(projects={ProjectKey("north", "a"): ProjectClaims()}))
        assert net.is_reusable_for(self.after())

    def test_another_milestone_does_not_fit(self) -> None:
        net = build_network(self.SAID)
        assert not net.is_reusable_for(self.after(milestones={milestone_key("c/x"): MilestoneClaims()}))
        assert not net.is_reusable_for(self.SAID.merged_with(Facts(), {("north", "a")}))

    def test_even_one_that_was_only_waited_for_until_now_is_looked_at_again(self) -> None:
        after = self.after(milestones={milestone_key("b/x"): MilestoneClaims()})
        assert not build_network(self.SAID).is_reusable_for(after)
        assert build_network(after)._replace(facts=self.SAID) == build_network(self.SAID)

    def test_nothing_fits_that_says_anything_of_dependencies(self) -> None:
        net = build_network(self.SAID)
        for event in (
            declare_dependency(3, "a/x", "b/x", 9),
            withdraw_dependency(3, "a/x", "b/x"),
            declare_dependency(3, "a/x", "c/x"),
        ):
            assert not net.is_reusable_for(self.after(dependencies=facts_of(event).dependencies))

    def test_what_was_read_afresh_does_not_fit_even_when_it_says_the_same(self) -> None:
        assert not build_network(self.SAID).is_reusable_for(
            facts_of(plan_date(1, "a/x", 3), declare_dependency(2, "a/x", "b/x"))
        )
