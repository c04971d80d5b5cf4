"""An id that stands for two different events is found before anything is sent."""

import io
import json
from typing import Any

from consumers.event_files import open_events
from consumers.publish import validate_and_report
from consumers.repeated_ids import RepeatedIds
from models.domain.cloudevents import decode
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import Event, Rejection
from models.settings import Settings

NOW_MS = 1_790_000_000_000


def report(event_id: str = "e-1", day: str = "2027-01-10", source: str = "//office") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": "milepost.milestone.reported.v1",
        "subject": "north/plant",
        "time": "2026-03-01T09:00:00Z",
        "data": {"milestone": "permit-approved", "classifier": "PLN", "date": day},
    }


def check(*events: dict[str, Any]) -> list[str]:
    """Return the lines that a check prints."""
    found: list[str] = []
    text = "".join(json.dumps(event) + "\n" for event in events)
    with open_events(["-"], io.BytesIO(text.encode()), reread=False) as read:
        count, invalid = validate_and_report(Settings(), read(), NOW_MS, found.append, found.append)
    assert (count, invalid) == (len(events), len(found))
    return found


def test_two_contents_of_one_id_are_reported_with_the_line_of_the_second() -> None:
    assert check(report(), report("e-2"), report(day="2027-01-11")) == [
        "<stdin>:3: conflicting-duplicate: an earlier event of source '//office' with id 'e-1' has other content"
    ]


def test_the_same_event_twice_and_the_same_id_of_two_sources_are_valid() -> None:
    assert check(report(), report(), report(day="2027-01-11", source="//other")) == []


def test_an_event_that_is_not_valid_takes_no_id() -> None:
    wrong = report(day="soon")

    [line] = check(wrong, report())
    assert line.startswith("<stdin>:1: invalid-data")


def test_only_so_many_ids_are_remembered_and_that_is_known() -> None:
    events = [event(report(name, day)) for name, day in (("1", "2027-01-10"), ("2", "2027-01-10"), ("2", "2027-01-11"))]
    few = RepeatedIds(limit=1)

    assert [few.check(one) for one in events] == events
    assert few.is_full
    assert isinstance(few.check(event(report("1", "2027-01-11"))), Rejection)


def event(document: dict[str, Any]) -> Event:
    outcome = decode(STRUCTURED_HEADERS, json.dumps(document).encode())
    assert isinstance(outcome, Event)
    return outcome
