"""A picture with assumed dates is the picture of the same events and one more estimate for each, said last."""

import random
from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.assumptions import MAX_ASSUMPTIONS, Assumption, AssumptionError, assume, assumed_moves
from models.domain.claims import Facts, exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.impact import NO_IMPACT, measure_impacts
from models.domain.schedule import MilestoneRef, Schedule, compute_schedule
from tests.helpers.event_generators import DATES, event_sets, random_events, structured_record
from tests.helpers.impact_oracle import expected_impacts
from tests.helpers.oracle import (
    MILESTONE_REPORTED,
    JsonEvent,
    expected_milestones,
)
from tests.helpers.recorder import json_status_row

DAYS = st.sampled_from((*DATES, date(2026, 3, 12), date(2026, 12, 31)))


def facts_of(events: Sequence[JsonEvent]) -> Facts:
    outcomes = [decode(*structured_record(event)) for event in events]
    return fold(exclude_retracted([outcome for outcome in outcomes if isinstance(outcome, Event)]))


def estimate_said_last(programme: str, assumption: Assumption) -> JsonEvent:
    ref, day = assumption
    return {
        "specversion": "1.0",
        "id": f"assumed-{ref}",
        "source": "assumed",
        "type": MILESTONE_REPORTED,
        "subject": f"{programme}/{ref.project}",
        "time": "9999-12-31T23:59:59Z",
        "data": {"milestone": ref.milestone, "classifier": "EST", "date": day.isoformat()},
    }


def choose(
    events: Sequence[JsonEvent], day: date, chance: random.Random, days: Sequence[date]
) -> tuple[str, list[Assumption]]:
    """Give a programme and dates of some of its milestones that are neither achieved nor cancelled."""
    rows = [row for row in expected_milestones(events, day) if row["state"] not in {"achieved", "cancelled"}]
    if not rows:
        return "north", []
    programme = chance.choice(rows)["programme"]
    refs = [MilestoneRef(row["project"], row["milestone"]) for row in rows if row["programme"] == programme]
    chosen = chance.sample(refs, min(len(refs), chance.randint(1, 5)))
    return programme, [Assumption(ref, chance.choice(days)) for ref in chosen]


def assert_as_the_contract_says(events: Sequence[JsonEvent], day: date, chance: random.Random) -> None:
    programme, assumptions = choose(events, day, chance, (*DATES, day))
    facts = facts_of(events)
    as_said = compute_schedule(facts, day)
    assumed_facts = assume(facts, programme, assumptions)
    assumed = compute_schedule(assumed_facts, day, as_said)
    said = [*events, *(estimate_said_last(programme, assumption) for assumption in assumptions)]

    expected = expected_milestones(said, day)
    assert [json_status_row(status) for status in assumed.statuses] == expected
    impacts = measure_impacts(assumed.statuses, assumed_facts.projects)
    for key, impact in expected_impacts(said, day).items():
        moved, held_up = impacts.get(assumed.statuses[assumed.network.index_of[key]].key, NO_IMPACT)
        assert (moved, held_up.projects, held_up.jobs) == (impact.moved, impact.projects, impact.jobs)
        assert {currency: float(amount) for currency, amount in held_up.investment.items()} == {
            currency: float(amount) for currency, amount in impact.investment.items()
        }
    before = {
        (row["project"], row["milestone"], row["programme"]): row["forecast"]
        for row in expected_milestones(events, day)
    }
    changed = {
        (row["project"], row["milestone"], row["programme"])
        for row in expected
        if row["forecast"] != before[row["project"], row["milestone"], row["programme"]]
    }
    moves = assumed_moves(as_said, assumed)
    assert {(*move.after.ref, move.after.programme) for move in moves} == changed
    # The facts are as they were.
    assert facts == facts_of(events)


@settings(max_examples=300)
@given(event_sets(), DAYS, st.randoms(use_true_random=False))
def test_assumed_dates_count_as_the_newest_estimates(events: list[JsonEvent], day: date, chance: random.Random) -> None:
    assert_as_the_contract_says(events, day, chance)


@settings(max_examples=40)
@given(st.integers(0, 1 << 32), st.integers(20, 250), st.integers(2, 8), st.randoms(use_true_random=False))
def test_assumed_dates_in_dense_networks_count_as_the_newest_estimates(
    seed: int, count: int, projects: int, chance: random.Random
) -> None:
    events = random_events(seed, count, programmes=2, projects=projects, with_dependencies=True)
    assert_as_the_contract_says(events, date(2026, 6, 1), chance)


def test_assumed_dates_among_thousands_of_events_count_as_the_newest_estimates() -> None:
    events = random_events(31, 3000, programmes=2, projects=12, with_dependencies=True)
    for seed in range(3):
        assert_as_the_contract_says(events, date(2026, 6, 1), random.Random(seed))  # noqa: S311 - a repeatable choice


@settings(max_examples=200)
@given(event_sets(min_size=3), DAYS)
def test_what_is_achieved_cancelled_or_not_there_has_no_date_to_assume(events: list[JsonEvent], day: date) -> None:
    facts = facts_of(events)
    for row in expected_milestones(events, day):
        assumption = Assumption(MilestoneRef(row["project"], row["milestone"]), day)
        if row["state"] in {"achieved", "cancelled"}:
            word = "achieved" if row["state"] == "achieved" else "cancelled"
            with pytest.raises(AssumptionError, match=word):
                assume(facts, row["programme"], [assumption])
        else:
            assume(facts, row["programme"], [assumption])
            with pytest.raises(AssumptionError, match="two dates"):
                assume(facts, row["programme"], [assumption, assumption])
    for programme in ("north", "nowhere"):
        with pytest.raises(AssumptionError, match="no milestone nobody/nothing in programme"):
            assume(facts, programme, [Assumption(MilestoneRef("nobody", "nothing"), day)])


@settings(max_examples=100)
@given(event_sets(min_size=3), DAYS)
def test_who_assumes_what_was_said_moves_nothing(events: list[JsonEvent], day: date) -> None:
    facts = facts_of(events)
    as_said: Schedule = compute_schedule(facts, day)
    for status in as_said.statuses:
        own = facts.milestone(status.key).own_claim
        if status.is_open and own is not None:
            assumed = assume(facts, status.programme, [Assumption(status.ref, own.date)])
            assert assumed_moves(as_said, compute_schedule(assumed, day)) == []


def test_more_dates_than_a_person_weighs_up_are_refused() -> None:
    assumptions = [Assumption(MilestoneRef("a", f"m-{number}"), date(2026, 6, 1)) for number in range(21)]
    with pytest.raises(AssumptionError, match=f"21 dates are assumed, at most {MAX_ASSUMPTIONS} can be"):
        assume(Facts(), "north", assumptions)
