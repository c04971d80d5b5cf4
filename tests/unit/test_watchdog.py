"""What is stuck is told from what is slow, idle, or waiting for others; the clock is the test's."""

from types import SimpleNamespace
from typing import cast

import pytest
from faust.types import TP, AppT
from hypothesis import given
from hypothesis import strategies as st

from streams.monitoring.health import Health
from streams.monitoring.watchdog import Progress, Watchdog, advance, describe_stall

LIMIT = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def health(**app: object) -> Health:
    return Health(cast("AppT", SimpleNamespace(**{"should_stop": False, "rebalancing": False} | app)))


def verdict(looks: list[tuple[float, Progress]], longest: float = 13.0) -> str | None:
    """Return what a watchdog says after looks, each so many seconds after the one before."""
    known, clock = health(), Clock()
    watchdog = Watchdog(known, LIMIT, max_elapsed=longest, clock=clock, event_loops=list)
    for seconds, sight in looks:
        clock.now += seconds
        watchdog.observe(sight)
    return known.stall_reason


def test_a_position_that_stays_where_it_is_for_the_limit_is_stuck() -> None:
    assert verdict([(3, {"events:0": 7})] * 21) == "events:0 did not move for 60 s"
    assert verdict([(3, {"events:0": 7})] * 20) is None


def test_one_partition_that_stays_is_stuck_although_others_move() -> None:
    looks: list[tuple[float, Progress]] = [(3, {"events:0": 7, "events:1": number}) for number in range(21)]

    assert verdict(looks) == "events:0 did not move for 60 s"


def test_looks_far_apart_count_no_more_than_the_longest() -> None:
    assert verdict([(3, {"events:0": 7}), (3600, {"events:0": 7}), (3600, {"events:0": 7})]) is None


def test_time_in_which_others_were_away_counts_for_nothing() -> None:
    nineteen: list[tuple[float, Progress]] = [(3, {"events:0": 7})] * 20

    assert verdict([*nineteen, (3, {}), *nineteen]) is None


def test_a_try_that_ended_counts_as_being_alive() -> None:
    known, clock = health(), Clock()
    watchdog = Watchdog(known, LIMIT, max_elapsed=13, clock=clock, event_loops=list)
    for number in range(100):
        clock.now += 3
        watchdog.observe({"events:0": 7})
        if number % 10 == 9:  # half a minute: how long a statement waits for a lock
            watchdog.reset()

    assert known.stall_reason is None


moving = st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60)


@given(moving)
def test_what_moves_within_the_limit_is_never_stuck(steps: list[tuple[float, bool]]) -> None:
    number, stayed, looks = 0, 0.0, list[tuple[float, Progress]]()
    for seconds, moves in steps:
        stayed += min(seconds, 13.0)
        if moves or stayed >= LIMIT:
            number, stayed = number + 1, 0.0
        looks.append((seconds, {"events:0": number}))

    assert verdict(looks) is None


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=200))
def test_what_stays_is_stuck_exactly_when_its_counted_seconds_reach_the_limit(waits: list[float]) -> None:
    looks: list[tuple[float, Progress]] = [(0, {"events:0": 7}), *((seconds, {"events:0": 7}) for seconds in waits)]

    assert (verdict(looks) is not None) == (sum(min(seconds, 13.0) for seconds in waits) >= LIMIT)


@given(st.dictionaries(st.text(max_size=3), st.integers()), st.floats(0, 100))
def test_a_first_look_finds_nothing_stuck(sight: dict[str, int], seconds: float) -> None:
    assert describe_stall(advance({}, sight, seconds), LIMIT) is None


class TestWhatOughtToMove:
    def known(self, unreadable: frozenset[TP] = frozenset(), **app: object) -> Health:
        known = health(consumer=SimpleNamespace(unreadable_partitions=unreadable), **app)
        known.assigned_partitions = frozenset({TP("events", 0), TP("events", 2), TP("programmes", 1)})
        return known

    def test_the_partitions_of_this_worker_that_have_something_to_read(self) -> None:
        assert self.known().expected_progress("events", {0: 7, 1: 8}) == {"events:0": 7}

    def test_no_partition_whose_next_batch_cannot_be_read(self) -> None:
        known = self.known(frozenset({TP("events", 0)}))
        assert known.expected_progress("events", {0: 7, 2: 8}) == {"events:2": 8}

    def test_nothing_while_kafka_or_the_database_does_not_answer(self) -> None:
        assert self.known().expected_progress("events", None) == {}
        assert self.known(rebalancing=True, rebalancing_count=4).expected_progress("events", None) == {}

    def test_a_rebalance_and_nothing_else_while_there_is_one(self) -> None:
        known = self.known(rebalancing=True, rebalancing_count=4)

        assert known.expected_progress("events", {0: 7}) == {"a rebalance": 4}

    def test_nothing_while_the_worker_stops(self) -> None:
        assert self.known(should_stop=True).expected_progress("events", {0: 7}) == {}


class TestReady:
    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"is_database_up": None}, {"database": "not asked yet"}),
            ({"is_database_up": False}, {"database": "does not answer"}),
            ({"is_kafka_up": None}, {"kafka": "not asked yet"}),
            ({"is_kafka_up": False}, {"kafka": "does not answer"}),
            ({"has_joined": False}, {"group": "no assignment yet"}),
            ({"rebalancing": True}, {"group": "partitions are being assigned"}),
            ({"has_start_offsets": False}, {"positions": "start offsets are being resolved"}),
            ({"has_initial_forecasts": False}, {"milestones": "not calculated yet"}),
            ({}, {}),
        ],
    )
    def test_each_reason_is_reported_by_its_name(self, changed: dict[str, object], reason: dict[str, str]) -> None:
        consumer = SimpleNamespace(has_start_offsets=changed.pop("has_start_offsets", True))
        known = health(rebalancing=changed.pop("rebalancing", False), consumer=consumer)
        known.is_database_up = known.is_kafka_up = known.has_joined = known.has_initial_forecasts = True
        for name, value in changed.items():
            setattr(known, name, value)

        assert known.readiness_problems() == reason

    def test_what_is_stuck_is_reported_by_live(self) -> None:
        known = health()
        assert known.liveness_problems() == {}
        known.stall_reason = "events:0 did not move for 60 s"
        assert known.liveness_problems() == {"stuck": "events:0 did not move for 60 s"}
