"""What is told to others of a movement, document by document."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.forecast_changes import HistoryRow, encode_changes

SLIPPED = HistoryRow(
    programme="north",
    number=7,
    project="mill",
    milestone="site-leased",
    revision=12,
    recorded_ms=1_773_144_000_250,
    previous=date(2026, 3, 20),
    current=date(2026, 4, 2),
    slip_days=13,
    state="blocked",
    driver_project="park",
    driver_milestone="park-commissioned",
    dependents=None,
    cause_source="https://plans.example/north",
    cause_id="e-1",
    correlationid="c-1",
)
OPENED = SLIPPED._replace(
    previous=date(2026, 4, 2),
    state="achieved",
    driver_project=None,
    driver_milestone=None,
    dependents=3,
    correlationid=None,
)


def documents(noted: HistoryRow) -> list[dict[str, Any]]:
    return [json.loads(value) for value in encode_changes(noted)]


def names(noted: HistoryRow) -> list[str]:
    return [document["id"] for document in documents(noted)]


def test_a_forecast_that_moved_is_one_event() -> None:
    assert documents(SLIPPED) == [
        {
            "specversion": "1.0",
            "id": names(SLIPPED)[0],
            "source": "/milepost",
            "type": "milepost.forecast.changed.v1",
            "subject": "north/mill",
            "time": "2026-03-10T12:00:00.25Z",
            "partitionkey": "north",
            "causationid": "e-1",
            "causationsource": "https://plans.example/north",
            "correlationid": "c-1",
            "datacontenttype": "application/json",
            "data": {
                "milestone": "site-leased",
                "from": "2026-03-20",
                "to": "2026-04-02",
                "slip_days": 13,
                "driver": "park/park-commissioned",
                "state": "blocked",
            },
        }
    ]


def test_a_milestone_achieved_on_its_day_that_others_wait_for_is_two() -> None:
    achieved, opened = names(OPENED)
    envelope = {
        "specversion": "1.0",
        "source": "/milepost",
        "subject": "north/mill",
        "time": "2026-03-10T12:00:00.25Z",
        "partitionkey": "north",
        "causationid": "e-1",
        "causationsource": "https://plans.example/north",
        "datacontenttype": "application/json",
    }
    assert documents(OPENED) == [
        {
            **envelope,
            "id": achieved,
            "type": "milepost.milestone.achieved.v1",
            "data": {"milestone": "site-leased", "date": "2026-04-02", "slip_days": 13},
        },
        {
            **envelope,
            "id": opened,
            "type": "milepost.gate.opened.v1",
            "data": {"milestone": "site-leased", "date": "2026-04-02", "dependents": 3},
        },
    ]


@pytest.mark.parametrize(
    ("noted", "types"),
    [
        (SLIPPED, ["forecast.changed"]),
        (OPENED, ["milestone.achieved", "gate.opened"]),
        (OPENED._replace(previous=date(2026, 3, 20)), ["forecast.changed", "milestone.achieved", "gate.opened"]),
        (OPENED._replace(dependents=0), ["milestone.achieved"]),
        (OPENED._replace(previous=None, dependents=0), ["forecast.changed", "milestone.achieved"]),
        (OPENED._replace(dependents=None), []),
    ],
)
def test_what_is_published_depends_on_what_happened(noted: HistoryRow, types: list[str]) -> None:
    assert [document["type"] for document in documents(noted)] == [f"milepost.{name}.v1" for name in types]


def test_a_forecast_out_of_nowhere_or_into_it_is_null_there() -> None:
    [appeared] = documents(SLIPPED._replace(previous=None, slip_days=None, driver_project=None, driver_milestone=None))
    assert appeared["data"] == {
        "milestone": "site-leased",
        "from": None,
        "to": "2026-04-02",
        "slip_days": None,
        "driver": None,
        "state": "blocked",
    }
    [gone] = documents(SLIPPED._replace(current=None, slip_days=None, state="unknown"))
    assert (gone["data"]["from"], gone["data"]["to"], gone["data"]["state"]) == ("2026-03-20", None, "unknown")


def test_a_milestone_that_is_cancelled_has_neither_date_nor_slip_nor_driver() -> None:
    driverless = SLIPPED._replace(driver_project=None, driver_milestone=None)
    [cancelled] = documents(driverless._replace(state="cancelled", current=None, slip_days=None))
    assert cancelled["data"] == {
        "milestone": "site-leased",
        "from": "2026-03-20",
        "to": None,
        "slip_days": None,
        "driver": None,
        "state": "cancelled",
    }


def test_without_a_correlation_there_is_none() -> None:
    [document] = documents(SLIPPED._replace(correlationid=None))
    assert "correlationid" not in document


def test_ids_are_for_ever() -> None:
    # An id that another release made otherwise would tell the same change twice.
    assert names(SLIPPED) == ["dd656dd4a8536b2b7b3e45d57c95b9aa"]
    assert names(OPENED) == ["ffd9c619ee877f02743db2b5b6f9aa88", "1015d899f3422f1b1580f960963782b0"]


@pytest.mark.parametrize(
    "again",
    [
        {"number": 8},
        {"revision": 13},
        {"recorded_ms": 0},
        {"correlationid": None},
        # What else is told of the change follows from the rest of the facts, and is not which change it is.
        {"slip_days": 12, "state": "slipping"},
    ],
)
def test_the_same_change_noted_otherwise_has_the_same_ids(again: dict[str, Any]) -> None:
    moved = OPENED._replace(previous=date(2026, 3, 20))
    assert names(moved._replace(**again)) == names(moved)


def test_different_changes_have_different_ids() -> None:
    others: list[dict[str, Any]] = [
        {},
        {"programme": "south"},
        {"project": "inn"},
        {"milestone": "design-completed"},
        {"previous": date(2026, 3, 21)},
        {"previous": None},
        {"current": date(2026, 4, 3)},
        {"current": None},
        {"previous": date(2026, 4, 2), "current": date(2026, 3, 20)},
        {"cause_id": "e-2"},
        {"cause_source": "https://plans.example/south"},
        # Where one name ends and the next begins makes a difference.
        {"programme": "northm", "project": "ill"},
        {"cause_source": "https://plans.example/northe", "cause_id": "-1"},
    ]
    told = [name for other in others for name in names(SLIPPED._replace(dependents=1, **other))]
    assert len(set(told)) == len(told) == 3 * len(others)


@pytest.mark.parametrize(
    "noted", [SLIPPED, OPENED, SLIPPED._replace(previous=None, driver_project=None, recorded_ms=0)]
)
def test_the_official_sdk_reads_every_one_of_them(noted: HistoryRow) -> None:
    headers = dict(STRUCTURED_HEADERS)
    assert headers == {"content-type": b"application/cloudevents+json"}
    for value, document in zip(encode_changes(noted), documents(noted), strict=True):
        event = from_kafka(KafkaMessage(headers, noted.programme.encode(), value), JSONFormat())
        # It checks the names and types of all attributes.
        assert isinstance(event, CloudEvent)
        assert (event.get_id(), event.get_source()) == (document["id"], "/milepost")
        assert (event.get_type(), event.get_subject()) == (document["type"], "north/mill")
        assert event.get_time() == datetime.fromtimestamp(noted.recorded_ms / 1000, UTC)
        assert event.get_data() == document["data"]
        for extension in ("partitionkey", "causationid", "causationsource", "correlationid"):
            assert event.get_extension(extension) == document.get(extension)


def test_any_name_and_id_can_be_published() -> None:
    odd = 'Über/büro 🏗 "\\'
    [document] = documents(SLIPPED._replace(cause_source=odd, cause_id=odd, correlationid=odd))
    assert (document["causationsource"], document["causationid"], document["correlationid"]) == (odd, odd, odd)
