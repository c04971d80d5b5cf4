"""Which of several things that were said is behind a movement, by hand."""

from tests.networks import (
    cancelled,
    estimated,
    moved,
    planned,
    registered,
    retracted,
    waits,
    waits_no_more,
    withdrawn,
)

# Two tenants wait for a park, one of them with time to spare, and a shop waits for the other.
PARK = [planned(1, "park/open", 10), waits(2, "inn/open", "park/open", 2), waits(3, "mill/open", "park/open", 5)]
TENANTS = [planned(4, "inn/open", 12), planned(5, "mill/open", 30), waits(6, "shop/open", "inn/open")]
PLAN = PARK + TENANTS


class TestADriverThatCountsNoMore:
    """Or again."""

    BEFORE = (planned(1, "a/x", 10), planned(2, "b/x", 5), waits(3, "b/x", "a/x"), waits(4, "c/x", "b/x"))

    def test_it_is_cancelled(self) -> None:
        assert moved(self.BEFORE, [cancelled(5, "a/x")]) == [("b/x", 10, 5, 5), ("c/x", 10, 5, 5)]

    def test_the_cancellation_is_taken_back_or_outdone(self) -> None:
        before = [*self.BEFORE, cancelled(5, "a/x")]
        assert moved(before, [retracted(6, 5)]) == [("b/x", 5, 10, 6), ("c/x", 5, 10, 6)]
        assert moved(before, [planned(6, "a/x", 10)]) == [("b/x", 5, 10, 6), ("c/x", 5, 10, 6)]

    def test_its_project_is_withdrawn_and_registered_again(self) -> None:
        assert moved(self.BEFORE, [withdrawn(5, "a")]) == [("b/x", 10, 5, 5), ("c/x", 10, 5, 5)]
        before = [*self.BEFORE, withdrawn(5, "a")]
        assert moved(before, [registered(6, "a")]) == [("b/x", 5, 10, 6), ("c/x", 5, 10, 6)]

    def test_what_else_is_said_of_it_meanwhile_is_not_the_cause(self) -> None:
        assert moved(self.BEFORE, [withdrawn(5, "a"), estimated(6, "a/x", 10)]) == [
            ("b/x", 10, 5, 5),
            ("c/x", 10, 5, 5),
        ]
        assert moved(self.BEFORE, [withdrawn(5, "a"), estimated(6, "a/x", 20)]) == [
            ("a/x", 10, 20, 6),
            ("b/x", 10, 5, 5),
            ("c/x", 10, 5, 5),
        ]
        before = [*self.BEFORE, withdrawn(5, "a")]
        assert moved(before, [registered(6, "a"), estimated(4, "a/x", 10)]) == [("b/x", 5, 10, 6), ("c/x", 5, 10, 6)]

    def test_it_is_gone_altogether(self) -> None:
        assert moved(self.BEFORE, [retracted(5, 1)]) == [("a/x", 10, None, 5), ("b/x", 10, 5, 5), ("c/x", 10, 5, 5)]

    def test_another_drives_instead(self) -> None:
        before = [*self.BEFORE, planned(5, "d/x", 8), waits(6, "b/x", "d/x")]
        assert moved(before, [cancelled(7, "a/x")]) == [("b/x", 10, 8, 7), ("c/x", 10, 8, 7)]


class TestCycles:
    """A dependency steps aside, or counts again, because of what is said of others."""

    BEFORE = (planned(1, "a/x", 10), planned(2, "b/x", 20), waits(5, "a/x", "b/x", 1))

    def test_an_older_one_heard_late_closes_the_cycle(self) -> None:
        assert moved(self.BEFORE, [waits(4, "b/x", "a/x", 15)]) == [("a/x", 21, 10, 4), ("b/x", 20, 25, 4)]

    def test_the_older_one_is_withdrawn(self) -> None:
        before = [*self.BEFORE, waits(4, "b/x", "a/x", 15)]
        assert moved(before, [waits_no_more(6, "b/x", "a/x")]) == [("b/x", 25, 20, 6), ("a/x", 10, 21, 6)]
        assert moved(before, [retracted(6, 4)]) == [("b/x", 25, 20, 6), ("a/x", 10, 21, 6)]

    def test_what_is_said_of_dependencies_elsewhere_is_not_the_cause(self) -> None:
        new = [waits(4, "b/x", "a/x", 15), waits(9, "d/x", "c/x"), waits(8, "c/x", "a/x", -90)]
        assert sorted(moved(self.BEFORE, new)) == [
            ("a/x", 21, 10, 4),
            ("b/x", 20, 25, 4),
            ("c/x", None, 0, 8),
            ("d/x", None, 0, 9),
        ]

    def test_the_same_said_again_makes_it_the_newest_of_the_cycle(self) -> None:
        before = [*self.BEFORE, waits(4, "b/x", "a/x", 15)]
        assert moved(before, [waits(6, "b/x", "a/x", 15)]) == [("b/x", 25, 20, 6), ("a/x", 10, 21, 6)]


class TestSeveralEvents:
    """Between two pictures."""

    def test_each_moves_what_waits_for_it(self) -> None:
        before = [*PLAN, planned(7, "dam/open", 4), waits(8, "lock/open", "dam/open")]
        new = [estimated(9, "dam/open", 7), estimated(10, "park/open", 20)]
        assert sorted(moved(before, new)) == [
            ("dam/open", 4, 7, 9),
            ("inn/open", 12, 22, 10),
            ("lock/open", 4, 7, 9),
            ("park/open", 10, 20, 10),
            ("shop/open", 12, 22, 10),
        ]

    def test_of_a_gate_and_what_waits_for_it_the_one_that_sets_the_date_is_the_cause(self) -> None:
        gate, own = estimated(7, "park/open", 20), estimated(8, "inn/open", 15)
        assert moved(PLAN, [gate, own])[1] == ("inn/open", 12, 22, 7)
        assert moved(PLAN, [gate, estimated(8, "inn/open", 25)])[1] == ("inn/open", 12, 25, 8)

    def test_of_two_gates_the_one_that_drives_is_the_cause(self) -> None:
        before = [*PLAN, planned(7, "dam/open", 4), waits(8, "inn/open", "dam/open")]
        assert moved(before, [estimated(10, "dam/open", 16), estimated(9, "park/open", 20)])[2:] == [
            ("inn/open", 12, 22, 9),
            ("shop/open", 12, 22, 9),
        ]

    def test_of_a_gate_and_a_new_lag_the_newer_is_the_cause(self) -> None:
        assert moved(PLAN, [estimated(7, "park/open", 20), waits(8, "inn/open", "park/open", 3)])[1:] == [
            ("inn/open", 12, 23, 8),
            ("shop/open", 12, 23, 8),
        ]
        assert moved(PLAN, [estimated(8, "park/open", 20), waits(7, "inn/open", "park/open", 3)])[1] == (
            "inn/open",
            12,
            23,
            8,
        )

    def test_when_a_driver_lets_go_what_else_it_did_is_not_the_cause(self) -> None:
        before = [*PLAN, estimated(7, "park/open", 20)]
        new = [waits_no_more(8, "inn/open", "park/open"), estimated(9, "park/open", 90)]
        assert sorted(moved(before, new)) == [
            ("inn/open", 22, 12, 8),
            ("mill/open", 30, 95, 9),
            ("park/open", 20, 90, 9),
            ("shop/open", 22, 12, 8),
        ]

    def test_what_a_cancelled_gate_does_is_not_the_cause(self) -> None:
        before = [waits(1, "c/x", "a/x", -90), waits(2, "c/x", "b/x", -90), planned(3, "a/x", 5), cancelled(4, "a/x")]
        # Only through b has c a forecast; a is cancelled before and after.
        assert moved(before, [planned(5, "b/x", 5), estimated(2, "a/x", 9)]) == [
            ("b/x", None, 5, 5),
            ("c/x", None, 0, 5),
        ]
        assert sorted(moved([*before, planned(5, "b/x", 5)], [retracted(6, 5), retracted(7, 3)])) == [
            ("a/x", 5, None, 7),
            ("b/x", 5, None, 6),
            ("c/x", 0, None, 6),
        ]
