"""Which gates hold others up: one thing to look at for each, whoever waits for it and through whom."""

from datetime import timedelta

from models.domain.claims import Facts
from models.domain.impact import DelayRoot, delay_roots, measure_impacts
from models.domain.schedule import State, compute_schedule
from tests.helpers.networks import (
    TODAY,
    cancel_milestone,
    declare_dependency,
    estimate_date,
    facts_of,
    plan_date,
    report_actual,
)

PARK = [plan_date(1, "park/open", 10), estimate_date(2, "park/open", 30)]
LAUNCH = [plan_date(3, "one/launch", 40), declare_dependency(4, "one/launch", "park/open", 30)]


def held_up(facts: Facts) -> list[tuple[str, list[tuple[str, int | None]]]]:
    """Give each gate, and by how much those slipped that it holds up."""
    return [(str(one.gate.ref), [(str(stand.ref), stand.slip_days) for stand in one.moved]) for one in roots_of(facts)]


def roots_of(facts: Facts) -> list[DelayRoot]:
    statuses = compute_schedule(facts, TODAY).statuses
    return delay_roots(statuses, measure_impacts(statuses, facts.projects))


def test_a_late_gate_holds_up_all_whose_dates_it_sets_the_latest_first() -> None:
    other = [plan_date(5, "two/launch", 35), declare_dependency(6, "two/launch", "park/open", 30)]

    assert held_up(facts_of(*PARK, *LAUNCH, *other)) == [("park/open", [("two/launch", 25), ("one/launch", 20)])]


def test_what_waits_through_another_is_held_up_by_the_root() -> None:
    chain = [plan_date(5, "one/sale", 50), declare_dependency(6, "one/sale", "one/launch", 10)]

    assert held_up(facts_of(*PARK, *LAUNCH, *chain)) == [("park/open", [("one/launch", 20), ("one/sale", 20)])]


def test_a_late_milestone_with_time_to_spare_behind_it_holds_up_nobody() -> None:
    assert (
        held_up(facts_of(*PARK, plan_date(3, "one/launch", 90), declare_dependency(4, "one/launch", "park/open", 30)))
        == []
    )


def test_who_has_slack_behind_a_late_gate_is_not_held_up() -> None:
    patient = [plan_date(5, "two/launch", 400), declare_dependency(6, "two/launch", "park/open", 30)]

    assert held_up(facts_of(*PARK, *LAUNCH, *patient)) == [("park/open", [("one/launch", 20)])]


def test_an_overdue_gate_without_a_slip_yet_is_late() -> None:
    [one] = roots_of(
        facts_of(
            plan_date(1, "park/open", -1),
            plan_date(2, "one/launch", 5),
            declare_dependency(3, "one/launch", "park/open", 9),
        )
    )

    assert (one.gate.state, one.gate.is_late, len(one.moved)) == (State.OVERDUE, True, 1)


def test_what_was_reached_late_still_holds_up_what_comes_after_it() -> None:
    done = report_actual(5, "park/open", -1)
    facts = facts_of(
        plan_date(1, "park/open", -30),
        done,
        plan_date(3, "one/launch", 10),
        declare_dependency(4, "one/launch", "park/open", 30),
    )

    [one] = roots_of(facts)

    assert (one.gate.state, [stand.slip_days for stand in one.moved]) == (State.ACHIEVED, [19])


def test_what_is_cancelled_neither_holds_up_nor_is_held_up() -> None:
    assert held_up(facts_of(*PARK, *LAUNCH, cancel_milestone(9, "one/launch"))) == []
    assert held_up(facts_of(*PARK, *LAUNCH, cancel_milestone(9, "park/open"))) == []


def test_the_gate_that_makes_most_late_comes_first() -> None:
    small = [
        plan_date(10, "a/gate", 1),
        estimate_date(11, "a/gate", 99),
        plan_date(12, "a/next", 5),
        declare_dependency(13, "a/next", "a/gate"),
    ]
    more = [plan_date(5, "two/launch", 35), declare_dependency(6, "two/launch", "park/open", 30)]

    assert [name for name, _ in held_up(facts_of(*PARK, *LAUNCH, *more, *small))] == ["park/open", "a/gate"]


def test_gates_and_what_they_drive_stand_in_the_order_of_rows_where_nothing_else_decides() -> None:
    events, number = [], 1
    for lot in ("lot-10", "lot-2"):
        events += [plan_date(number, f"{lot}/gate", 1), estimate_date(number + 1, f"{lot}/gate", 20)]
        for milestone in ("hall-10", "hall-9"):
            number += 2
            events += [plan_date(number, f"{lot}/{milestone}", 5)]
            events += [declare_dependency(number + 1, f"{lot}/{milestone}", f"{lot}/gate")]
        number += 2

    assert [
        (name, [str(stand.ref) for stand in root.moved])
        for root in roots_of(facts_of(*events))
        for name in [str(root.gate.ref)]
    ] == [
        ("lot-2/gate", ["lot-2/hall-9", "lot-2/hall-10"]),
        ("lot-10/gate", ["lot-10/hall-9", "lot-10/hall-10"]),
    ]


def test_the_baseline_of_a_gate_is_where_it_was_first_planned() -> None:
    [one] = roots_of(facts_of(*PARK, *LAUNCH))

    assert (one.gate.baseline, one.gate.forecast) == (TODAY + timedelta(days=10), TODAY + timedelta(days=30))
