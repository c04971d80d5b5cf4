"""How far a milestone may still move, and how many wait for it, by hand."""

from collections.abc import Mapping
from datetime import date, timedelta

from models.domain.events import Event
from models.domain.schedule import State
from tests.helpers.networks import (
    TODAY,
    cancel_milestone,
    declare_dependency,
    estimate_date,
    plan_date,
    register_project,
    report_actual,
    retract_claim,
    statuses_of,
    withdraw_dependency,
    withdraw_project,
)


def floats(*events: Event, on: date = TODAY) -> Mapping[str, int | None]:
    return {name: standing.float_days for name, standing in statuses_of(*events, data_date=on).items()}


def dependents(*events: Event) -> Mapping[str, int]:
    return {name: standing.dependents for name, standing in statuses_of(*events).items()}


class TestFloat:
    """Days that are left before a planned date is passed, on any way there."""

    def test_what_has_no_plan_has_the_room_that_what_follows_leaves(self) -> None:
        # 10 - 2 - 4, and b as far along as it is planned to be.
        assert floats(estimate_date(1, "a/x", 4), plan_date(2, "b/x", 10), declare_dependency(3, "b/x", "a/x", 2)) == {
            "a/x": 4,
            "b/x": 0,
        }

    def test_a_negative_lag_gives_room(self) -> None:
        # 12 + 5 - 10.
        assert (
            floats(estimate_date(1, "a/x", 10), plan_date(2, "b/x", 12), declare_dependency(3, "b/x", "a/x", -5))["a/x"]
            == 7
        )

    def test_lags_add_up_along_a_way_through_what_has_no_plan(self) -> None:
        chain = declare_dependency(2, "b/x", "a/x", 2), declare_dependency(3, "c/x", "b/x", 5)
        # From a: 30 - 5 - 2 - 4; from b, forecast for 6: 30 - 5 - 6.
        assert floats(estimate_date(1, "a/x", 4), *chain, plan_date(4, "c/x", 30)) == {"a/x": 19, "b/x": 19, "c/x": 0}

    def test_of_two_ways_the_tighter_counts(self) -> None:
        diamond = (
            *(declare_dependency(1, "b/x", "a/x", 1), declare_dependency(2, "d/x", "b/x", 1)),
            *(declare_dependency(3, "c/x", "a/x", 5), declare_dependency(4, "d/x", "c/x", 3)),
        )
        # a: 20 - 8 - 3 by way of c; b, forecast for 4: 20 - 1 - 4; c, forecast for 8: 20 - 3 - 8.
        expected = {"a/x": 9, "b/x": 15, "c/x": 9, "d/x": 0}
        assert floats(estimate_date(5, "a/x", 3), plan_date(6, "d/x", 20), *diamond) == expected
        # By way of b there is a plan on the way: 6 - 1 - 3.
        expected = {"a/x": 2, "b/x": 0, "c/x": 9, "d/x": 0}
        assert floats(estimate_date(5, "a/x", 3), plan_date(6, "d/x", 20), plan_date(7, "b/x", 6), *diamond) == expected

    def test_of_ones_own_plan_and_what_follows_the_tighter_counts(self) -> None:
        follows = declare_dependency(3, "b/x", "a/x", 3)
        # Its own: 5 - 4; what follows: 100 - 3 - 4.
        assert floats(plan_date(1, "a/x", 5), plan_date(2, "b/x", 100), follows, estimate_date(4, "a/x", 4))["a/x"] == 1
        # Its own: 10 - 4; what follows: 6 - 3 - 4.
        assert floats(plan_date(1, "a/x", 10), plan_date(2, "b/x", 6), follows, estimate_date(4, "a/x", 4))["a/x"] == -1

    def test_it_is_negative_once_a_planned_date_is_passed(self) -> None:
        slipped = (
            plan_date(1, "a/x", 10),
            plan_date(2, "b/x", 12),
            declare_dependency(3, "b/x", "a/x"),
            estimate_date(4, "a/x", 25),
        )
        # a: its own 10 - 25 is worse than 12 - 25.
        assert floats(*slipped) == {"a/x": -15, "b/x": -13}
        # An estimate of b makes it no better: it cannot come before a.
        assert floats(*slipped, estimate_date(5, "b/x", 11)) == {"a/x": -15, "b/x": -13}

    def test_it_shrinks_with_the_days_that_pass_an_open_milestone(self) -> None:
        events = estimate_date(1, "a/x", 1), plan_date(2, "b/x", 10), declare_dependency(3, "b/x", "a/x", 6)
        days = [floats(*events, on=TODAY + timedelta(days=day)) for day in (0, 1, 2, 4, 5)]
        assert [left["a/x"] for left in days] == [3, 3, 2, 0, -1]
        assert [left["b/x"] for left in days] == [0, 0, 0, 0, -1]

    def test_it_is_what_is_planned_that_counts_not_what_was_at_first(self) -> None:
        assert floats(plan_date(1, "a/x", 5), plan_date(2, "a/x", 9), estimate_date(3, "a/x", 7))["a/x"] == 2

    def test_a_way_ends_at_what_is_done_or_cancelled(self) -> None:
        way = (
            *(estimate_date(1, "a/x", 4), plan_date(2, "b/x", 10), plan_date(3, "c/x", 7)),
            *(declare_dependency(4, "b/x", "a/x"), declare_dependency(5, "c/x", "b/x")),
        )
        assert floats(*way) == {"a/x": 3, "b/x": -3, "c/x": -3}
        assert floats(*way, report_actual(6, "b/x", -1)) == {"a/x": None, "b/x": None, "c/x": 0}
        assert floats(*way, cancel_milestone(6, "b/x")) == {"a/x": None, "b/x": None, "c/x": 0}
        assert floats(*way, withdraw_project(6, "b")) == {"a/x": None, "b/x": None, "c/x": 0}
        assert floats(*way, withdraw_project(6, "b"), register_project(7, "b")) == {"a/x": 3, "b/x": -3, "c/x": -3}
        assert floats(*way, report_actual(6, "c/x", -1)) == {"a/x": 6, "b/x": 0, "c/x": None}

    def test_there_is_none_where_nothing_downstream_is_planned(self) -> None:
        events = (
            estimate_date(1, "b/x", 4),
            declare_dependency(2, "b/x", "a/x"),
            plan_date(3, "a/x", 3),
            declare_dependency(4, "c/x", "b/x"),
        )
        assert floats(*events) == {"a/x": 0, "b/x": None, "c/x": None}

    def test_there_is_none_without_a_forecast(self) -> None:
        assert floats(plan_date(1, "b/x", 4), declare_dependency(2, "b/x", "a/x")) == {"a/x": None, "b/x": 0}

    def test_what_is_set_aside_is_no_way(self) -> None:
        events = (
            estimate_date(1, "a/x", 2),
            plan_date(2, "b/x", 9),
            declare_dependency(3, "a/x", "b/x", -30),
            declare_dependency(4, "b/x", "a/x"),
        )
        assert floats(*events) == {"a/x": None, "b/x": 0}
        # And is one again without the older.
        assert floats(*events, retract_claim(5, 3)) == {"a/x": 7, "b/x": 0}


class TestDependents:
    """Open milestones that wait for one, directly or through others."""

    DIAMOND = (
        declare_dependency(1, "b/x", "a/x"),
        declare_dependency(2, "c/x", "a/x"),
        declare_dependency(3, "d/x", "b/x"),
        declare_dependency(4, "d/x", "c/x"),
    )

    def test_each_counts_once_however_many_ways_lead_to_it(self) -> None:
        assert dependents(*self.DIAMOND) == {"a/x": 3, "b/x": 1, "c/x": 1, "d/x": 0}

    def test_whatever_is_not_done_is_open(self) -> None:
        states = estimate_date(11, "b/x", -2), plan_date(12, "c/x", 1), estimate_date(13, "a/x", 5)
        shown = statuses_of(
            *self.DIAMOND, *states, declare_dependency(14, "e/x", "f/x"), declare_dependency(15, "e/x", "d/x")
        )
        assert [standing.state for standing in shown.values()] == [
            State.PLANNED,
            State.OVERDUE,
            State.BLOCKED,
            State.BLOCKED,
            State.BLOCKED,
            State.UNKNOWN,
        ]
        assert shown["a/x"].dependents == 4
        assert shown["f/x"].dependents == 1

    def test_what_is_done_is_counted_no_more_nor_what_waits_through_it(self) -> None:
        assert dependents(*self.DIAMOND, report_actual(5, "b/x", -1)) == {"a/x": 2, "b/x": 1, "c/x": 1, "d/x": 0}
        done = report_actual(5, "b/x", -1), report_actual(6, "c/x", -1)
        assert dependents(*self.DIAMOND, *done) == {"a/x": 0, "b/x": 1, "c/x": 1, "d/x": 0}
        assert dependents(*self.DIAMOND, report_actual(5, "d/x", -1)) == {"a/x": 2, "b/x": 0, "c/x": 0, "d/x": 0}

    def test_a_gate_that_is_achieved_counts_who_waited_for_it(self) -> None:
        assert dependents(*self.DIAMOND, report_actual(5, "a/x", -1))["a/x"] == 3

    def test_nothing_waits_for_what_is_cancelled_nor_through_it(self) -> None:
        assert dependents(*self.DIAMOND, cancel_milestone(5, "b/x")) == {"a/x": 2, "b/x": 0, "c/x": 1, "d/x": 0}
        assert dependents(*self.DIAMOND, withdraw_project(5, "b")) == {"a/x": 2, "b/x": 0, "c/x": 1, "d/x": 0}
        both = cancel_milestone(5, "b/x"), withdraw_project(6, "c")
        assert dependents(*self.DIAMOND, *both) == {"a/x": 0, "b/x": 0, "c/x": 0, "d/x": 0}
        assert dependents(*self.DIAMOND, report_actual(5, "b/x", -1), cancel_milestone(6, "b/x"))["a/x"] == 2

    def test_what_does_not_hold_or_is_set_aside_is_no_waiting(self) -> None:
        assert dependents(*self.DIAMOND, withdraw_dependency(5, "c/x", "a/x"))["a/x"] == 2
        assert dependents(*self.DIAMOND, declare_dependency(5, "a/x", "d/x")) == {
            "a/x": 3,
            "b/x": 1,
            "c/x": 1,
            "d/x": 0,
        }

    def test_a_long_chain_is_counted_to_its_end(self) -> None:
        names = [f"p/m{number:03}" for number in range(300)]
        chain = [declare_dependency(number, names[number], names[number - 1]) for number in range(1, 300)]
        assert list(dependents(*chain).values()) == list(range(299, -1, -1))
        # Every third of them is done.
        done = [report_actual(1000 + number, names[number], -1) for number in range(0, 300, 3)]
        assert [dependents(*chain, *done)[name] for name in names[:4]] == [2, 1, 0, 2]
