"""Which dependencies count, by hand: who closes a cycle steps aside."""

import random

import pytest

from models.domain.claims import Facts, Milestone, Project, ProjectKey, Register
from models.domain.events import Event
from models.domain.network import Network, network
from models.domain.timestamps import Stamp
from tests.networks import dependency, facts_of, key, moment, planned, retracted, waits, waits_no_more


def counting(net: Network) -> set[tuple[str, str, int]]:
    """Give what waits, its gate, and the lag."""
    names = ["/".join(each[1:]) for each in net.milestones]
    return {(names[place], names[gate], lag) for place, links in enumerate(net.before) for gate, lag in links}


def test_nothing_is_a_network_too() -> None:
    nothing = Facts()
    assert network(nothing) == Network([], {}, [], [], [], nothing)


def test_a_network_knows_its_milestones_by_place_and_orders_them_behind_their_gates() -> None:
    said = facts_of(waits(1, "a/x", "c/x", 5), waits(2, "c/x", "b/x", -2), planned(3, "d/x", 1))
    a, b, c, d = (key(name) for name in ("a/x", "b/x", "c/x", "d/x"))
    assert network(said) == Network(
        milestones=[a, b, c, d],
        places={a: 0, b: 1, c: 2, d: 3},
        before=[[(2, 5)], [], [(1, -2)], []],
        order=[1, 2, 0, 3],
        set_aside=[],
        of=said,
    )


def test_only_dependencies_that_hold_count_and_the_newest_declaration_sets_the_lag() -> None:
    net = network(
        facts_of(
            *(waits(1, "a/x", "b/x", 5), waits(4, "a/x", "b/x", 7), waits(3, "a/x", "b/x", 6)),
            *(waits(1, "a/y", "b/x"), waits_no_more(2, "a/y", "b/x")),
            *(waits(5, "a/z", "b/x"), waits_no_more(2, "a/z", "b/x")),
            waits_no_more(6, "c/x", "b/x"),
            *(waits(7, "c/y", "b/x"), retracted(8, 7)),
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
    net = network(facts_of(waits(1, "a/x", "a/x", 3), waits(2, "a/y", "a/x", 4)))
    assert net.set_aside == [dependency("a/x", "a/x")]
    assert counting(net) == {("a/y", "a/x", 4)}


@pytest.mark.parametrize("heard", [(0, 1), (1, 0)])
def test_of_two_that_close_a_cycle_the_newer_is_set_aside_whichever_was_heard_first(heard: tuple[int, int]) -> None:
    said = waits(1, "b/x", "a/x", 1), waits(2, "a/x", "b/x", 2)
    net = network(facts_of(*(said[turn] for turn in heard)))
    assert net.set_aside == [dependency("a/x", "b/x")]
    assert counting(net) == {("b/x", "a/x", 1)}


def test_a_renewed_declaration_is_a_newer_one_and_gives_way() -> None:
    net = network(facts_of(waits(1, "b/x", "a/x", 1), waits(2, "a/x", "b/x", 2), waits(3, "b/x", "a/x", 1)))
    assert net.set_aside == [dependency("b/x", "a/x")]


@pytest.mark.parametrize("end", [waits_no_more(3, "b/x", "a/x"), retracted(3, 1)], ids=["withdrawn", "retracted"])
def test_without_the_older_the_newer_comes_back(end: Event) -> None:
    net = network(facts_of(waits(1, "b/x", "a/x"), waits(2, "a/x", "b/x", 2), end))
    assert (net.set_aside, counting(net)) == ([], {("a/x", "b/x", 2)})


def test_a_chain_closes_at_its_newest_link_wherever_that_is() -> None:
    links = [("a/x", "d/x"), ("b/x", "a/x"), ("c/x", "b/x"), ("d/x", "c/x")]
    for newest in range(4):
        numbers = [9 if place == newest else place for place in range(4)]
        said = [waits(number, *link) for number, link in zip(numbers, links, strict=True)]
        assert network(facts_of(*said)).set_aside == [dependency(*links[newest])]


def test_what_was_set_aside_closes_no_further_cycle() -> None:
    # The second is set aside, so that the third, which would close a cycle with it alone, counts.
    net = network(facts_of(waits(1, "b/x", "a/x"), waits(2, "a/x", "b/x"), waits(3, "c/x", "a/x")))
    assert net.set_aside == [dependency("a/x", "b/x")]
    net = network(
        facts_of(waits(1, "b/x", "a/x"), waits(2, "a/x", "b/x"), waits(3, "c/x", "a/x"), waits(4, "b/x", "c/x"))
    )
    assert net.set_aside == [dependency("a/x", "b/x")]
    assert counting(net) == {("b/x", "a/x", 0), ("c/x", "a/x", 0), ("b/x", "c/x", 0)}


def test_of_cycles_that_share_a_link_each_closes_at_its_own_newest() -> None:
    # Both cycles lead from a to b: a, b, c and a, b, d.
    shared = waits(3, "b/x", "a/x")
    through_c = waits(1, "c/x", "b/x"), waits(4, "a/x", "c/x")
    through_d = waits(5, "d/x", "b/x"), waits(2, "a/x", "d/x")
    net = network(facts_of(shared, *through_c, *through_d))
    assert net.set_aside == [dependency("a/x", "c/x"), dependency("d/x", "b/x")]
    # Were the shared link the newest, it alone would go.
    net = network(facts_of(waits(6, "b/x", "a/x"), *through_c, *through_d))
    assert net.set_aside == [dependency("b/x", "a/x")]


def test_what_is_set_aside_is_told_in_the_order_of_the_stamps() -> None:
    pairs = [("a/x", "b/x"), ("e/x", "f/x"), ("c/x", "d/x")]
    older = [waits(number, gate, name) for number, (name, gate) in enumerate(pairs)]
    newer = [waits(number, *pair) for number, pair in zip((30, 10, 20), pairs, strict=True)]
    assert network(facts_of(*older, *newer)).set_aside == [
        dependency("e/x", "f/x"),
        dependency("c/x", "d/x"),
        dependency("a/x", "b/x"),
    ]


def test_at_one_instant_source_and_id_decide() -> None:
    facts = facts_of(waits(1, "a/x", "b/x"), waits(2, "b/x", "a/x"))
    facts.dependencies[dependency("a/x", "b/x")].declared = Register(Stamp(f"{moment(1)}\toffice\te-1"), 0)
    facts.dependencies[dependency("b/x", "a/x")].declared = Register(Stamp(f"{moment(1)}\toffice\te-2"), 0)
    assert network(facts).set_aside == [dependency("b/x", "a/x")]
    facts.dependencies[dependency("a/x", "b/x")].declared = Register(Stamp(f"{moment(1)}\tshipyard\te-1"), 0)
    assert network(facts).set_aside == [dependency("a/x", "b/x")]
    facts.dependencies[dependency("b/x", "a/x")].declared = Register(Stamp(f"{moment(2)}\toffice\te-2"), 0)
    assert network(facts).set_aside == [dependency("b/x", "a/x")]


def test_programmes_do_not_meet() -> None:
    north = waits(1, "a/x", "b/x"), waits(4, "b/x", "a/x")
    south = waits(2, "south/b/x", "south/a/x"), waits(3, "south/a/x", "south/b/x")
    net = network(facts_of(*north, *south))
    assert net.set_aside == [dependency("south/a/x", "south/b/x"), dependency("b/x", "a/x")]
    # What would be a cycle in one programme is none across two.
    assert network(facts_of(waits(1, "a/x", "b/x"), waits(2, "south/b/x", "south/a/x"))).set_aside == []


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
    said = [waits(number, *LINKS[place]) for number, place in enumerate(turns)]
    assert network(facts_of(*said)).set_aside == [dependency(*LINKS[turns[-1]])]


def test_a_ladder_of_hundreds_is_taken_apart_rung_by_rung() -> None:
    # Each waits for the one before, and then each for the one behind.
    rungs = LINKS[1:500]
    along = [waits(number, *pair) for number, pair in enumerate(rungs)]
    back = [waits(10_000 + number, gate, name) for number, (name, gate) in enumerate(rungs)]
    net = network(facts_of(*along, *back))
    assert net.set_aside == [dependency(gate, name) for name, gate in rungs]
    assert net.order == list(range(500))


def test_everything_waits_for_everything() -> None:
    names = [f"p/m{number:02}" for number in range(60)]
    pairs = [(name, gate) for name in reversed(names) for gate in reversed(names)]
    net = network(facts_of(*(waits(number, *pair) for number, pair in enumerate(pairs))))
    # The last of them speaks first, and so waits for all others; each that follows, for those that are left.
    assert net.order == list(range(60))
    assert net.set_aside == [dependency(*pair) for pair in pairs if pair[0] <= pair[1]]


class TestFits:
    """Whether facts have the network that is there already."""

    SAID = facts_of(planned(1, "a/x", 3), waits(2, "a/x", "b/x"))

    def after(self, **changed: object) -> Facts:
        return self.SAID.replaced(Facts(**changed))  # type: ignore[arg-type]

    def test_its_own_facts_fit(self) -> None:
        assert network(self.SAID).fits(self.SAID)

    def test_so_do_facts_that_differ_in_dates_or_projects_alone(self) -> None:
        net = network(self.SAID)
        assert net.fits(self.after(milestones={key("a/x"): Milestone()}))
        assert net.fits(self.after(projects={ProjectKey("north", "a"): Project()}))
        assert net.fits(self.after())

    def test_another_milestone_does_not_fit(self) -> None:
        net = network(self.SAID)
        assert not net.fits(self.after(milestones={key("c/x"): Milestone()}))
        assert not net.fits(self.SAID.replaced(Facts(), {("north", "a")}))

    def test_even_one_that_was_only_waited_for_until_now_is_looked_at_again(self) -> None:
        after = self.after(milestones={key("b/x"): Milestone()})
        assert not network(self.SAID).fits(after)
        assert network(after)._replace(of=self.SAID) == network(self.SAID)

    def test_nothing_fits_that_says_anything_of_dependencies(self) -> None:
        net = network(self.SAID)
        for event in (waits(3, "a/x", "b/x", 9), waits_no_more(3, "a/x", "b/x"), waits(3, "a/x", "c/x")):
            assert not net.fits(self.after(dependencies=facts_of(event).dependencies))

    def test_what_was_read_afresh_does_not_fit_even_when_it_says_the_same(self) -> None:
        assert not network(self.SAID).fits(facts_of(planned(1, "a/x", 3), waits(2, "a/x", "b/x")))
