"""History by hand: what moves, when, and because of which event."""

import pytest

from models.domain.events import Event
from models.domain.history import trace_history
from models.domain.schedule import State
from models.domain.timestamps import Instant, parse_stamp
from tests.helpers.networks import (
    cancel_milestone,
    days_from_today,
    declare_dependency,
    estimate_date,
    instant_of,
    plan_date,
    register_project,
    report_actual,
    retract_claim,
    withdraw_dependency,
    withdraw_project,
)

#: 10 March, the day from which the helpers count, as the number of a claim.
TODAY = 68 * 24 * 60
Brief = tuple[str, int | None, int | None, int]


def at(instant: Instant, event: Event) -> Event:
    """Give an event with another time."""
    return Event(
        source=event.source,
        id=event.id,
        programme=event.programme,
        project=event.project,
        time=instant,
        data=event.data,
    )


def brief(*events: Event) -> list[Brief]:
    """Give milestone, forecast before and after (days from today) and the number of the event behind it."""
    return [
        (
            "/".join(entry.milestone[1:]),
            days_from_today(entry.previous),
            days_from_today(entry.current),
            int(parse_stamp(entry.cause).id.removeprefix("e-")),
        )
        for entry in trace_history(events, "north")
    ]


def test_a_claim_moves_what_waits_for_its_milestone() -> None:
    assert brief(
        plan_date(1, "a/x", 10),
        plan_date(2, "b/x", 12),
        declare_dependency(3, "b/x", "a/x", 1),
        estimate_date(4, "a/x", 20),
    ) == [("a/x", None, 10, 1), ("b/x", None, 12, 2), ("a/x", 10, 20, 4), ("b/x", 12, 21, 4)]


def test_the_passing_of_days_is_no_history_and_an_overdue_gate_moves_from_the_day_it_is_reported() -> None:
    assert brief(
        plan_date(1, "a/x", -30),
        plan_date(2, "b/x", -20),
        declare_dependency(3, "b/x", "a/x", 5),
        report_actual(TODAY, "a/x", -1),
    ) == [("a/x", None, -30, 1), ("b/x", None, -20, 2), ("a/x", 0, -1, TODAY), ("b/x", 5, 4, TODAY)]


def test_a_dependency_that_ends_brings_one_back_that_was_set_aside() -> None:
    assert brief(
        plan_date(1, "a/x", 10),
        plan_date(2, "b/x", 20),
        declare_dependency(3, "b/x", "a/x"),
        declare_dependency(4, "a/x", "b/x", 7),
        withdraw_dependency(5, "b/x", "a/x"),
    ) == [("a/x", None, 10, 1), ("b/x", None, 20, 2), ("a/x", 10, 27, 5)]


def test_a_retraction_counts_from_its_own_stamp_and_one_before_its_claim_hides_it_for_ever() -> None:
    later = brief(plan_date(1, "a/x", 10), estimate_date(2, "a/x", 20), retract_claim(3, 2))
    assert later == [("a/x", None, 10, 1), ("a/x", 10, 20, 2), ("a/x", 20, 10, 3)]
    assert brief(plan_date(1, "a/x", 10), estimate_date(4, "a/x", 20), retract_claim(3, 4)) == [("a/x", None, 10, 1)]


def test_of_an_instant_the_event_behind_a_change_decides_what_is_forecast_now() -> None:
    now = instant_of(9)
    events = [
        *(
            plan_date(1, "a/x", 10),
            plan_date(2, "b/x", 12),
            plan_date(3, "b/y", 5),
            declare_dependency(4, "b/x", "a/x"),
        ),
        # The largest stamp of the instant is about something else.
        at(now, plan_date(99, "b/y", 6)),
        at(now, estimate_date(5, "a/x", 30)),
        at(now, estimate_date(6, "b/x", 11)),
    ]
    assert brief(*events)[3:] == [("a/x", 10, 30, 5), ("b/y", 5, 6, 99), ("b/x", 12, 30, 5)]


def test_of_an_instant_the_event_that_took_away_what_decided_is_behind_a_change_when_nothing_new_decides() -> None:
    now = instant_of(9)
    events = [
        *(plan_date(1, "a/x", 30), plan_date(2, "b/x", 12), declare_dependency(3, "b/x", "a/x")),
        at(now, estimate_date(4, "a/x", 5)),
        at(now, plan_date(99, "c/x", 1)),
    ]
    assert brief(*events)[-3:] == [("a/x", 30, 5, 4), ("b/x", 30, 12, 4), ("c/x", None, 1, 99)]


def test_a_milestone_that_nothing_names_any_more_is_gone_by_its_retraction_not_by_its_projects_withdrawal() -> None:
    now = instant_of(9)
    events = [plan_date(1, "a/x", 10), at(now, retract_claim(2, 1)), at(now, withdraw_project(3, "a"))]
    assert brief(*events) == [("a/x", None, 10, 1), ("a/x", 10, None, 2)]
    last = list(trace_history(events, "north"))[-1]
    assert (last.state, last.slip_days, last.driver, last.own_current) == (None, None, None, None)


@pytest.mark.parametrize(
    ("taken_out", "revived"),
    [(cancel_milestone(5, "a/x"), [(12, 31, 7)]), (withdraw_project(5, "a"), [(12, 30, 6), (30, 31, 7)])],
)
def test_a_cancelled_milestone_has_no_forecast_and_drives_nothing_until_it_is_revived(
    taken_out: Event, revived: list[tuple[int, int, int]]
) -> None:
    events = [
        *(plan_date(1, "a/x", 30), plan_date(2, "b/x", 12), declare_dependency(3, "b/x", "a/x"), taken_out),
        *(register_project(6, "a"), estimate_date(7, "a/x", 31)),
    ]
    waiting = [row[1:] for row in brief(*events) if row[0] == "b/x"]
    assert waiting == [(None, 12, 2), (12, 30, 3), (30, 12, 5), *revived]
    [gone] = [entry for entry in trace_history(events, "north") if entry.state is State.CANCELLED]
    assert (gone.current, gone.slip_days, days_from_today(gone.own_current)) == (None, None, 30)
