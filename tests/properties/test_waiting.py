"""Who waits for a gate, held against what happens when the gate really comes later."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.domain.claims import Facts, MilestoneKey, fold, unretracted
from models.domain.events import Event
from models.domain.impact import Waiter, waiting_for
from models.domain.schedule import Picture, picture
from tests.networks import TODAY, estimated, histories

#: A claim newer than all that a history has.
NEWEST = 500_000


def drawn(events: list[Event]) -> tuple[Facts, Picture]:
    facts = fold(unretracted(events))
    return facts, picture(facts, TODAY)


@given(histories())
def test_as_many_wait_as_the_picture_counts_and_all_of_them_are_open(events: list[Event]) -> None:
    _, shown = drawn(events)

    for standing in shown.standings:
        waiters = waiting_for(shown, standing.key)

        assert len(waiters) == standing.dependents
        assert all(one.standing.is_open for one in waiters)
        assert len({one.standing.key for one in waiters}) == len(waiters)


@given(histories(min_size=5), st.integers(0, 60))
def test_a_gate_that_comes_later_moves_each_by_what_goes_beyond_its_slack(events: list[Event], later: int) -> None:
    _, shown = drawn(events)
    for standing in shown.standings:
        if not standing.is_open or standing.forecast is None or not standing.dependents:
            continue
        days = (standing.forecast - TODAY).days + later
        _, then = drawn([*events, estimated(NEWEST, "/".join(standing.key), days)])

        for one in waiting_for(shown, standing.key):
            assert forecast_days(then, one.standing.key) == expected(one, later), one


def forecast_days(shown: Picture, key: MilestoneKey) -> int | None:
    day = shown.standings[shown.network.places[key]].forecast
    return None if day is None else (day - TODAY).days


def expected(one: Waiter, later: int) -> int | None:
    if one.standing.forecast is None:
        return None
    moved = 0 if one.slack_days is None else max(0, later - one.slack_days)
    return (one.standing.forecast + timedelta(days=moved) - TODAY).days
