"""What depends on the broker's clock and the settings."""

from datetime import UTC, date, datetime

import pytest

from models.domain.events import (
    AllowedSources,
    Classifier,
    Event,
    MilestoneReported,
    Rejection,
    RejectionReason,
    check_acceptable,
)
from models.domain.timestamps import Instant

APPENDED_MS = int(datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp() * 1000)


def report(time: str, recorded: str | None = None, source: str = "office", programme: str = "north") -> Event:
    return Event(
        source=source,
        id="1",
        programme=programme,
        project="wharf",
        time=Instant(time),
        recorded_time=None if recorded is None else Instant(recorded),
        data=MilestoneReported("permit-approved", Classifier.PLANNED, date(2026, 6, 1)),
    )


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00",
        "2026-03-10T11:59:59",
        "2026-03-10T12:00:00",
        "2026-03-10T12:09:59.999999999",
        "2026-03-10T12:10:00",
    ],
)
def test_a_claim_up_to_ten_minutes_after_the_append_time_may_come_in(time: str) -> None:
    event = report(time)
    assert check_acceptable(event, APPENDED_MS, {}) is event


@pytest.mark.parametrize(
    "time", ["2026-03-10T12:10:00.000000001", "2026-03-10T12:10:00.1", "2026-03-10T12:10:01", "9999-12-31T23:59:59"]
)
def test_a_later_claim_lies_in_the_future(time: str) -> None:
    outcome = check_acceptable(report(time), APPENDED_MS, {})
    assert isinstance(outcome, Rejection)
    assert (outcome.reason, outcome.source, outcome.type) == (
        RejectionReason.TIME_IN_FUTURE,
        "office",
        "milepost.milestone.reported.v1",
    )
    assert f"{time}Z" in outcome.detail
    assert "2026-03-10T12:00:00Z" in outcome.detail


def test_ten_minutes_are_counted_to_the_millisecond_of_the_append_time() -> None:
    event = report("2026-03-10T12:10:00.0010001")
    assert isinstance(check_acceptable(event, APPENDED_MS + 1, {}), Rejection)
    assert check_acceptable(event, APPENDED_MS + 2, {}) is event


def test_recordedtime_is_judged_in_place_of_time() -> None:
    amended = report("2026-03-10T18:00:00", recorded="2026-03-10T12:00:00")
    assert check_acceptable(amended, APPENDED_MS, {}) is amended
    assert isinstance(
        check_acceptable(report("2026-03-10T12:00:00", recorded="2026-03-10T18:00:00"), APPENDED_MS, {}), Rejection
    )


@pytest.mark.parametrize(
    ("allowed", "comes_in"),
    [
        ({}, True),
        ({"north": ["office"]}, True),
        ({"north": ["plans", "office"]}, True),
        ({"south": ["plans"]}, True),
        ({"north": ["plans"]}, False),
        ({"north": []}, False),
        ({"north": ["Office"]}, False),
        ({"north": ["office "]}, False),
        ({"north": ["offic"]}, False),
    ],
)
def test_a_programme_that_is_named_takes_its_sources_alone(allowed: AllowedSources, *, comes_in: bool) -> None:
    outcome = check_acceptable(report("2026-03-10T12:00:00"), APPENDED_MS, allowed)
    assert isinstance(outcome, Event) is comes_in
    if isinstance(outcome, Rejection):
        assert (outcome.reason, outcome.source) == (RejectionReason.SOURCE_NOT_ALLOWED, "office")
        assert outcome.detail == "source 'office' may not speak for programme 'north'"


def test_what_claims_to_be_from_the_future_is_rejected_for_that_first() -> None:
    outcome = check_acceptable(report("2027-01-01T00:00:00"), APPENDED_MS, {"north": []})
    assert isinstance(outcome, Rejection)
    assert outcome.reason is RejectionReason.TIME_IN_FUTURE
