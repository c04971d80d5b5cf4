"""The pure fold and the picture say what the independent reading says, in any order."""

import random
from collections.abc import Sequence
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from tests.helpers.event_generators import DATES, binary_record, event_sets, random_events, structured_record
from tests.helpers.recorder import expected_state, state_of_facts

days = st.sampled_from((*DATES, date(2026, 3, 12), date(2026, 12, 31)))


def decoded(events: Sequence[dict[str, Any]]) -> list[Event]:
    outcomes = [
        decode(*(binary_record if place % 2 else structured_record)(event)) for place, event in enumerate(events)
    ]
    assert all(isinstance(outcome, Event) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Event)]


@settings(max_examples=300)
@given(event_sets(), days, st.randoms(use_true_random=False))
def test_the_fold_of_any_events_in_any_order_says_what_the_contract_says(
    events: list[dict[str, Any]], day: date, chance: random.Random
) -> None:
    expected = expected_state(events, day)
    facts = fold(exclude_retracted(decoded(events)))
    assert state_of_facts(facts, day) == expected
    # In another order, some of them twice.
    again = chance.sample(events, len(events)) + chance.choices(events, k=len(events) // 2) if events else []
    assert fold(exclude_retracted(decoded(again))) == facts


def test_thousands_of_events_say_what_the_contract_says() -> None:
    events = random_events(11, 3000, with_dependencies=True)
    facts = fold(exclude_retracted(decoded(events)))
    for day in (date(2025, 6, 1), date(2026, 10, 31)):
        assert state_of_facts(facts, day) == expected_state(events, day)
