"""Laws of history: what it says depends on the set of events alone, and is what the slow definition says."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.history import HistoryEntry, trace_history
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import parse_stamp
from tests.helpers.event_generators import (
    PROGRAMMES,
    event_sets,
    random_events,
    shuffled_with_duplicates,
    structured_record,
)
from tests.helpers.history_oracle import expected_history
from tests.helpers.networks import event_lists, instant_of
from tests.helpers.oracle import JsonEvent, JsonRow, seconds_since_day_zero


def decoded(events: list[JsonEvent]) -> list[Event]:
    found = [decode(*structured_record(event)) for event in events]
    return [event for event in found if isinstance(event, Event)]


def traced(events: list[JsonEvent], programme: str, milestones: list[MilestoneRef] | None = None) -> list[HistoryEntry]:
    return list(trace_history(decoded(events), programme, milestones))


def as_row(entry: HistoryEntry) -> JsonRow:
    instant, source, event_id = parse_stamp(entry.cause)

    def text(value: object) -> str | None:
        return None if value is None else str(value)

    return {
        "key": tuple(entry.milestone),
        "said": seconds_since_day_zero(f"{entry.said}Z"),
        "from": text(entry.previous),
        "to": text(entry.current),
        "own_from": text(entry.own_previous),
        "own_to": text(entry.own_current),
        "slip_days": entry.slip_days,
        "state": text(entry.state),
        "driver": text(entry.driver),
        "cause": (seconds_since_day_zero(f"{instant}Z"), source, event_id),
    }


def grouped(events: list[Event], size: int, spread_minutes: int) -> list[JsonEvent]:
    """Give events as JSON, of which several share an instant, spread over days."""

    def to_json(event: Event) -> JsonEvent:
        number = int(event.id.removeprefix("e-"))
        return {
            "specversion": "1.0",
            "source": event.source,
            "id": event.id,
            "type": event.type,
            "subject": event.subject,
            "time": f"{instant_of((number - number % size) * spread_minutes)}Z",
            "data": {name: value for name, value in msgspec.to_builtins(event.data).items() if value is not None},
        }

    # An actual date that lies too long after its stamp would not be accepted.
    return [event for event in map(to_json, events) if isinstance(decode(*structured_record(event)), Event)]


#: Dependencies that close cycles, and few milestones, at few instants.
tangled = st.builds(grouped, event_lists(max_size=40), st.sampled_from((1, 2, 5)), st.sampled_from((1, 700, 4000)))


@settings(max_examples=150)
@given(tangled)
def test_history_is_what_scheduling_from_nothing_before_and_after_every_stamp_gives(events: list[JsonEvent]) -> None:
    assert list(map(as_row, traced(events, "north"))) == expected_history(events, "north")


@settings(max_examples=150)
@given(event_sets(), st.sampled_from(PROGRAMMES))
def test_history_of_any_events_is_that_of_the_slow_definition(events: list[JsonEvent], programme: str) -> None:
    assert list(map(as_row, traced(events, programme))) == expected_history(events, programme)


@settings(max_examples=100)
@given(tangled, st.integers(0, 1000))
def test_history_depends_neither_on_the_order_of_arrival_nor_on_repetition(events: list[JsonEvent], seed: int) -> None:
    assert traced(shuffled_with_duplicates(events, seed), "north") == traced(events, "north")


@settings(max_examples=100)
@given(tangled, st.sampled_from(("a/x", "a/y", "b/x", "c/y")))
def test_history_of_one_milestone_is_its_part_of_the_history_of_all(events: list[JsonEvent], name: str) -> None:
    ref = MilestoneRef(*name.split("/"))
    whole = [entry for entry in traced(events, "north") if entry.milestone[1:] == ref]
    assert traced(events, "north", [ref]) == whole


@pytest.mark.parametrize("seed", range(2))
def test_history_of_hundreds_of_random_events_is_that_of_the_slow_definition(seed: int) -> None:
    events = random_events(seed, 160, programmes=1, projects=3, with_dependencies=True)
    found = traced(shuffled_with_duplicates(events, seed), "programme-0")
    assert list(map(as_row, found)) == expected_history(events, "programme-0")
    assert len(found) > 60
