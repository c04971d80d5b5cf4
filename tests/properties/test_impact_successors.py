"""Who waits for a gate, held against what happens when the gate really comes later."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.domain.claims import Facts, MilestoneKey, exclude_retracted, fold
from models.domain.events import Event
from models.domain.impact import Successor, successors_of
from models.domain.schedule import Schedule, compute_schedule
from tests.helpers.networks import TODAY, estimate_date, event_lists

#: A claim newer than all that a history has.
NEWEST = 500_000


def facts_and_schedule(events: list[Event]) -> tuple[Facts, Schedule]:
    facts = fold(exclude_retracted(events))
    return facts, compute_schedule(facts, TODAY)


@given(event_lists())
def test_as_many_wait_as_the_schedule_counts_and_all_of_them_are_open(events: list[Event]) -> None:
    _, shown = facts_and_schedule(events)

    for standing in shown.statuses:
        waiters = successors_of(shown, standing.key)

        assert len(waiters) == standing.dependents
        assert all(one.status.is_open for one in waiters)
        assert len({one.status.key for one in waiters}) == len(waiters)


@given(event_lists(min_size=5), st.integers(0, 60))
def test_a_gate_that_comes_later_moves_each_by_what_goes_beyond_its_slack(events: list[Event], later: int) -> None:
    _, shown = facts_and_schedule(events)
    for standing in shown.statuses:
        if not standing.is_open or standing.forecast is None or not standing.dependents:
            continue
        days = (standing.forecast - TODAY).days + later
        _, then = facts_and_schedule([*events, estimate_date(NEWEST, "/".join(standing.key), days)])

        for one in successors_of(shown, standing.key):
            assert forecast_days(then, one.status.key) == expected(one, later), one


def forecast_days(shown: Schedule, key: MilestoneKey) -> int | None:
    day = shown.statuses[shown.network.index_of[key]].forecast
    return None if day is None else (day - TODAY).days


def expected(one: Successor, later: int) -> int | None:
    if one.status.forecast is None:
        return None
    moved = 0 if one.slack_days is None else max(0, later - one.slack_days)
    return (one.status.forecast + timedelta(days=moved) - TODAY).days
