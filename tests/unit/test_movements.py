"""What moved between two pictures of one day and the event behind it, by hand."""

from datetime import date

import pytest

from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import movements
from models.domain.schedule import State, picture
from tests.networks import (
    TODAY,
    achieved,
    ahead,
    cancelled,
    estimated,
    facts_of,
    moved,
    movements_by,
    planned,
    registered,
    retracted,
    stamp,
    standings,
    waits,
    waits_no_more,
    withdrawn,
)

# Two tenants wait for a park, one of them with time to spare, and a shop waits for the other.
PARK = [planned(1, "park/open", 10), waits(2, "inn/open", "park/open", 2), waits(3, "mill/open", "park/open", 5)]
TENANTS = [planned(4, "inn/open", 12), planned(5, "mill/open", 30), waits(6, "shop/open", "inn/open")]
PLAN = PARK + TENANTS


def test_nothing_new_moves_nothing() -> None:
    assert moved([], []) == []
    assert moved(PLAN, []) == []


def test_what_is_heard_of_first_moves_from_nowhere() -> None:
    assert moved([], [planned(1, "park/open", 10)]) == [("park/open", None, 10, 1)]
    # Of the milestones without a date only those have moved that others give one.
    assert moved([], [planned(1, "a/x", 1), waits(2, "b/x", "a/x"), waits(3, "d/x", "c/x")]) == [
        ("a/x", None, 1, 1),
        ("b/x", None, 1, 2),
    ]


def test_a_gate_slips_and_all_that_it_moves_has_its_estimate_for_the_cause() -> None:
    [park, mill, inn, shop] = movements_by(PLAN, [estimated(7, "park/open", 26)])
    shown = standings(*PLAN, estimated(7, "park/open", 26))
    for movement, days, driver in (
        (park, (10, 26), None),
        (inn, (12, 28), "park/open"),
        (mill, (30, 31), "park/open"),
        (shop, (12, 28), "inn/open"),
    ):
        standing = shown["/".join(movement.milestone[1:])]
        assert (ahead(movement.was), ahead(movement.becomes)) == days
        assert (str(movement.driver) if movement.driver else None) == driver
        assert movement[3:6] == (standing.slip_days, standing.state, standing.driver)
        assert (movement.dependents, movement.cause) == (None, stamp(7))
    assert [movement.slip_days for movement in (park, inn, mill, shop)] == [16, 16, 1, None]
    assert (park.state, inn.state) == (State.SLIPPING, State.BLOCKED)


def test_what_has_room_does_not_move() -> None:
    assert moved(PLAN, [estimated(7, "park/open", 25)]) == [
        ("park/open", 10, 25, 7),
        ("inn/open", 12, 27, 7),
        ("shop/open", 12, 27, 7),
    ]


def test_a_claim_that_changes_no_forecast_is_no_movement() -> None:
    assert moved(PLAN, [estimated(7, "park/open", 10), planned(8, "mill/open", 30)]) == []
    # Slip and float change, the forecast does not.
    assert moved([*PLAN, estimated(9, "park/open", 20)], [planned(8, "park/open", 15)]) == []
    assert moved(PLAN, [cancelled(7, "mill/open")]) == []
    assert moved(PLAN, [registered(7, "park"), withdrawn(8, "mill")]) == []


def test_what_is_taken_back_has_the_retraction_for_the_cause() -> None:
    slipped = [*PLAN, estimated(7, "park/open", 20)]
    assert moved(slipped, [retracted(8, 7)]) == [
        ("park/open", 20, 10, 8),
        ("inn/open", 22, 12, 8),
        ("shop/open", 22, 12, 8),
    ]
    # Also where an older claim comes to the fore again.
    assert moved([*slipped, estimated(9, "park/open", 40)], [retracted(10, 9)])[0] == ("park/open", 40, 20, 10)
    assert moved([*slipped, planned(9, "park/open", 40)], [retracted(10, 9)])[0] == ("park/open", 40, 20, 10)
    # And where the retraction is itself said to be older than that.
    assert moved([*slipped, estimated(19, "park/open", 40)], [retracted(6 + 2, 19)])[0] == ("park/open", 40, 20, 8)


def test_what_was_never_counted_moves_nothing_when_it_is_taken_back() -> None:
    assert moved(PLAN, [estimated(7, "park/open", 20), retracted(8, 7)]) == []
    assert moved(PLAN, [retracted(8, 99)]) == []


def test_of_something_new_and_something_taken_back_the_one_that_decides_is_the_cause() -> None:
    before = [planned(1, "a/x", 10), estimated(5, "a/x", 20)]
    assert moved(before, [retracted(7, 5), estimated(6, "a/x", 30)]) == [("a/x", 20, 30, 6)]
    # A plan that is older than the estimate decides only since that was taken back.
    assert moved(before, [retracted(7, 5), planned(4, "a/x", 30)]) == [("a/x", 20, 30, 7)]


def test_a_dependency_is_declared_changed_and_withdrawn() -> None:
    before = [planned(1, "a/x", 10), planned(2, "b/x", 5)]
    assert moved(before, [waits(3, "b/x", "a/x")]) == [("b/x", 5, 10, 3)]
    before.append(waits(3, "b/x", "a/x"))
    assert moved(before, [waits(4, "b/x", "a/x", 7)]) == [("b/x", 10, 17, 4)]
    assert moved(before, [waits_no_more(4, "b/x", "a/x")]) == [("b/x", 10, 5, 4)]
    assert moved(before, [retracted(4, 3)]) == [("b/x", 10, 5, 4)]
    # An older withdrawal, heard late, changes nothing; what takes back a withdrawal brings the dependency back.
    assert moved(before, [waits_no_more(0, "b/x", "a/x")]) == []
    assert moved([*before, waits_no_more(4, "b/x", "a/x")], [retracted(5, 4)]) == [("b/x", 5, 10, 5)]


class TestAchievements:
    """Milestones that are done, whether or not their forecast moves by it."""

    def test_one_on_its_day_is_a_movement_that_does_not_move(self) -> None:
        [park] = movements_by(PLAN, [achieved(7, "park/open", 10)])
        assert (park.was, park.becomes) == (date(2026, 3, 20), date(2026, 3, 20))
        assert (park.slip_days, park.state, park.driver) == (0, State.ACHIEVED, None)
        assert (park.dependents, park.cause) == (3, stamp(7))

    def test_one_on_another_day_moves_too(self) -> None:
        between = movements_by(PLAN, [achieved(7, "park/open", -2), achieved(8, "shop/open", -1)])
        told = {each.milestone[1]: each for each in between}
        # The shop, done before the inn that it should have waited for, is no longer among those that wait.
        assert {name: each.dependents for name, each in told.items()} == {"park": 2, "shop": 0}
        assert [each.cause for each in told.values()] == [stamp(7), stamp(8)]

    def test_another_actual_date_moves_and_achieves_nothing_anew(self) -> None:
        [park] = movements_by([*PLAN, achieved(7, "park/open", -2)], [achieved(8, "park/open", -3)])
        assert (ahead(park.was), ahead(park.becomes), park.dependents, park.cause) == (-2, -3, None, stamp(8))

    def test_one_that_is_taken_back(self) -> None:
        before = [*PLAN, achieved(7, "park/open", 20)]
        assert moved(PLAN, [achieved(7, "park/open", 20)])[0] == ("park/open", 10, 20, 7)
        assert moved(before, [retracted(8, 7)]) == [
            ("park/open", 20, 10, 8),
            ("inn/open", 22, 12, 8),
            ("shop/open", 22, 12, 8),
        ]
        # Though what is estimated since is newer, and decides now, it is no news.
        before.append(estimated(9, "park/open", 15))
        assert moved(before, [retracted(10, 7)])[0] == ("park/open", 20, 15, 10)

    def test_what_is_estimated_of_what_is_done_is_not_the_cause(self) -> None:
        assert moved(PLAN, [achieved(7, "mill/open", -2), estimated(8, "mill/open", 90)]) == [("mill/open", 30, -2, 7)]
        before = [*PLAN, achieved(7, "mill/open", -2)]
        new = [achieved(8, "mill/open", -3), estimated(9, "mill/open", 90)]
        assert moved(before, new) == [("mill/open", -2, -3, 8)]

    def test_the_gate_that_takes_over_from_an_actual_date_is_not_the_cause(self) -> None:
        before = [*PLAN, achieved(7, "inn/open", -2)]
        assert moved(before, [retracted(8, 7), estimated(9, "park/open", 20)]) == [
            ("park/open", 10, 20, 9),
            ("inn/open", -2, 22, 8),
            ("shop/open", 0, 22, 8),
        ]

    @pytest.mark.parametrize(
        ("ended", "revived"),
        [
            (withdrawn(8, "park"), registered(9, "park")),
            (withdrawn(8, "park"), retracted(9, 8)),
            (cancelled(8, "park/open"), retracted(9, 8)),
            (cancelled(8, "park/open"), planned(9, "park/open", 3)),
        ],
    )
    def test_what_is_revived_is_achieved_again_by_what_revives_it(self, ended: Event, revived: Event) -> None:
        before = [*PLAN, achieved(7, "park/open", -2), ended]
        assert moved(before, [revived]) == [("park/open", -2, -2, 9)]
        # Whatever else is said meanwhile.
        assert moved(before, [revived, waits(10, "mill/open", "shop/open", -90)]) == [("park/open", -2, -2, 9)]


def test_what_is_no_longer_named_has_no_forecast_any_more() -> None:
    before = [planned(1, "a/x", 10), waits(2, "b/x", "a/x"), planned(3, "c/x", 3)]
    [gone] = movements_by(before, [retracted(4, 2)])
    assert gone == (("north", "b", "x"), date(2026, 3, 20), None, None, State.UNKNOWN, None, None, stamp(4))
    # One that goes, and one that stays because it is waited for.
    assert moved(before, [retracted(4, 3), retracted(5, 1)]) == [
        ("a/x", 10, None, 5),
        ("b/x", 10, None, 5),
        ("c/x", 3, None, 4),
    ]


def test_that_the_day_changed_is_no_movement() -> None:
    # A day later the overdue park pushes what waits for it; both pictures are of that day.
    late = [*PLAN, estimated(7, "park/open", 0)]
    tomorrow = date(2026, 3, 11)
    assert standings(*late)["park/open"].forecast != standings(*late, on=tomorrow)["park/open"].forecast
    assert moved(late, [], on=tomorrow) == []
    # What an event moves on that day is told from where it stood on that day.
    assert moved(late, [estimated(8, "park/open", 11)], on=tomorrow)[0] == ("park/open", 1, 11, 8)


def test_what_moved_past_the_events_is_no_movement_but_is_said() -> None:
    then, now = facts_of(planned(1, "a/x", 3)), facts_of()
    moved_by_hand = movements((then, picture(then, TODAY)), (now, picture(now, TODAY)), {})
    assert moved_by_hand == ([], [MilestoneKey("north", "a", "x")])
