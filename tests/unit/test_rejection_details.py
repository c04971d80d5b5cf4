"""The detail of a rejection names the cause: it is all that whoever looks at dead letters sees."""

import gzip
import json

import pytest

from models.domain.cloudevents import decode
from models.domain.envelope import Headers
from models.domain.events import Rejection, RejectionReason

STRUCTURED: Headers = [("content-type", b"application/cloudevents+json")]
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/erp",
    "type": "milepost.milestone.reported.v1",
    "subject": "north/wharf",
    "time": "2026-03-10T12:00:00Z",
    "data": {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01"},
}
VALUE = json.dumps(EVENT).encode()
DATA_FIELDS = {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01"}
DATA = json.dumps(EVENT["data"]).encode()
ATTRIBUTES = {name: str(content).encode() for name, content in EVENT.items() if name != "data"}


def detail(headers: Headers, value: bytes | None) -> str:
    outcome = decode(headers, value)
    assert isinstance(outcome, Rejection), outcome
    return outcome.detail


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "the value is null"),
        (b"", "the value is empty"),
        (b" \n", "the value holds blanks alone"),
        (b"\xef\xbb\xbf" + VALUE, "a byte order mark: write UTF-8 without one"),
        (VALUE.decode().encode("utf-16"), "the value is UTF-16: write UTF-8"),
        (VALUE.decode().encode("utf-16-le"), "the value is UTF-16: write UTF-8"),
        (VALUE.decode().encode("utf-16-be"), "the value is UTF-16: write UTF-8"),
        (b"\0\0\0\0\7" + VALUE, "a schema registry's prefix (schema 7): write plain JSON"),
        (b"\0\0\0\1\0\x02\xff\xfe", "a schema registry's prefix (schema 256): write plain JSON"),
        (gzip.compress(VALUE, mtime=0), "compressed with gzip: leave compression to the producer"),
        (b"\x28\xb5\x2f\xfd\0", "compressed with zstd"),
        (b"<event/>", "the value is XML or HTML: write JSON"),
        (b"Obj\x01\x04", "the value is an Avro file: write JSON"),
        (b"[" + VALUE + b"]", "the Kafka binding has no batches, send each event in a record of its own"),
        (json.dumps(VALUE.decode()).encode(), "a JSON string that holds JSON: it was encoded twice"),
        (VALUE[:-1], f"the JSON is cut off after {len(VALUE) - 1} bytes"),
        (VALUE[:40], "the JSON is cut off after 40 bytes"),
        (VALUE.replace(b"permit-approved", b"\\ud800x"), "one half of a surrogate pair"),
        (b"\xff" + VALUE, "not UTF-8 at byte 0"),
        (b"{'id': 1}", "JSON is malformed: "),
    ],
)
def test_a_value_that_is_no_json_object_is_told_with_what_was_found(value: bytes | None, expected: str) -> None:
    assert expected in detail(STRUCTURED, value)


def renamed(pattern: str) -> Headers:
    return [(pattern.format(name), content) for name, content in ATTRIBUTES.items()]


@pytest.mark.parametrize(
    ("headers", "value", "expected"),
    [
        (
            [("content-type", b"application/json")],
            VALUE,
            (
                "the content-type is 'application/json', so the attributes are expected in ce_ headers; a whole event"
                " stands in the value: send it with content-type application/cloudevents+json"
            ),
        ),
        (
            [("content-type", b"application/json")],
            DATA,
            "so the attributes are expected in ce_ headers; and there are no ce_ headers",
        ),
        (
            [("content-type", b'"application/cloudevents+json"')],
            VALUE,
            "the header content-type is written as JSON, with quotation marks: write it without them",
        ),
        (
            [(f"ce_{name}", json.dumps(content.decode()).encode()) for name, content in ATTRIBUTES.items()],
            DATA,
            "the header ce_specversion is written as JSON, with quotation marks: write it without them",
        ),
        ([("content-type", b"\xa1\x10application/json")], DATA, "the header content-type is encoded for AMQP"),
        (renamed("CE_{}"), DATA, "there is a header 'CE_specversion': the Kafka binding calls it 'ce_specversion'"),
        (renamed("cloudEvents_{}"), DATA, "there is a header 'cloudEvents_specversion': the Kafka binding"),
        (renamed("cloudEvents:{}"), DATA, "there is a header 'cloudEvents:specversion': the Kafka binding"),
        ([*STRUCTURED, *renamed("ce_{}")], DATA, "there are ce_ headers: send them with content-type application/json"),
        ([], json.dumps({"schema": {}, "payload": EVENT}).encode(), "set value.converter.schemas.enable=false"),
        ([], json.dumps({"before": None, "after": EVENT, "op": "c"}).encode(), "a change event of Debezium"),
        ([], json.dumps({"specVersion": "1.0", "Id": "1"}).encode(), "the value has 'specVersion': the name is"),
        (STRUCTURED, json.dumps({**EVENT, "id": None, "ID": "1"}).encode(), "id is missing"),
        ([], json.dumps({"event": EVENT}).encode(), "an event stands within 'event'"),
        ([], json.dumps({"message": VALUE.decode()}).encode(), "an event stands within 'message'"),
        ([], json.dumps({"eventType": "a", "eventTime": "b"}).encode(), "the schema of Event Grid"),
        (
            STRUCTURED,
            json.dumps({**EVENT, "type": "com.dapr.event.sent", "pubsubname": "p", "data": EVENT}).encode(),
            "the value is Dapr's own event: publish with the metadata rawPayload=true",
        ),
    ],
)
def test_an_envelope_that_was_written_for_another_reader_is_told_by_its_cause(
    headers: Headers, value: bytes, expected: str
) -> None:
    assert expected in detail(headers, value)


def test_a_fault_of_the_event_itself_is_told_without_a_guess() -> None:
    assert detail(STRUCTURED, json.dumps({**EVENT, "time": "today"}).encode()).startswith("time: ")
    assert detail(STRUCTURED, json.dumps({**EVENT, "subject": "North"}).encode()) == (
        "subject 'North' is not <programme>/<project>: the programme 'North' holds 'N', write 'north'"
        " (a slug has 1 to 64 of a-z, 0-9, and within also '.', '_', '-')"
    )


SLUG_RULE = "(a slug has 1 to 64 of a-z, 0-9, and within also '.', '_', '-')"
REGISTERED = "milepost.programme.registered.v1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"subject": "harbour/-x"}, f"the project '-x' begins with '-' {SLUG_RULE}"),
        ({"subject": "harbour/x-"}, f"the project 'x-' ends with '-' {SLUG_RULE}"),
        ({"subject": "harbour/"}, f"the project '' is empty {SLUG_RULE}"),
        ({"subject": "Hafen Süd/x"}, f"the programme 'Hafen Süd' holds 'H' {SLUG_RULE}"),
        ({"subject": "a/b/c"}, "it has 3 parts"),
        ({"subject": f"a/{'x' * 65}"}, "has 65 characters"),
        ({"subject": "a"}, "subject 'a' of a milepost.milestone.reported.v1 is not <programme>/<project>"),
        (
            {"subject": "a/b", "type": REGISTERED, "data": {}},
            f"subject 'a/b' of a {REGISTERED} is not <programme> alone",
        ),
        ({"id": "a\tb"}, r"id holds a control character (U+0009 as character 2): 'a\tb'"),
        ({"id": 5}, "id is a number, not a text"),
        ({"id": ""}, "id is empty"),
        ({"source": None}, "source is missing"),
        ({"type": ""}, "type is empty"),
        ({"specversion": None}, 'specversion is missing: write "1.0"'),
        ({"subject": "harbour/d\u043eck"}, "the project 'd\u043eck' holds '\u043e' (U+043E)"),
        ({"time": "2026-02-03 15:30"}, "'2026-02-03 15:30', write it as 2026-02-03T15:30:00+02:00 or, in UTC,"),
        ({"source": ["x"]}, "source is an array, not a text"),
        ({"time": {}}, "time is an object, not a text"),
        ({"specversion": 1.0}, "specversion is a number, not a text"),
        ({"data_base64": 5, "data": None}, "data_base64 is a number, not a text"),
        ({"type": "milepost.milestone.report.v1"}, "did you mean 'milepost.milestone.reported.v1'?"),
    ],
)
def test_a_rule_of_an_attribute_is_said_in_words_with_the_offending_character(
    changes: dict[str, object], expected: str
) -> None:
    assert expected in detail(STRUCTURED, json.dumps({**EVENT, **changes}).encode())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classifier": "plan"}, "`classifier` is 'plan': allowed are PLN, EST, ACT"),
        ({"classifier": None}, "`classifier` is null"),
        ({"milestone": "Permit approved"}, "`milestone` 'Permit approved' holds 'P', write 'permit-approved'"),
        ({"date": "1.6.2026"}, "`date` is '1.6.2026', not YYYY-MM-DD"),
        ({"date": "2026-02-30"}, "`date` is '2026-02-30': there is no such day"),
        ({"date": "1989-12-31"}, "`date` is '1989-12-31': allowed are the years 1990 to 2100"),
        ({"party": "x" * 201}, "`party` has 201 characters, allowed are 200"),
        ({"amount": 5}, "`amount` is a number, not an object"),
        ({"amount": {"amount": "12,000", "currency": "EUR"}}, "`amount.amount` is the text '12,000', not a number"),
        ({"amount": {"amount": -1, "currency": "eur"}}, "`amount.amount` is -1: allowed is at least 0"),
        ({"amount": {"amount": 1, "currency": "eur"}}, "`amount.currency` is 'eur': allowed are three capital letters"),
        ({"amount": {"currency": "EUR"}}, "`amount.amount` is missing"),
        ({"classifier": "ACT", "date": "2026-12-01"}, "actual date 2026-12-01 lies 266 days after the claim was made"),
    ],
)
def test_a_rule_of_a_field_is_said_in_words_with_what_is_allowed(changes: dict[str, object], expected: str) -> None:
    assert expected in detail(STRUCTURED, json.dumps({**EVENT, "data": DATA_FIELDS | changes}).encode())


def test_all_faults_of_an_event_are_said_at_once() -> None:
    event = {**EVENT, "id": "", "time": "today", "data": {"milestome": "x", "classifier": "plan", "date": "2026-06-01"}}

    assert detail(STRUCTURED, json.dumps(event).encode()) == (
        "id is empty; time: not an RFC 3339 timestamp with an offset: 'today', write it as 2026-02-03T15:30:00+02:00"
        " or, in UTC, as 2026-02-03T13:30:00Z; `milestone` is missing;"
        " `classifier` is 'plan': allowed are PLN, EST, ACT; nobody knows `milestome`: did you mean `milestone`?"
    )


def test_fields_of_the_data_among_the_attributes_are_named() -> None:
    event = {name: content for name, content in EVENT.items() if name != "data"}

    assert detail(STRUCTURED, json.dumps(event | DATA_FIELDS).encode()).startswith(
        "`milestone`, `classifier`, `date` stand beside `data`: put the fields of the data into it;"
    )


def test_the_same_faults_are_said_in_binary_mode() -> None:
    headers = [(f"ce_{name}", content) for name, content in ATTRIBUTES.items() if name not in {"id", "time"}]
    data = json.dumps({"milestone": "x", "classifier": "plan"}).encode()

    assert detail([*headers, ("content-type", b"application/json")], data) == (
        "id is missing; time is missing; `classifier` is 'plan': allowed are PLN, EST, ACT; `date` is missing"
    )


def test_many_faults_are_bounded_and_the_others_counted() -> None:
    long = "Ä" * 100
    data = {"milestone": long, "reason": long, "classifier": long, "date": long, "amount": {"currency": long}}
    said = detail(STRUCTURED, json.dumps({**EVENT, "subject": f"{long}/{long}", "data": data}).encode())

    assert len(said) <= 600
    assert said.endswith(" more")


def test_the_reason_is_that_of_the_first_fault() -> None:
    outcome = decode(STRUCTURED, json.dumps({**EVENT, "id": "", "data": {}}).encode())

    assert isinstance(outcome, Rejection)
    assert outcome.reason is RejectionReason.INVALID_ENVELOPE
