"""The pure fold and the picture say what the independent reading says, in any order."""

import random
from collections.abc import Sequence
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import fold, unretracted
from models.domain.cloudevents import decode
from models.domain.events import Event
from tests.publisher import DATES, binary, event_sets, random_events, structured
from tests.storing import as_read, as_told

days = st.sampled_from((*DATES, date(2026, 3, 12), date(2026, 12, 31)))


def decoded(events: Sequence[dict[str, Any]]) -> list[Event]:
    outcomes = [decode(*(binary if place % 2 else structured)(event)) for place, event in enumerate(events)]
    assert all(isinstance(outcome, Event) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Event)]


@settings(max_examples=300)
@given(event_sets(), days, st.randoms(use_true_random=False))
def test_the_fold_of_any_events_in_any_order_says_what_the_contract_says(
    events: list[dict[str, Any]], day: date, chance: random.Random
) -> None:
    expected = as_read(events, day)
    facts = fold(unretracted(decoded(events)))
    assert as_told(facts, day) == expected
    # In another order, some of them twice.
    again = chance.sample(events, len(events)) + chance.choices(events, k=len(events) // 2) if events else []
    assert fold(unretracted(decoded(again))) == facts


def test_thousands_of_events_say_what_the_contract_says() -> None:
    events = random_events(11, 3000, with_dependencies=True)
    facts = fold(unretracted(decoded(events)))
    for day in (date(2025, 6, 1), date(2026, 10, 31)):
        assert as_told(facts, day) == as_read(events, day)
