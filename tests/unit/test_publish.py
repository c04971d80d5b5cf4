"""Events out of files: read, checked, turned into records. Sending itself is tested against a broker."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from consumers import event_numbers
from consumers.event_files import EventFileError, EventLine, open_events
from consumers.publish import ContentMode, Validated, _encode_record, _UnsendableError, validate
from models.domain.cloudevents import decode
from models.domain.events import DATA_TYPES, Event, Rejection
from tests.helpers import event_generators
from tests.helpers.oracle import JsonEvent as Json

# 2026-11-01T00:00:00Z
NOW_MS = 1_793_491_200_000
HEADERS = [("content-type", b"application/cloudevents+json")]
Write = Callable[[str, str | bytes], list[EventLine]]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Give a function that writes a file and reads it as events."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str | bytes) -> list[EventLine]:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with open_events([name], io.BytesIO(), reread=False) as read:
            return list(read())

    return write


def documents(found: list[EventLine]) -> list[Any]:
    assert [place.fault for place in found] == [None] * len(found)
    return [json.loads(place.value) for place in found]


def checked(found: list[EventLine], allowed: dict[str, list[str]] | None = None) -> list[Validated]:
    return list(validate(found, NOW_MS, allowed or {}))


def reasons(found: list[EventLine]) -> list[str]:
    return [
        f"{where}: {outcome.reason}: {outcome.detail}" if isinstance(outcome, Rejection) else f"{where}: fine"
        for where, outcome in checked(found)
    ]


def report(**more: object) -> Json:
    data = {"milestone": "site-leased", "classifier": "PLN", "date": "2026-06-01"}
    named = {"specversion": "1.0", "id": "1", "source": "office", "type": "milepost.milestone.reported.v1"}
    return {**named, "subject": "north/wharf", "time": "2026-01-01T12:00:00Z", "data": data, **more}


# JSON Lines


def test_json_lines_keep_their_very_bytes_and_their_line_numbers_and_blank_lines_are_skipped(written: Write) -> None:
    found = written("x.jsonl", b'\n {"a" : 1} \n\r\n  \n{broken\r\n\xff\n{"b":2}')
    assert [(place.location, place.value) for place in found] == [
        ("x.jsonl:2", b' {"a" : 1} '),
        ("x.jsonl:5", b"{broken"),
        ("x.jsonl:6", b"\xff"),
        ("x.jsonl:7", b'{"b":2}'),
    ]


@pytest.mark.parametrize("name", ["events.json", "events.log", "events"])
def test_a_file_of_any_other_name_is_json_lines(written: Write, name: str) -> None:
    assert documents(written(name, json.dumps(report()) + "\n")) == [report()]


def test_a_byte_order_mark_is_no_part_of_an_event(written: Write) -> None:
    assert documents(written("x.jsonl", b"\xef\xbb\xbf" + json.dumps(report()).encode())) == [report()]
    assert documents(written("x.csv", b"\xef\xbb\xbfid,jobs,source,type,subject,time\n1,2\n")) == [
        {"specversion": "1.0", "id": "1", "data": {"jobs": 2}}
    ]


def test_standard_input_and_pipes_can_be_read_twice(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    with open_events(["-", str(tmp_path / "a.jsonl")], io.BytesIO(b'{"a":1}\n{"b":2}\n'), reread=True) as read:
        for _ in range(2):
            assert [place.value for place in read()] == [b'{"a":1}', b'{"b":2}', b"{}"]
            assert next(read()).location == "<stdin>:1"


def test_a_file_that_is_not_there_is_reported_before_any_is_read(tmp_path: Path) -> None:
    with (
        pytest.raises(EventFileError, match=r"nowhere\.jsonl cannot be read: No such file"),
        open_events(["-", str(tmp_path / "nowhere.jsonl")], io.BytesIO(), reread=False),
    ):
        pass
    with pytest.raises(EventFileError, match="directory"), open_events([str(tmp_path)], io.BytesIO(), reread=False):
        pass


# CSV


def test_csv_columns_named_like_attributes_go_to_the_envelope_and_dotted_names_nest(written: Write) -> None:
    [first, second] = documents(
        written(
            "x.csv",
            "id,source,type,subject,time,partitionkey,milestone,lag_days,after.project,after.milestone,amount.amount,jobs,remark\n"
            "d1, office ,milepost.dependency.declared.v1,north/wharf,2026-01-01T00:00:00Z,north,x,-3,quay,y,,,\n"
            '17,office,t,s,t,,,,,,1000000.50,12,"two\nlines, and ""more"""\n',
        )
    )
    assert first == {
        "specversion": "1.0",
        "id": "d1",
        "source": "office",
        "type": "milepost.dependency.declared.v1",
        "subject": "north/wharf",
        "time": "2026-01-01T00:00:00Z",
        "partitionkey": "north",
        "data": {"milestone": "x", "lag_days": -3, "after": {"project": "quay", "milestone": "y"}},
    }
    assert second["id"] == "17"
    assert second["data"] == {"amount": {"amount": 1000000.5}, "jobs": 12, "remark": 'two\nlines, and "more"'}


def test_csv_lines_are_counted_through_blank_lines_and_quoted_line_breaks(written: Write) -> None:
    found = written("x.csv", '\nid,remark,source,type,subject,time\n1,"a\nb"\n\n2,c\n,\n3,d\n')
    assert [place.location for place in found] == ["x.csv:3", "x.csv:6", "x.csv:8"]


def test_csv_that_cannot_be_meant_is_reported_with_its_line(written: Write) -> None:
    found = written("x.csv", "id,source,type,subject,time,a,a.b\n1,,,,,x,y\n2,,,,,x,,more\n3,,,,,x\n")
    assert [(place.location, place.fault) for place in found] == [
        ("x.csv:2", "column a.b and another one say two things of the same field"),
        ("x.csv:3", "cell 8 ('more') has no name in the header"),
        ("x.csv:4", None),
    ]
    [twice] = written("x.csv", "id,id\n1,2\n")
    assert (twice.location, twice.fault) == ("x.csv:1", "the header names 'id' twice")
    fine, latin = written("x.csv", b"id,name,source,type,subject,time\n1,a\n2,\xe9\n3,b\n")
    assert fine.fault is None
    assert (latin.location, latin.fault) == ("x.csv:3", "not UTF-8 at byte 2 of the line")
    *_, open_quote = written("x.csv", 'id,name,source,type,subject,time\n1,a\n2,"b\n')
    assert "not CSV" in (open_quote.fault or "")


def test_what_is_no_number_stays_text_and_the_check_says_what_was_expected(written: Write) -> None:
    header = "id,source,type,subject,time,jobs\n"
    found = written("x.csv", f'{header}1,o,milepost.project.registered.v1,north/wharf,2026-01-01T00:00:00Z,"1,000"\n')
    assert reasons(found) == ["x.csv:2: invalid-data: `jobs` is the text '1,000', not a number"]


# YAML


def test_yaml_is_a_list_or_several_documents_each_with_its_line(written: Write) -> None:
    found = written(
        "x.yaml",
        "# plans\n- id: 17\n  time: 2026-01-01T12:00:00Z\n  data: {date: 2026-06-01, jobs: 12, late: no}\n"
        "-\n  id: b\n  specversion: 1.0\n---\nid: 0x1\ndata:\n  lag_days: -3\n---\n---\n[]\n",
    )
    assert [place.location for place in found] == ["x.yaml:2", "x.yaml:6", "x.yaml:9"]
    first, second, third = documents(found)
    assert first == {
        "specversion": "1.0",
        "id": "17",
        "time": "2026-01-01T12:00:00Z",
        "data": {"date": "2026-06-01", "jobs": 12, "late": "no"},
    }
    assert second == {"specversion": "1.0", "id": "b"}
    assert third == {"specversion": "1.0", "id": "0x1", "data": {"lag_days": -3}}


def test_yaml_anchors_and_merges_work_for_what_events_share(written: Write) -> None:
    first, second = documents(written("x.yml", "- &a {id: 1, source: office, data: {jobs: 1}}\n- <<: *a\n  id: 2\n"))
    assert first == {"specversion": "1.0", "id": "1", "source": "office", "data": {"jobs": 1}}
    assert second == {**first, "id": "2"}


@pytest.mark.parametrize("data_type", DATA_TYPES.values(), ids=str)
def test_a_field_that_holds_a_number_in_one_type_holds_none_but_numbers_in_all(data_type: type) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(data_type)}
    found = {path for path in event_numbers.NUMBER_FIELDS if path[0] in names}
    assert found == set(event_numbers._number_fields(data_type))


@pytest.mark.parametrize(
    ("written_as", "published"),
    [
        ("jobs: 12", {"jobs": 12}),
        ("jobs: -3", {"jobs": -3}),
        ("jobs: 0123", {"jobs": 123}),
        ("jobs: 0o17", {"jobs": 15}),
        ("jobs: 0b11", {"jobs": "0b11"}),
        ("jobs: 1e400", {"jobs": "1e400"}),
        ("jobs: .inf", {"jobs": ".inf"}),
        ("jobs: 1_000", {"jobs": "1_000"}),
        ("jobs: 1:30", {"jobs": "1:30"}),
        ("jobs: 0x1F", {"jobs": 31}),
        ("jobs: 12.0", {"jobs": 12.0}),
        ("jobs: '12'", {"jobs": 12}),
        ("jobs: many", {"jobs": "many"}),
        ("jobs: yes", {"jobs": "yes"}),
        ("jobs: 2026-01-01", {"jobs": "2026-01-01"}),
        ("jobs: 0b_", {"jobs": "0b_"}),
        ("jobs: '[1'", {"jobs": "[1"}),
        ("jobs: null", {"jobs": None}),
        ("jobs: ~", {"jobs": None}),
        ("jobs:", {"jobs": None}),
        ("investment: {amount: 1000000.50, currency: EUR}", {"investment": {"amount": 1e6 + 0.5, "currency": "EUR"}}),
        ("investment: {amount: .5, currency: 17}", {"investment": {"amount": 0.5, "currency": "17"}}),
        ("investment: 5", {"investment": "5"}),
        ("name: 007", {"name": "007"}),
        ("name: 1_000", {"name": "1_000"}),
        ("name: no", {"name": "no"}),
        ("name: null", {"name": None}),
        ("name: 'null'", {"name": "null"}),
        ("name: 2026-01-01", {"name": "2026-01-01"}),
        ("colour: 5", {"colour": "5"}),
        ("colour: {shade: 1.0, dark: yes}", {"colour": {"shade": "1.0", "dark": "yes"}}),
    ],
)
def test_in_yaml_the_schema_decides_what_is_a_number_and_yaml_how_it_may_be_written(
    written: Write, written_as: str, published: Json
) -> None:
    text = f"id: 1\ntype: milepost.project.registered.v1\ndata:\n  {written_as}\n"
    [event] = documents(written("x.yaml", text))
    assert event["data"] == published
    assert [type(value) for value in event["data"].values()] == [type(value) for value in published.values()]


@pytest.mark.parametrize(
    ("cell", "published"),
    [
        ("12", 12),
        ("-3", -3),
        ("1e3", 1000.0),
        ("12.0", 12.0),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("+5", "+5"),
        ("nan", "nan"),
        ("null", "null"),
        ("true", "true"),
        ('"""12"""', '"12"'),
        ("[1]", "[1]"),
    ],
)
def test_in_csv_a_number_is_one_of_json(written: Write, cell: str, published: object) -> None:
    [event] = documents(written("x.csv", f"id,jobs,name,source,type,subject,time\n1,{cell},{cell}\n"))
    assert repr(event["data"]["jobs"]) == repr(published)
    assert event["data"]["name"] == cell.replace('"""', '"')


def test_a_number_that_is_out_of_range_is_reported_as_such_and_fields_that_look_like_numbers_are_text(
    written: Write,
) -> None:
    columns = "id,source,type,subject,time,jobs,name\n"
    event = "o,milepost.project.registered.v1,north/wharf,2026-01-01T00:00:00Z"
    assert reasons(written("x.csv", f"{columns}1,{event},-1,\n2,{event},1,17\n")) == [
        "x.csv:2: invalid-data: `jobs` is -1: allowed is at least 0",
        "x.csv:3: fine",
    ]


@pytest.mark.parametrize(
    ("text", "where", "fault"),
    [
        ("- id: 1\n- id: [2\n- id: 3\n", "x.yaml:3", "not YAML: "),
        ("- id: 1\n- only text\n", "x.yaml:2", "not an object"),
        ("- id: 1\n- !!python/object:os.system {}\n", "x.yaml:2", "could not determine a constructor"),
        (b"- id: 1\n- id: \xff\n", "x.yaml:2", "not UTF-8"),
        ("- id: 1\n- id: \0\n", "x.yaml:2", "not YAML: "),
        ("id: 1\ndata:\n  date: a\n  date: b\n", "x.yaml:4", "the name 'date' stands twice in one object"),
        ("id: 1\ndata: {}\nid: 2\ndata: {}\n", "x.yaml:3", "the name 'id' stands twice in one object"),
        ("- id: 1\n- &a {data: *a}\n", "x.yaml:2", "once its aliases are written out"),
        ("- id: 1\n- {data: " + "[" * 5000 + "\n", "x.yaml:2", "not YAML: "),
    ],
)
def test_yaml_that_is_none_is_reported_with_its_line(written: Write, text: str | bytes, where: str, fault: str) -> None:
    *_, last = written("x.yaml", text)
    assert last.location == where
    assert fault in (last.fault or "")


# Checking


def test_every_bad_event_is_reported_with_its_place_and_reason(written: Write) -> None:
    lines = [
        report(),
        report(subject="north"),
        report(type="milepost.milestone.reported.v2"),
        report(data={"milestone": "x", "classifier": "PLN", "date": "2026-02-30"}),
        report(id="2", time="2026-11-01T00:10:00Z"),
        report(id="2", time="2026-11-01T00:10:00.001Z"),
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "[1]\n" + json.dumps(report(id="x" * 256))
    told = [line.split(": ")[:2] for line in reasons(written("x.jsonl", text))]
    assert told == [
        ["x.jsonl:1", "fine"],
        ["x.jsonl:2", "invalid-envelope"],
        ["x.jsonl:3", "unsupported-type"],
        ["x.jsonl:4", "invalid-data"],
        ["x.jsonl:5", "fine"],
        ["x.jsonl:6", "time-in-future"],
        ["x.jsonl:7", "malformed"],
        ["x.jsonl:8", "invalid-envelope"],
    ]


def test_the_sources_allowed_are_checked_as_a_worker_will(written: Write) -> None:
    found = written("x.jsonl", json.dumps(report()))
    [known] = checked(found, {"north": ["office"]})
    assert isinstance(known.outcome, Event)
    [stranger] = checked(found, {"north": ["registry"]})
    assert isinstance(stranger.outcome, Rejection)
    assert stranger.outcome.reason == "source-not-allowed"


def test_fields_that_nobody_will_read_are_named(written: Write) -> None:
    odd = report(data={**report()["data"], "colour": "blue", "Remark": "typo"})
    [one, other] = checked(written("x.jsonl", json.dumps(odd) + "\n" + json.dumps(report())))
    assert isinstance(one.outcome, Event)
    assert one.unknown_fields == ("Remark", "colour")
    assert other.unknown_fields == ()


# Records


def place(event: object) -> EventLine:
    return EventLine("x.jsonl:1", json.dumps(event).encode())


@settings(deadline=None)
@given(event_generators.events())
def test_both_modes_carry_the_same_event_and_the_programme_is_the_key(event: Json) -> None:
    structured, binary = (_encode_record(place(event), mode) for mode in ContentMode)
    expected = decode(HEADERS, place(event).value)
    assert isinstance(expected, Event)
    assert decode(structured.headers, structured.value) == expected
    assert decode(binary.headers, binary.value) == expected
    key = event.get("partitionkey", event["subject"].split("/")[0]).encode()
    assert structured.key == binary.key == key


def test_binary_mode_follows_the_kafka_binding() -> None:
    event = report(traceparent="00-ab", sampled=True, sequence=7, dataschema=None)
    record = _encode_record(place(event), ContentMode.BINARY)
    named = dict(record.headers)
    assert named.pop("content-type") == b"application/json"
    attributes = {
        name: str(event[name]).encode() for name in ("specversion", "id", "source", "type", "subject", "time")
    }
    extensions = {"ce_traceparent": b"00-ab", "ce_sampled": b"true", "ce_sequence": b"7"}
    assert named == {**{f"ce_{name}": value for name, value in attributes.items()}, **extensions}
    assert json.loads(record.value) == event["data"]


def test_binary_mode_sends_coded_data_as_what_it_codes_and_no_data_as_an_empty_object() -> None:
    coded = {name: value for name, value in report().items() if name != "data"} | {"data_base64": "eyJhIjoxfQ=="}
    assert _encode_record(place(coded), ContentMode.BINARY).value == b'{"a":1}'
    del coded["data_base64"]
    assert _encode_record(place(coded), ContentMode.BINARY).value == b"{}"
    assert _encode_record(place(coded | {"data": None}), ContentMode.BINARY).value == b"{}"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'{"subject":"north/wharf"}', b"north"),
        (b'{"subject":"north"}', b"north"),
        (b'{"subject":"north/wharf","partitionkey":"p"}', b"p"),
        (b'{"subject":"north/wharf","partitionkey":""}', b"north"),
        (b'{"subject":["north"],"partitionkey":7}', None),
        (b'{"subject":""}', None),
        (b'{"subject":"\\ud800/x"}', None),
        (b"{}", None),
        (b"[1]", None),
        (b"{broken", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_what_is_sent_unchecked_goes_untouched_with_the_key_that_can_be_read(value: bytes, key: bytes | None) -> None:
    record = _encode_record(EventLine("x:1", value), ContentMode.STRUCTURED)
    assert (record.key, record.headers, record.value) == (key, HEADERS, value)


def test_what_has_no_attributes_cannot_go_in_binary_mode() -> None:
    for value in (b"{broken", b"[1]", b'{"data_base64":"%"}'):
        with pytest.raises(_UnsendableError, match="binary mode"):
            _encode_record(EventLine("x:1", value), ContentMode.BINARY)
    with pytest.raises(_UnsendableError, match="no name"):
        _encode_record(EventLine("x:1", b"", "cell 4 has no name"), ContentMode.STRUCTURED)
