"""What gates hold up is what the contract says, as an independent reading has it."""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import MilestoneKey, exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.impact import NO_IMPACT, delay_roots, is_moved, measure_impacts
from models.domain.schedule import compute_schedule
from tests.helpers.event_generators import DATES, event_sets, random_events, structured_record
from tests.helpers.impact_oracle import ExpectedImpact, expected_impacts
from tests.helpers.networks import TODAY, event_lists
from tests.helpers.oracle import PROJECT_REGISTERED, JsonEvent, MilestoneId

DAYS = st.sampled_from((*DATES, date(2026, 3, 12), date(2026, 12, 31)))


def impacts_of(events: Sequence[JsonEvent], day: date) -> dict[MilestoneId, ExpectedImpact]:
    """Give what the product says, in the form of the independent reading."""
    outcomes = [decode(*structured_record(event)) for event in events]
    facts = fold(exclude_retracted([outcome for outcome in outcomes if isinstance(outcome, Event)]))
    schedule = compute_schedule(facts, day)
    impacts = measure_impacts(schedule.statuses, facts.projects)
    found = {}
    for status in schedule.statuses:
        moved, held_up = impacts.get(status.key, NO_IMPACT)
        investment = {currency: Fraction(amount) for currency, amount in held_up.investment.items()}
        found[status[:3]] = ExpectedImpact(status.dependents, moved, held_up.projects, investment, held_up.jobs)
    return found


def registration(programme: int, project: int) -> JsonEvent:
    return {
        "specversion": "1.0",
        "id": f"registration-{programme}-{project}",
        "source": "https://office-0.example",
        "type": PROJECT_REGISTERED,
        "subject": f"programme-{programme}/project-{project}",
        "time": "2020-01-01T00:00:00Z",
        "data": {"investment": {"amount": project + 0.1, "currency": ("EUR", "USD")[project % 2]}, "jobs": 1 + project},
    }


@settings(max_examples=300)
@given(event_sets(), DAYS)
def test_gates_hold_up_what_the_contract_says(events: list[JsonEvent], day: date) -> None:
    assert impacts_of(events, day) == expected_impacts(events, day)


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(20, 250), st.integers(2, 8))
def test_gates_of_dense_networks_hold_up_what_the_contract_says(seed: int, count: int, projects: int) -> None:
    events = random_events(seed, count, programmes=2, projects=projects, with_dependencies=True)
    day = date(2026, 6, 1)
    assert impacts_of(events, day) == expected_impacts(events, day)


def test_gates_among_thousands_of_events_hold_up_what_the_contract_says() -> None:
    events = random_events(12, 6000, programmes=12, projects=8, with_dependencies=True)
    events += [registration(programme, project) for programme in range(12) for project in range(8)]
    holding = 0
    for day in (date(2025, 6, 1), date(2026, 6, 1), date(2026, 10, 31)):
        expected = expected_impacts(events, day)
        assert impacts_of(events, day) == expected
        holding += sum(bool(impact.moved and impact.investment and impact.jobs) for impact in expected.values())
    assert holding > 20, "the events are those that matter"


@given(event_lists(min_size=5))
def test_every_moved_milestone_is_below_one_delay_root_or_below_gates_on_time_alone(events: list[Event]) -> None:
    facts = fold(exclude_retracted(events))
    statuses = compute_schedule(facts, TODAY).statuses
    impacts = measure_impacts(statuses, facts.projects)
    by_key = {status.key: status for status in statuses}
    below = [status.key for root in delay_roots(statuses, impacts) for status in root.moved]

    assert len(below) == len(set(below))
    for status in statuses:
        gates = []
        gate = status
        while gate.driver is not None:
            gate = by_key[MilestoneKey(gate.programme, *gate.driver)]
            gates.append(gate)
        has_late_gate = any(gate.slip_days is None or gate.slip_days > 0 for gate in gates)
        assert (status.key in below) == (is_moved(status) and has_late_gate)


@given(event_lists(min_size=5))
def test_a_delay_root_moves_as_many_as_its_impact_counts(events: list[Event]) -> None:
    facts = fold(exclude_retracted(events))
    statuses = compute_schedule(facts, TODAY).statuses
    impacts = measure_impacts(statuses, facts.projects)

    for root in delay_roots(statuses, impacts):
        assert impacts[root.gate.key] == (len(root.moved), root.held_up)
        assert len(root.moved) <= root.gate.dependents
