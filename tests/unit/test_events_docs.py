"""docs/events.md is what the code says, and its examples are what it says of them."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from consumers.event_files import open_events
from consumers.publish import validate
from deploy.events_docs import examples
from deploy.events_docs.__main__ import ATTRIBUTES, main, render_events_docs
from models.domain.cloudevents import decode
from models.domain.data_fields import json_schema
from models.domain.dead_letters import MILEPOST_HEADERS
from models.domain.envelope import ATTRIBUTE_NAMES, STRUCTURED_HEADERS
from models.domain.events import DATA_TYPES, Event, RejectionReason

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "events.md").read_text(encoding="utf-8")


def test_the_page_is_as_the_code_writes_it() -> None:
    assert render_events_docs().rstrip("\n") + "\n" == PAGE, "run `make generated`"


def test_it_is_written_to_the_file_that_is_named(tmp_path: Path) -> None:
    assert main([str(tmp_path / "events.md")]) == 0
    assert (tmp_path / "events.md").read_text(encoding="utf-8") == PAGE


def test_without_a_file_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_attribute_that_is_read_is_there() -> None:
    assert {*ATTRIBUTE_NAMES, "data", "data_base64"} <= ATTRIBUTES.keys()


def test_every_header_of_a_dead_letter_is_there() -> None:
    assert all(f"`{name}`" in PAGE for name in MILEPOST_HEADERS)


@pytest.mark.parametrize("event_type", DATA_TYPES)
def test_the_example_of_every_type_is_an_event_and_has_its_schema(event_type: str) -> None:
    example = examples.example_event(event_type)
    outcome = decode(STRUCTURED_HEADERS, json.dumps(example).encode())

    assert isinstance(outcome, Event), outcome
    assert outcome.oddities == ()
    assert jsonschema_rs.is_valid(json_schema(event_type), example["data"], validate_formats=True)


def test_both_modes_carry_the_same_event() -> None:
    short = examples.SHORT_EVENT
    headers = [(name, content.encode()) for name, content in examples.binary_headers(short)]
    binary = decode(headers, json.dumps(short["data"]).encode())

    assert binary == decode(STRUCTURED_HEADERS, json.dumps(short).encode())
    assert isinstance(binary, Event)


@pytest.mark.parametrize("example", [examples.retraction_example(), examples.amended_example()])
def test_what_corrects_is_an_event(example: examples.JsonObject) -> None:
    outcome = decode(STRUCTURED_HEADERS, json.dumps(example).encode())

    assert isinstance(outcome, Event), outcome
    assert outcome.instant > "2026-02-03T13:30:00"


@pytest.mark.parametrize(("ending", "text"), [("csv", examples.csv_file()), ("yaml", examples.yaml_file())])
def test_the_files_hold_the_events_of_the_json_lines(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"events.{ending}"
    path.write_text(text, encoding="utf-8")
    with path.open("rb") as unused, open_events([str(path)], unused, reread=False) as read:
        outcomes = [checked.outcome for checked in validate(read(), examples.APPENDED_MS, {})]

    assert outcomes == [decode(STRUCTURED_HEADERS, json.dumps(event).encode()) for event in examples.file_events()]
    assert all(isinstance(outcome, Event) for outcome in outcomes)


def test_every_reason_has_one_example() -> None:
    assert sorted(given.reason for given in examples.REJECTED_INPUTS) == sorted(RejectionReason)


def test_an_event_of_each_type_that_milepost_publishes_is_shown() -> None:
    types = [event["type"] for event in examples.change_examples()]

    assert types == [
        "milepost.forecast.changed.v1",
        "milepost.milestone.achieved.v1",
        "milepost.gate.opened.v1",
    ]
    assert all(f"| `{event_type}` |" in PAGE for event_type in types)
