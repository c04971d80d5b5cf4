"""What moved between two pictures of one day and the event behind it, by hand."""

from datetime import date

import pytest

from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import diff_schedules
from models.domain.schedule import State, compute_schedule
from tests.helpers.networks import (
    TODAY,
    brief_changes,
    cancel_milestone,
    days_from_today,
    declare_dependency,
    estimate_date,
    facts_of,
    forecast_changes_by,
    plan_date,
    register_project,
    report_actual,
    retract_claim,
    stamp_of,
    statuses_of,
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


def test_nothing_new_moves_nothing() -> None:
    assert brief_changes([], []) == []
    assert brief_changes(PLAN, []) == []


def test_what_is_heard_of_first_moves_from_nowhere() -> None:
    assert brief_changes([], [plan_date(1, "park/open", 10)]) == [("park/open", None, 10, 1)]
    # Of the milestones without a date only those have moved that others give one.
    assert brief_changes(
        [], [plan_date(1, "a/x", 1), declare_dependency(2, "b/x", "a/x"), declare_dependency(3, "d/x", "c/x")]
    ) == [
        ("a/x", None, 1, 1),
        ("b/x", None, 1, 2),
    ]


def test_a_gate_slips_and_all_that_it_moves_has_its_estimate_for_the_cause() -> None:
    [park, mill, inn, shop] = forecast_changes_by(PLAN, [estimate_date(7, "park/open", 26)])
    shown = statuses_of(*PLAN, estimate_date(7, "park/open", 26))
    for movement, days, driver in (
        (park, (10, 26), None),
        (inn, (12, 28), "park/open"),
        (mill, (30, 31), "park/open"),
        (shop, (12, 28), "inn/open"),
    ):
        standing = shown["/".join(movement.milestone[1:])]
        assert (days_from_today(movement.previous), days_from_today(movement.current)) == days
        assert (str(movement.driver) if movement.driver else None) == driver
        assert movement[3:6] == (standing.slip_days, standing.state, standing.driver)
        assert (movement.dependents, movement.cause) == (None, stamp_of(7))
    assert [movement.slip_days for movement in (park, inn, mill, shop)] == [16, 16, 1, None]
    assert (park.state, inn.state) == (State.SLIPPING, State.BLOCKED)


def test_what_has_room_does_not_move() -> None:
    assert brief_changes(PLAN, [estimate_date(7, "park/open", 25)]) == [
        ("park/open", 10, 25, 7),
        ("inn/open", 12, 27, 7),
        ("shop/open", 12, 27, 7),
    ]


def test_a_claim_that_changes_no_forecast_is_no_movement() -> None:
    assert brief_changes(PLAN, [estimate_date(7, "park/open", 10), plan_date(8, "mill/open", 30)]) == []
    # Slip and float change, the forecast does not.
    assert brief_changes([*PLAN, estimate_date(9, "park/open", 20)], [plan_date(8, "park/open", 15)]) == []
    assert brief_changes(PLAN, [register_project(7, "park")]) == []


def test_what_is_cancelled_or_withdrawn_loses_its_forecast_and_what_revives_it_gives_it_back() -> None:
    ends = [cancel_milestone(7, "inn/open"), withdraw_project(7, "inn")]
    for end in ends:
        inn, shop = forecast_changes_by([*PLAN, plan_date(0, "shop/open", 1)], [end])
        assert (inn.milestone, days_from_today(inn.previous)) == (("north", "inn", "open"), 12)
        assert inn[2:] == (None, None, State.CANCELLED, None, None, stamp_of(7))
        assert (shop.driver, days_from_today(shop.current), shop.cause) == (None, 1, stamp_of(7))
    # What drives it again, and what else is said of it, is not what gave the forecast back.
    new = [retract_claim(8, 7), estimate_date(9, "park/open", 20)]
    assert brief_changes([*PLAN, ends[0]], new)[1:] == [("inn/open", None, 22, 8), ("shop/open", None, 22, 8)]
    assert brief_changes([*PLAN, ends[1]], [register_project(9, "inn"), plan_date(8, "inn/open", 30)]) == [
        ("inn/open", None, 30, 9),
        ("shop/open", None, 30, 9),
    ]
    assert brief_changes([*PLAN, *ends[:1]], [withdraw_project(9, "inn")]) == []


def test_what_was_achieved_and_is_cancelled_has_no_forecast_any_more() -> None:
    before = [*PLAN, report_actual(7, "mill/open", -2)]
    assert brief_changes(before, [cancel_milestone(9, "mill/open")]) == [("mill/open", -2, None, 9)]
    new = [report_actual(8, "mill/open", -3), withdraw_project(9, "mill")]
    assert brief_changes(before, new) == [("mill/open", -2, None, 9)]


def test_what_is_taken_back_has_the_retraction_for_the_cause() -> None:
    slipped = [*PLAN, estimate_date(7, "park/open", 20)]
    assert brief_changes(slipped, [retract_claim(8, 7)]) == [
        ("park/open", 20, 10, 8),
        ("inn/open", 22, 12, 8),
        ("shop/open", 22, 12, 8),
    ]
    # Also where an older claim comes to the fore again.
    assert brief_changes([*slipped, estimate_date(9, "park/open", 40)], [retract_claim(10, 9)])[0] == (
        "park/open",
        40,
        20,
        10,
    )
    assert brief_changes([*slipped, plan_date(9, "park/open", 40)], [retract_claim(10, 9)])[0] == (
        "park/open",
        40,
        20,
        10,
    )
    # And where the retraction is itself said to be older than that.
    assert brief_changes([*slipped, estimate_date(19, "park/open", 40)], [retract_claim(6 + 2, 19)])[0] == (
        "park/open",
        40,
        20,
        8,
    )


def test_what_was_never_counted_moves_nothing_when_it_is_taken_back() -> None:
    assert brief_changes(PLAN, [estimate_date(7, "park/open", 20), retract_claim(8, 7)]) == []
    assert brief_changes(PLAN, [retract_claim(8, 99)]) == []


def test_of_something_new_and_something_taken_back_the_one_that_decides_is_the_cause() -> None:
    before = [plan_date(1, "a/x", 10), estimate_date(5, "a/x", 20)]
    assert brief_changes(before, [retract_claim(7, 5), estimate_date(6, "a/x", 30)]) == [("a/x", 20, 30, 6)]
    # A plan that is older than the estimate decides only since that was taken back.
    assert brief_changes(before, [retract_claim(7, 5), plan_date(4, "a/x", 30)]) == [("a/x", 20, 30, 7)]


def test_a_dependency_is_declared_changed_and_withdrawn() -> None:
    before = [plan_date(1, "a/x", 10), plan_date(2, "b/x", 5)]
    assert brief_changes(before, [declare_dependency(3, "b/x", "a/x")]) == [("b/x", 5, 10, 3)]
    before.append(declare_dependency(3, "b/x", "a/x"))
    assert brief_changes(before, [declare_dependency(4, "b/x", "a/x", 7)]) == [("b/x", 10, 17, 4)]
    assert brief_changes(before, [withdraw_dependency(4, "b/x", "a/x")]) == [("b/x", 10, 5, 4)]
    assert brief_changes(before, [retract_claim(4, 3)]) == [("b/x", 10, 5, 4)]
    # An older withdrawal, heard late, changes nothing; what takes back a withdrawal brings the dependency back.
    assert brief_changes(before, [withdraw_dependency(0, "b/x", "a/x")]) == []
    assert brief_changes([*before, withdraw_dependency(4, "b/x", "a/x")], [retract_claim(5, 4)]) == [("b/x", 5, 10, 5)]


class TestAchievements:
    """Milestones that are done, whether or not their forecast moves by it."""

    def test_one_on_its_day_is_a_movement_that_does_not_move(self) -> None:
        [park] = forecast_changes_by(PLAN, [report_actual(7, "park/open", 10)])
        assert (park.previous, park.current) == (date(2026, 3, 20), date(2026, 3, 20))
        assert (park.slip_days, park.state, park.driver) == (0, State.ACHIEVED, None)
        assert (park.dependents, park.cause) == (3, stamp_of(7))

    def test_one_on_another_day_moves_too(self) -> None:
        between = forecast_changes_by(PLAN, [report_actual(7, "park/open", -2), report_actual(8, "shop/open", -1)])
        told = {each.milestone[1]: each for each in between}
        # The shop, done before the inn that it should have waited for, is no longer among those that wait.
        assert {name: each.dependents for name, each in told.items()} == {"park": 2, "shop": 0}
        assert [each.cause for each in told.values()] == [stamp_of(7), stamp_of(8)]

    def test_another_actual_date_moves_and_achieves_nothing_again(self) -> None:
        [park] = forecast_changes_by([*PLAN, report_actual(7, "park/open", -2)], [report_actual(8, "park/open", -3)])
        assert (days_from_today(park.previous), days_from_today(park.current), park.dependents, park.cause) == (
            -2,
            -3,
            None,
            stamp_of(8),
        )

    def test_one_that_is_taken_back(self) -> None:
        before = [*PLAN, report_actual(7, "park/open", 20)]
        assert brief_changes(PLAN, [report_actual(7, "park/open", 20)])[0] == ("park/open", 10, 20, 7)
        assert brief_changes(before, [retract_claim(8, 7)]) == [
            ("park/open", 20, 10, 8),
            ("inn/open", 22, 12, 8),
            ("shop/open", 22, 12, 8),
        ]
        # Though what is estimated since is newer, and decides now, it is no news.
        before.append(estimate_date(9, "park/open", 15))
        assert brief_changes(before, [retract_claim(10, 7)])[0] == ("park/open", 20, 15, 10)

    def test_what_is_estimated_of_what_is_done_is_not_the_cause(self) -> None:
        assert brief_changes(PLAN, [report_actual(7, "mill/open", -2), estimate_date(8, "mill/open", 90)]) == [
            ("mill/open", 30, -2, 7)
        ]
        before = [*PLAN, report_actual(7, "mill/open", -2)]
        new = [report_actual(8, "mill/open", -3), estimate_date(9, "mill/open", 90)]
        assert brief_changes(before, new) == [("mill/open", -2, -3, 8)]

    def test_the_gate_that_takes_over_from_an_actual_date_is_not_the_cause(self) -> None:
        before = [*PLAN, report_actual(7, "inn/open", -2)]
        assert brief_changes(before, [retract_claim(8, 7), estimate_date(9, "park/open", 20)]) == [
            ("park/open", 10, 20, 9),
            ("inn/open", -2, 22, 8),
            ("shop/open", 0, 22, 8),
        ]

    @pytest.mark.parametrize(
        ("ended", "revived"),
        [
            (withdraw_project(8, "park"), register_project(9, "park")),
            (withdraw_project(8, "park"), retract_claim(9, 8)),
            (cancel_milestone(8, "park/open"), retract_claim(9, 8)),
            (cancel_milestone(8, "park/open"), plan_date(9, "park/open", 3)),
        ],
    )
    def test_what_is_revived_is_achieved_again_by_what_revives_it(self, ended: Event, revived: Event) -> None:
        before = [*PLAN, report_actual(7, "park/open", -2), ended]
        assert brief_changes(before, [revived]) == [("park/open", None, -2, 9)]
        # Whatever else is said meanwhile.
        assert brief_changes(before, [revived, declare_dependency(10, "mill/open", "shop/open", -90)]) == [
            ("park/open", None, -2, 9)
        ]


def test_what_is_no_longer_named_has_no_forecast_any_more() -> None:
    before = [plan_date(1, "a/x", 10), declare_dependency(2, "b/x", "a/x"), plan_date(3, "c/x", 3)]
    [gone] = forecast_changes_by(before, [retract_claim(4, 2)])
    assert gone == (("north", "b", "x"), date(2026, 3, 20), None, None, State.UNKNOWN, None, None, stamp_of(4))
    # One that goes, and one that stays because it is waited for.
    assert brief_changes(before, [retract_claim(4, 3), retract_claim(5, 1)]) == [
        ("a/x", 10, None, 5),
        ("b/x", 10, None, 5),
        ("c/x", 3, None, 4),
    ]


def test_that_the_day_changed_is_no_movement() -> None:
    # A day later the overdue park pushes what waits for it; both pictures are of that day.
    late = [*PLAN, estimate_date(7, "park/open", 0)]
    tomorrow = date(2026, 3, 11)
    assert statuses_of(*late)["park/open"].forecast != statuses_of(*late, data_date=tomorrow)["park/open"].forecast
    assert brief_changes(late, [], data_date=tomorrow) == []
    # What an event moves on that day is told from where it stood on that day.
    assert brief_changes(late, [estimate_date(8, "park/open", 11)], data_date=tomorrow)[0] == ("park/open", 1, 11, 8)


def test_what_moved_past_the_events_is_no_movement_but_is_said() -> None:
    then, now = facts_of(plan_date(1, "a/x", 3)), facts_of()
    moved_by_hand = diff_schedules((then, compute_schedule(then, TODAY)), (now, compute_schedule(now, TODAY)), {})
    assert moved_by_hand == ([], [MilestoneKey("north", "a", "x")])
