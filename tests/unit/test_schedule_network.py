"""What waits for something else, by hand: forecasts through dependencies, what drives them, the states they give."""

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from models.domain.events import Event
from models.domain.schedule import MilestoneRef, MilestoneStatus, State, compute_schedule
from tests.helpers.networks import (
    TODAY,
    cancel_milestone,
    days_from_today,
    declare_dependency,
    dependency_key,
    estimate_date,
    facts_of,
    plan_date,
    register_project,
    report_actual,
    retract_claim,
    statuses_of,
    withdraw_dependency,
    withdraw_project,
)

StatusSummary = tuple[int | None, str | None, State]


def summary_of(standing: MilestoneStatus) -> StatusSummary:
    """Give forecast (days from today), driver and state."""
    return days_from_today(standing.forecast), str(standing.driver) if standing.driver else None, standing.state


def summaries_of(shown: Mapping[str, MilestoneStatus]) -> dict[str, StatusSummary]:
    return {name: summary_of(standing) for name, standing in shown.items()}


@pytest.mark.parametrize(
    ("lag_days", "expected"),
    [
        (0, (10, "park/gate", State.BLOCKED)),
        (3, (13, "park/gate", State.BLOCKED)),
        (3650, (3660, "park/gate", State.BLOCKED)),
        (-4, (6, "park/gate", State.BLOCKED)),
        # What comes no later than one's own date drives nothing.
        (-5, (5, None, State.PLANNED)),
        (-6, (5, None, State.PLANNED)),
        (-3650, (5, None, State.PLANNED)),
    ],
)
def test_a_milestone_comes_no_earlier_than_so_many_days_after_its_gate(lag_days: int, expected: StatusSummary) -> None:
    shown = statuses_of(
        plan_date(1, "park/gate", 10),
        plan_date(2, "wharf/x", 5),
        declare_dependency(3, "wharf/x", "park/gate", lag_days),
    )
    assert summary_of(shown["park/gate"]) == (10, None, State.PLANNED)
    assert summary_of(shown["wharf/x"]) == expected


def test_a_slip_goes_down_a_chain_and_every_link_names_the_one_before() -> None:
    plan = [plan_date(1, "a/x", 2), plan_date(2, "b/x", 5), plan_date(3, "c/x", 9)]
    chain = [declare_dependency(4, "b/x", "a/x", 3), declare_dependency(5, "c/x", "b/x", 4)]
    # As planned everything fits, with nothing to spare.
    assert summaries_of(statuses_of(*plan, *chain)) == {
        "a/x": (2, None, State.PLANNED),
        "b/x": (5, None, State.PLANNED),
        "c/x": (9, None, State.PLANNED),
    }
    late = statuses_of(*plan, *chain, estimate_date(6, "a/x", 10))
    assert summaries_of(late) == {
        "a/x": (10, None, State.SLIPPING),
        "b/x": (13, "a/x", State.BLOCKED),
        "c/x": (17, "b/x", State.BLOCKED),
    }
    assert [standing.slip_days for standing in late.values()] == [8, 8, 8]
    # What has room takes up a part of it.
    roomy = statuses_of(*plan, *chain, estimate_date(6, "a/x", 10), estimate_date(7, "c/x", 16))
    assert (summary_of(roomy["c/x"]), roomy["c/x"].slip_days) == ((17, "b/x", State.BLOCKED), 8)
    roomy = statuses_of(*plan, *chain, estimate_date(6, "a/x", 10), estimate_date(7, "c/x", 18))
    assert (summary_of(roomy["c/x"]), roomy["c/x"].slip_days) == ((18, None, State.SLIPPING), 9)


def test_of_several_gates_the_latest_drives() -> None:
    shown = statuses_of(
        *(plan_date(1, "a/x", 8), declare_dependency(2, "d/x", "a/x", 1)),
        *(plan_date(3, "b/x", 5), declare_dependency(4, "d/x", "b/x", 5)),
        *(plan_date(5, "c/x", 20), declare_dependency(6, "d/x", "c/x", -11)),
        plan_date(7, "d/x", 2),
    )
    assert summary_of(shown["d/x"]) == (10, "b/x", State.BLOCKED)


def test_of_gates_that_set_the_same_date_the_first_by_project_and_milestone_drives() -> None:
    shown = statuses_of(
        *(plan_date(1, "ab/a", 10), declare_dependency(2, "d/x", "ab/a")),
        *(plan_date(3, "a.b/y", 7), declare_dependency(4, "d/x", "a.b/y", 3)),
        *(plan_date(5, "a.b/x", 12), declare_dependency(6, "d/x", "a.b/x", -2)),
        plan_date(7, "d/x", 2),
    )
    assert summary_of(shown["d/x"]) == (10, "a.b/x", State.BLOCKED)
    assert shown["d/x"].driver == MilestoneRef("a.b", "x")


def test_nothing_drives_a_forecast_that_is_the_data_date_anyway() -> None:
    gate, follower = report_actual(1, "a/x", -3), declare_dependency(2, "b/x", "a/x", 3)
    assert summary_of(statuses_of(gate, follower)["b/x"]) == (0, None, State.PLANNED)
    assert summary_of(statuses_of(gate, follower, plan_date(3, "b/x", -1))["b/x"]) == (0, None, State.OVERDUE)
    a_day_before = TODAY - timedelta(days=1)
    assert summary_of(statuses_of(gate, follower, data_date=a_day_before)["b/x"]) == (0, "a/x", State.BLOCKED)


GATE, HALL = plan_date(1, "a/x", 10), [plan_date(2, "b/x", 5), declare_dependency(3, "b/x", "a/x")]


@pytest.mark.parametrize(
    ("why", "events", "expected"),
    [
        ("it is cancelled", [cancel_milestone(4, "a/x")], (5, None, State.PLANNED)),
        (
            "it is cancelled and planned anew",
            [cancel_milestone(4, "a/x"), plan_date(5, "a/x", 8)],
            (8, "a/x", State.BLOCKED),
        ),
        ("its project is withdrawn", [withdraw_project(4, "a")], (5, None, State.PLANNED)),
        ("its project is back", [withdraw_project(4, "a"), register_project(5, "a")], (10, "a/x", State.BLOCKED)),
        (
            "it was done, and is cancelled all the same",
            [report_actual(4, "a/x", 9), cancel_milestone(5, "a/x")],
            (5, None, State.PLANNED),
        ),
        ("it has no forecast", [retract_claim(4, 1)], (5, None, State.PLANNED)),
        ("it is waited for no more", [withdraw_dependency(4, "b/x", "a/x")], (5, None, State.PLANNED)),
        ("it was never said to be waited for", [retract_claim(4, 3)], (5, None, State.PLANNED)),
        ("what waits is done", [report_actual(4, "b/x", -1)], (-1, None, State.ACHIEVED)),
        ("what waits is done tomorrow", [report_actual(4, "b/x", 1)], (1, None, State.ACHIEVED)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gate_has_no_say_or_again_one_when(why: str, events: list[Event], expected: StatusSummary) -> None:
    assert summary_of(statuses_of(GATE, *HALL)["b/x"]) == (10, "a/x", State.BLOCKED)
    assert summary_of(statuses_of(GATE, *HALL, *events)["b/x"]) == expected, why


def test_without_the_gate_that_drove_it_the_next_does() -> None:
    other = [plan_date(4, "c/x", 7), declare_dependency(5, "b/x", "c/x")]
    assert summary_of(statuses_of(GATE, *HALL, *other)["b/x"]) == (10, "a/x", State.BLOCKED)
    assert summary_of(statuses_of(GATE, *HALL, *other, cancel_milestone(6, "a/x"))["b/x"]) == (7, "c/x", State.BLOCKED)


def test_what_is_cancelled_has_neither_forecast_nor_driver_and_drives_nothing() -> None:
    shown = statuses_of(
        GATE, *HALL, plan_date(4, "c/x", 6), declare_dependency(5, "c/x", "b/x"), cancel_milestone(6, "b/x")
    )
    assert summary_of(shown["b/x"]) == (None, None, State.CANCELLED)
    assert summary_of(shown["c/x"]) == (6, None, State.PLANNED)


class TestWithoutADateOfItsOwn:
    """A milestone that nobody gave a date to."""

    def test_comes_when_its_gates_let_it(self) -> None:
        shown = statuses_of(
            plan_date(1, "a/x", 10), declare_dependency(2, "b/x", "a/x", 2), declare_dependency(3, "c/x", "b/x", -1)
        )
        assert summary_of(shown["b/x"]) == (12, "a/x", State.BLOCKED)
        assert summary_of(shown["c/x"]) == (11, "b/x", State.BLOCKED)
        assert (shown["b/x"].slip_days, shown["b/x"].float_days) == (None, None)

    def test_comes_today_when_they_let_it_earlier(self) -> None:
        shown = statuses_of(report_actual(1, "a/x", -30), declare_dependency(2, "b/x", "a/x", 2))
        assert summary_of(shown["b/x"]) == (0, None, State.PLANNED)

    def test_is_unknown_when_they_are(self) -> None:
        shown = statuses_of(declare_dependency(1, "b/x", "a/x", 2), declare_dependency(2, "c/x", "b/x"))
        assert set(summaries_of(shown).values()) == {(None, None, State.UNKNOWN)}

    def test_is_unknown_when_all_that_are_known_are_cancelled(self) -> None:
        shown = statuses_of(plan_date(1, "a/x", 10), declare_dependency(2, "b/x", "a/x"), cancel_milestone(3, "a/x"))
        assert summary_of(shown["b/x"]) == (None, None, State.UNKNOWN)

    def test_one_gate_of_which_something_is_known_is_enough(self) -> None:
        shown = statuses_of(
            plan_date(1, "a/x", 10), declare_dependency(2, "c/x", "a/x"), declare_dependency(3, "c/x", "b/x", 3650)
        )
        assert summary_of(shown["c/x"]) == (10, "a/x", State.BLOCKED)


def test_what_is_done_hands_on_the_day_when_it_was() -> None:
    follower = [plan_date(2, "b/x", 5), declare_dependency(3, "b/x", "a/x", 30)]
    shown = statuses_of(report_actual(1, "a/x", -20), *follower)
    assert summary_of(shown["b/x"]) == (10, "a/x", State.BLOCKED)
    shown = statuses_of(report_actual(1, "a/x", -25), *follower)
    assert summary_of(shown["b/x"]) == (5, None, State.PLANNED)


def test_an_overdue_gate_pushes_what_waits_for_it_day_by_day() -> None:
    events = plan_date(1, "a/x", 2), plan_date(2, "b/x", 5), declare_dependency(3, "b/x", "a/x", 2)
    days = [statuses_of(*events, data_date=TODAY + timedelta(days=day)) for day in range(7)]
    assert [summary_of(shown["a/x"]) for shown in days] == [
        (2, None, State.PLANNED),
        (2, None, State.PLANNED),
        (2, None, State.PLANNED),
        (3, None, State.OVERDUE),
        (4, None, State.OVERDUE),
        (5, None, State.OVERDUE),
        (6, None, State.OVERDUE),
    ]
    assert [summary_of(shown["b/x"]) for shown in days] == [
        (5, None, State.PLANNED),
        (5, None, State.PLANNED),
        (5, None, State.PLANNED),
        (5, None, State.PLANNED),
        (6, "a/x", State.BLOCKED),
        (7, "a/x", State.BLOCKED),
        # Overdue comes before blocked, driven as it is.
        (8, "a/x", State.OVERDUE),
    ]


@pytest.mark.parametrize(
    ("why", "events", "expected", "slip_days"),
    [
        (
            "cancelled before all",
            [plan_date(4, "b/x", -3), cancel_milestone(5, "b/x")],
            (None, None, State.CANCELLED),
            None,
        ),
        ("overdue before blocked", [plan_date(4, "b/x", -3)], (10, "a/x", State.OVERDUE), 5),
        ("blocked before slipping", [plan_date(4, "b/x", 9)], (10, "a/x", State.BLOCKED), 5),
        (
            "blocked, and earlier than at first",
            [estimate_date(4, "a/x", 4), estimate_date(5, "b/x", 1)],
            (4, "a/x", State.BLOCKED),
            -1,
        ),
        ("slipping of its own", [plan_date(4, "b/x", 10)], (10, None, State.SLIPPING), 5),
        (
            "planned, since earlier",
            [estimate_date(4, "a/x", 0), estimate_date(5, "b/x", 1)],
            (1, None, State.PLANNED),
            -4,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_of_the_states_that_apply_the_first_is_reported(
    why: str, events: list[Event], expected: StatusSummary, slip_days: int | None
) -> None:
    standing = statuses_of(GATE, *HALL, *events)["b/x"]
    assert (summary_of(standing), standing.slip_days) == (expected, slip_days), why


def test_a_cycle_moves_nothing_beyond_what_counts_and_is_reported() -> None:
    events = (
        plan_date(1, "a/x", 5),
        plan_date(2, "b/x", 9),
        declare_dependency(3, "a/x", "b/x", 1),
        declare_dependency(4, "b/x", "a/x", 100),
    )
    assert summaries_of(statuses_of(*events)) == {
        "a/x": (10, "b/x", State.BLOCKED),
        "b/x": (9, None, State.PLANNED),
    }
    assert compute_schedule(facts_of(*events), TODAY).cyclic == [dependency_key("b/x", "a/x")]
    assert summary_of(statuses_of(plan_date(1, "a/x", 5), declare_dependency(2, "a/x", "a/x", 7))["a/x"]) == (
        5,
        None,
        State.PLANNED,
    )


def test_the_same_names_in_another_programme_are_others() -> None:
    shown = compute_schedule(
        facts_of(
            plan_date(1, "a/x", 10),
            plan_date(2, "south/a/x", 5),
            plan_date(3, "south/b/x", 1),
            declare_dependency(4, "b/x", "a/x"),
        ),
        TODAY,
    ).statuses
    assert {standing.key: summary_of(standing) for standing in shown} == {
        ("north", "a", "x"): (10, None, State.PLANNED),
        ("north", "b", "x"): (10, "a/x", State.BLOCKED),
        ("south", "a", "x"): (5, None, State.PLANNED),
        ("south", "b", "x"): (1, None, State.PLANNED),
    }


def test_no_forecast_lies_beyond_the_last_day_of_the_calendar() -> None:
    last = date(2100, 12, 31)
    names = [f"p/m{number:03}" for number in range(801)]
    chain = [declare_dependency(number, names[number], names[number - 1], 3650) for number in range(1, 801)]
    shown = statuses_of(
        *chain,
        plan_date(900, names[0], (last - TODAY).days),
        plan_date(901, names[800], (last - TODAY).days),
        *(declare_dependency(902, "q/early", names[800], -3650), estimate_date(903, "q/early", 1)),
    )
    forecasts = [shown[name].forecast for name in names]
    # 2,885,050 days lie between the two: 790 times 3650, and 1550 more.
    assert (date.max - last).days == 2_885_050
    assert forecasts[:791] == [last + timedelta(days=3650 * number) for number in range(791)]
    assert forecasts[791:] == [date.max] * 10
    assert (shown[names[800]].slip_days, shown[names[800]].driver) == (2_885_050, MilestoneRef("p", "m799"))
    # What comes before such a day has a date again.
    assert shown["q/early"].forecast == date(9990, 1, 2)
    # Floats have no calendar to keep to.
    assert shown[names[0]].float_days == -800 * 3650
