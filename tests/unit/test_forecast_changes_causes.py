"""Which of several things that were said is behind a movement, by hand."""

from tests.helpers.networks import (
    BriefChange,
    brief_changes,
    cancel_milestone,
    declare_dependency,
    estimate_date,
    plan_date,
    register_project,
    retract_claim,
    withdraw_dependency,
    withdraw_project,
)

# Two tenants wait for a park, one of them with time to spare, and a shop waits for the other.
PARK = [
    plan_date(1, "park/open", 10),
    declare_dependency(2, "inn/open", "park/open", 2),
    declare_dependency(3, "mill/open", "park/open", 5),
]
TENANTS = [plan_date(4, "inn/open", 12), plan_date(5, "mill/open", 30), declare_dependency(6, "shop/open", "inn/open")]
PLAN = PARK + TENANTS


class TestADriverThatCountsNoMore:
    """Or again."""

    BEFORE = (
        plan_date(1, "a/x", 10),
        plan_date(2, "b/x", 5),
        declare_dependency(3, "b/x", "a/x"),
        declare_dependency(4, "c/x", "b/x"),
    )

    def test_it_is_cancelled(self) -> None:
        assert brief_changes(self.BEFORE, [cancel_milestone(5, "a/x")]) == self.released_by(5)

    def test_the_cancellation_is_taken_back_or_outdone(self) -> None:
        before = [*self.BEFORE, cancel_milestone(5, "a/x")]
        assert brief_changes(before, [retract_claim(6, 5)]) == self.driven_again_by(6)
        assert brief_changes(before, [plan_date(6, "a/x", 10)]) == self.driven_again_by(6)

    def test_its_project_is_withdrawn_and_registered_again(self) -> None:
        assert brief_changes(self.BEFORE, [withdraw_project(5, "a")]) == self.released_by(5)
        before = [*self.BEFORE, withdraw_project(5, "a")]
        assert brief_changes(before, [register_project(6, "a")]) == self.driven_again_by(6)

    def test_what_else_is_said_of_it_meanwhile_is_not_the_cause(self) -> None:
        for days in (10, 20):
            new = [withdraw_project(5, "a"), estimate_date(6, "a/x", days)]
            assert brief_changes(self.BEFORE, new) == self.released_by(5)
        before = [*self.BEFORE, withdraw_project(5, "a")]
        assert brief_changes(before, [register_project(6, "a"), estimate_date(4, "a/x", 10)]) == self.driven_again_by(6)

    @staticmethod
    def released_by(number: int) -> list[BriefChange]:
        return [("a/x", 10, None, number), ("b/x", 10, 5, number), ("c/x", 10, 5, number)]

    @staticmethod
    def driven_again_by(number: int) -> list[BriefChange]:
        return [("a/x", None, 10, number), ("b/x", 5, 10, number), ("c/x", 5, 10, number)]

    def test_it_is_gone_altogether(self) -> None:
        assert brief_changes(self.BEFORE, [retract_claim(5, 1)]) == [
            ("a/x", 10, None, 5),
            ("b/x", 10, 5, 5),
            ("c/x", 10, 5, 5),
        ]

    def test_another_drives_instead(self) -> None:
        before = [*self.BEFORE, plan_date(5, "d/x", 8), declare_dependency(6, "b/x", "d/x")]
        assert brief_changes(before, [cancel_milestone(7, "a/x")]) == [
            ("a/x", 10, None, 7),
            ("b/x", 10, 8, 7),
            ("c/x", 10, 8, 7),
        ]


class TestCycles:
    """A dependency steps aside, or counts again, because of what is said of others."""

    BEFORE = (plan_date(1, "a/x", 10), plan_date(2, "b/x", 20), declare_dependency(5, "a/x", "b/x", 1))

    def test_an_older_one_heard_late_closes_the_cycle(self) -> None:
        assert brief_changes(self.BEFORE, [declare_dependency(4, "b/x", "a/x", 15)]) == [
            ("a/x", 21, 10, 4),
            ("b/x", 20, 25, 4),
        ]

    def test_the_older_one_is_withdrawn(self) -> None:
        before = [*self.BEFORE, declare_dependency(4, "b/x", "a/x", 15)]
        assert brief_changes(before, [withdraw_dependency(6, "b/x", "a/x")]) == [("b/x", 25, 20, 6), ("a/x", 10, 21, 6)]
        assert brief_changes(before, [retract_claim(6, 4)]) == [("b/x", 25, 20, 6), ("a/x", 10, 21, 6)]

    def test_what_is_said_of_dependencies_elsewhere_is_not_the_cause(self) -> None:
        new = [
            declare_dependency(4, "b/x", "a/x", 15),
            declare_dependency(9, "d/x", "c/x"),
            declare_dependency(8, "c/x", "a/x", -90),
        ]
        assert sorted(brief_changes(self.BEFORE, new)) == [
            ("a/x", 21, 10, 4),
            ("b/x", 20, 25, 4),
            ("c/x", None, 0, 8),
            ("d/x", None, 0, 9),
        ]

    def test_the_same_said_again_makes_it_the_newest_of_the_cycle(self) -> None:
        before = [*self.BEFORE, declare_dependency(4, "b/x", "a/x", 15)]
        assert brief_changes(before, [declare_dependency(6, "b/x", "a/x", 15)]) == [
            ("b/x", 25, 20, 6),
            ("a/x", 10, 21, 6),
        ]


class TestSeveralEvents:
    """Between two pictures."""

    def test_each_moves_what_waits_for_it(self) -> None:
        before = [*PLAN, plan_date(7, "dam/open", 4), declare_dependency(8, "lock/open", "dam/open")]
        new = [estimate_date(9, "dam/open", 7), estimate_date(10, "park/open", 20)]
        assert sorted(brief_changes(before, new)) == [
            ("dam/open", 4, 7, 9),
            ("inn/open", 12, 22, 10),
            ("lock/open", 4, 7, 9),
            ("park/open", 10, 20, 10),
            ("shop/open", 12, 22, 10),
        ]

    def test_of_a_gate_and_what_waits_for_it_the_one_that_sets_the_date_is_the_cause(self) -> None:
        gate, own = estimate_date(7, "park/open", 20), estimate_date(8, "inn/open", 15)
        assert brief_changes(PLAN, [gate, own])[1] == ("inn/open", 12, 22, 7)
        assert brief_changes(PLAN, [gate, estimate_date(8, "inn/open", 25)])[1] == ("inn/open", 12, 25, 8)

    def test_of_two_gates_the_one_that_drives_is_the_cause(self) -> None:
        before = [*PLAN, plan_date(7, "dam/open", 4), declare_dependency(8, "inn/open", "dam/open")]
        assert brief_changes(before, [estimate_date(10, "dam/open", 16), estimate_date(9, "park/open", 20)])[2:] == [
            ("inn/open", 12, 22, 9),
            ("shop/open", 12, 22, 9),
        ]

    def test_of_a_gate_and_a_new_lag_the_newer_is_the_cause(self) -> None:
        assert brief_changes(
            PLAN, [estimate_date(7, "park/open", 20), declare_dependency(8, "inn/open", "park/open", 3)]
        )[1:] == [
            ("inn/open", 12, 23, 8),
            ("shop/open", 12, 23, 8),
        ]
        assert brief_changes(
            PLAN, [estimate_date(8, "park/open", 20), declare_dependency(7, "inn/open", "park/open", 3)]
        )[1] == (
            "inn/open",
            12,
            23,
            8,
        )

    def test_when_a_driver_lets_go_what_else_it_did_is_not_the_cause(self) -> None:
        before = [*PLAN, estimate_date(7, "park/open", 20)]
        new = [withdraw_dependency(8, "inn/open", "park/open"), estimate_date(9, "park/open", 90)]
        assert sorted(brief_changes(before, new)) == [
            ("inn/open", 22, 12, 8),
            ("mill/open", 30, 95, 9),
            ("park/open", 20, 90, 9),
            ("shop/open", 22, 12, 8),
        ]

    def test_what_a_cancelled_gate_does_is_not_the_cause(self) -> None:
        before = [
            declare_dependency(1, "c/x", "a/x", -90),
            declare_dependency(2, "c/x", "b/x", -90),
            plan_date(3, "a/x", 5),
            cancel_milestone(4, "a/x"),
        ]
        # Only through b has c a forecast; a is cancelled before and after.
        assert brief_changes(before, [plan_date(5, "b/x", 5), estimate_date(2, "a/x", 9)]) == [
            ("b/x", None, 5, 5),
            ("c/x", None, 0, 5),
        ]
        assert sorted(brief_changes([*before, plan_date(5, "b/x", 5)], [retract_claim(6, 5), retract_claim(7, 3)])) == [
            ("b/x", 5, None, 6),
            ("c/x", 0, None, 6),
        ]
