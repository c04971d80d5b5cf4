"""Faults of publishers: a clock that is off by hours, and everything said a hundred times."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.fault import Fault
from tests.faults.load import PROGRAMMES, shuffled_events
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import publish, publish_records

#: Said a hundred times each.
_REPEATED_EVENTS: Final = 100
_REPETITIONS: Final = 100


def _report_at_offset(scenario: Scenario, number: int, clock_offset: timedelta) -> JsonEvent:
    moment = datetime.now(UTC) + clock_offset
    return {
        "specversion": "1.0",
        "id": f"clock-{clock_offset.total_seconds():.0f}-{number}",
        "source": "https://site-office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": f"programme-{scenario.rng.randrange(PROGRAMMES)}/project-1",
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": {"milestone": "permit-approved", "classifier": "EST", "date": "2027-05-01"},
    }


def skew_clock(scenario: Scenario) -> float:
    """Stamp events hours ahead and hours behind: those of the future are rejected, whatever else holds."""
    ahead = [_report_at_offset(scenario, number, timedelta(hours=5)) for number in range(100)]
    behind = [_report_at_offset(scenario, number, timedelta(hours=-5)) for number in range(100)]
    publish(scenario.settings, [event for both in zip(ahead, behind, strict=True) for event in both])
    scenario.extra_accepted += behind
    scenario.extra_rejected += len(ahead)
    return measure_recovery(scenario)


def publish_repeatedly(scenario: Scenario) -> float:
    """Say a hundred events a hundred times, in any order, to any partition."""
    events = [
        event | {"id": f"again-{event['id']}"}
        for event in shuffled_events(scenario.rng.randrange(10**6), _REPEATED_EVENTS)
    ]
    events = [event for event in events if "retracts" not in event["data"]]
    every = events * _REPETITIONS
    scenario.rng.shuffle(every)
    publish_records(
        scenario.settings,
        ((bytes(str(scenario.rng.randrange(1000)), "ascii"), *structured_record(event)) for event in every),
    )
    scenario.extra_accepted += events
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    "a publisher's clock off by hours": Fault(skew_clock),
    "a hundred events said a hundred times each": Fault(publish_repeatedly),
}
