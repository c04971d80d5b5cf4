"""Bytes and headers to an event or a reason: every rule of the contract's sections 1 and 3, on real bytes."""

import json
from base64 import b64encode
from datetime import date
from typing import Any

import pytest

from models.domain import plain_report
from models.domain.cloudevents import decode, decode_data, encode_structured
from models.domain.envelope import Headers
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventRetracted,
    MilestoneReported,
    Money,
    Oddity,
    Predecessor,
    ProgrammeRegistered,
    ProjectRegistered,
    ProjectWithdrawn,
    Rejection,
    RejectionReason,
)
from models.domain.json_values import MAX_JSON_DEPTH
from models.domain.timestamps import Instant
from tests.helpers.event_generators import binary_record, structured_record
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
)

STRUCTURED: Headers = [("content-type", b"application/cloudevents+json")]
LIMIT = 256 * 1024
DEEP = 10_000
ABSENT = object()
REQUIRED = ("specversion", "id", "source", "type", "subject", "time")
OPTIONAL = ("recordedtime", "correlationid", "causationid")

DATA: dict[str, dict[str, Any]] = {
    PROGRAMME_REGISTERED: {"name": "North"},
    PROJECT_REGISTERED: {"name": "Wharf"},
    PROJECT_WITHDRAWN: {},
    MILESTONE_REPORTED: {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01"},
    MILESTONE_CANCELLED: {"milestone": "permit-approved"},
    DEPENDENCY_DECLARED: {"milestone": "site-leased", "after": {"project": "wharf", "milestone": "permit-approved"}},
    DEPENDENCY_WITHDRAWN: {"milestone": "site-leased", "after": {"project": "wharf", "milestone": "permit-approved"}},
    EVENT_RETRACTED: {"retracts": "e-0", "reason": "did_not_occur"},
}
TYPES = tuple(DATA)


def document(type_: str = MILESTONE_REPORTED, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of JSON
    """Give a valid event with these attributes in place of its own."""
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "https://plans.example",
        "type": type_,
        "subject": "north" if type_ == PROGRAMME_REGISTERED else "north/wharf",
        "time": "2026-03-10T12:00:00Z",
        "data": DATA[type_],
        **changes,
    }
    return {name: value for name, value in event.items() if value is not ABSENT}


def with_data(type_: str = MILESTONE_REPORTED, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of JSON
    """Give a valid event with these fields of its data in place of its own."""
    data = {name: value for name, value in (DATA[type_] | changes).items() if value is not ABSENT}
    return document(type_, data=data)


def written(event: dict[str, Any], **raw: str) -> bytes:
    """Give the event as JSON; a string in it that is a name in `raw` is replaced by that JSON."""
    text = json.dumps(event, ensure_ascii=False)
    for name, instead in raw.items():
        text = text.replace(f'"{name}"', instead)
    return text.encode()


def accepted(headers: Headers, value: bytes | None) -> Event:
    outcome = decode(headers, value)
    assert isinstance(outcome, Event), outcome
    return outcome


def reason(headers: Headers, value: bytes | None) -> RejectionReason:
    outcome = decode(headers, value)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.detail
    assert "\n" not in outcome.detail
    return outcome.reason


def both(event: dict[str, Any]) -> tuple[Event, Event]:
    """Decode an event in both content modes."""
    return accepted(*structured_record(event)), accepted(*binary_record(event))


# What an event becomes.


def test_a_report_becomes_an_event_with_everything_it_says() -> None:
    said = document(
        recordedtime="2026-03-11T14:00:00.50+02:00",
        partitionkey="elsewhere",
        correlationid="c-1",
        causationid="c-0",
        datacontenttype="application/json",
        weather="fair",
        data={
            "milestone": "permit-approved",
            "classifier": "EST",
            "date": "2026-06-01",
            "reason": "funding",
            "remark": "NUL \0 and 🏗",
            "party": "Harbour Office",
            "amount": {"amount": 12.5, "currency": "EUR"},
        },
    )
    expected = Event(
        source="https://plans.example",
        id="e-1",
        programme="north",
        project="wharf",
        time=Instant("2026-03-10T12:00:00"),
        recorded_time=Instant("2026-03-11T12:00:00.5"),
        correlationid="c-1",
        causationid="c-0",
        data=MilestoneReported(
            milestone="permit-approved",
            classifier=Classifier.ESTIMATED,
            date=date(2026, 6, 1),
            reason="funding",
            remark="NUL \0 and 🏗",
            party="Harbour Office",
            amount=Money(12.5, "EUR"),
        ),
    )
    assert both(said) == (expected, expected)
    assert expected.instant == "2026-03-11T12:00:00.5"
    assert expected.stamp == "2026-03-11T12:00:00.5\thttps://plans.example\te-1"
    assert expected.subject == "north/wharf"


@pytest.mark.parametrize("type_", TYPES)
def test_both_content_modes_of_every_type_give_the_same_event_and_digest(type_: str) -> None:
    one, other = both(document(type_))
    assert one == other
    assert one.type == type_
    assert one.digest() == other.digest()
    assert len(one.digest()) == 16


@pytest.mark.parametrize("type_", TYPES)
def test_what_is_written_is_read_again(type_: str) -> None:
    event = accepted(*structured_record(document(type_, recordedtime="2026-03-11T12:00:00.25Z", correlationid="é")))
    assert accepted(*encode_structured(event)) == event
    assert accepted(*binary_record(json.loads(encode_structured(event)[1]))) == event


def test_records_are_keyed_by_programme_and_say_so_when_written() -> None:
    event = accepted(*structured_record(document()))
    assert json.loads(encode_structured(event)[1])["partitionkey"] == "north"
    assert ("ce_partitionkey", b"north") in binary_record(json.loads(encode_structured(event)[1]))[0]


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (PROGRAMME_REGISTERED, ProgrammeRegistered()),
        (PROJECT_REGISTERED, ProjectRegistered()),
        (PROJECT_WITHDRAWN, ProjectWithdrawn()),
    ],
)
@pytest.mark.parametrize("nothing", [ABSENT, None, {}])
def test_no_data_says_what_empty_data_says(type_: str, data: object, nothing: object) -> None:
    event = accepted(STRUCTURED, written(document(type_, data=nothing)))
    assert event.data == data
    assert event.oddities == ()


def test_null_fields_and_attributes_count_as_absent() -> None:
    plain = accepted(*structured_record(document()))
    nulls = dict.fromkeys(("recordedtime", "correlationid", "causationid", "partitionkey", "datacontenttype"))
    data = DATA[MILESTONE_REPORTED] | dict.fromkeys(("reason", "remark", "party", "amount"))
    event = accepted(STRUCTURED, written(document() | nulls | {"data": data}))
    assert event == plain
    assert event.digest() == plain.digest()


def test_an_instant_counts_for_the_content_not_its_spelling() -> None:
    one = accepted(*structured_record(document(time="2026-03-10T12:00:00Z")))
    other = accepted(*binary_record(document(time="2026-03-10t14:00:00.000+02:00")))
    assert one == other
    assert one.digest() == other.digest()


# Content modes and headers.


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"Application/CloudEvents+JSON;charset=UTF-8",
        b"  application/cloudevents+json  ",
    ],
)
def test_structured_mode_is_recognised_by_the_content_type_in_any_spelling(content_type: bytes) -> None:
    assert accepted([("content-type", content_type)], written(document())).id == "e-1"


@pytest.mark.parametrize("headers", [[], [("content-type", None)], [("content-type", b"")], [("trace", b"\xff")]])
def test_without_a_content_type_an_object_with_specversion_is_structured(headers: Headers) -> None:
    assert accepted(headers, written(document())).id == "e-1"


def test_without_a_content_type_an_object_with_specversion_is_structured_whatever_the_headers_say() -> None:
    headers, _ = binary_record(document(id="other"))
    assert accepted(headers[1:], written(document())).id == "e-1"


def test_without_a_content_type_ce_headers_make_it_binary() -> None:
    headers, value = binary_record(document())
    assert accepted(headers[1:], value).id == "e-1"


@pytest.mark.parametrize(
    "value",
    [b'{"specversion": 1, "\xff": 1}', b'{"specversion', b'{"x": "\\"specversion\\""}', b"[" * DEEP + b'"specversion"'],
)
def test_a_value_that_only_looks_structured_beside_ce_headers_is_judged_as_binary(value: bytes) -> None:
    headers, _ = binary_record(document())
    assert reason(headers[1:], value) in {RejectionReason.MALFORMED, RejectionReason.INVALID_DATA}


@pytest.mark.parametrize("content_type", [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"\xff", b"text/x"])
def test_any_other_content_type_is_binary(content_type: bytes) -> None:
    headers, value = binary_record(document())
    assert accepted([("content-type", content_type), *headers[1:]], value).id == "e-1"


def test_another_content_type_without_ce_headers_is_no_envelope() -> None:
    assert reason([("content-type", b"application/json")], written(document())) is RejectionReason.INVALID_ENVELOPE


def test_batched_mode_is_no_part_of_the_binding() -> None:
    batch = written(document()).join((b"[", b"]"))
    for content_type in (b"application/cloudevents-batch+json", b"application/cloudevents+json"):
        assert reason([("content-type", content_type)], batch) is RejectionReason.MALFORMED


def test_the_wrong_header_prefix_is_tolerated_and_marked() -> None:
    headers, value = binary_record(document())
    wrong = [(name.replace("ce_", "ce-"), text) for name, text in headers]
    event = accepted(wrong, value)
    assert event.oddities == (Oddity.HEADER_PREFIX,)
    plain = accepted(headers, value)
    assert plain.oddities == ()
    assert event.digest() == plain.digest()


def test_of_both_prefixes_the_right_one_counts() -> None:
    headers, value = binary_record(document())
    event = accepted([*headers, ("ce-id", b"wrong")], value)
    assert (event.id, event.oddities) == ("e-1", ())


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
def test_a_header_that_is_not_utf_8_is_no_envelope(name: str) -> None:
    headers, value = binary_record(document())
    assert reason([*headers, (f"ce_{name}", b"\xff\xfe")], value) is RejectionReason.INVALID_ENVELOPE


def test_a_header_of_another_name_may_hold_any_bytes() -> None:
    headers, value = binary_record(document())
    assert accepted([*headers, ("trace", b"\xff"), ("ce_weather", b"\xfe"), ("other", None)], value).id == "e-1"


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, b""])
def test_a_required_header_without_a_value_is_missing(name: str, value: bytes | None) -> None:
    headers, data = binary_record(document())
    kept = [(header, text) for header, text in headers if header != f"ce_{name}"]
    assert reason([*kept, (f"ce_{name}", value)], data) is RejectionReason.INVALID_ENVELOPE
    assert reason(kept, data) is RejectionReason.INVALID_ENVELOPE


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_header_without_a_value_is_absent(name: str) -> None:
    headers, data = binary_record(document())
    assert accepted([*headers, (f"ce_{name}", None)], data) == accepted(headers, data)


def test_data_may_come_as_base64() -> None:
    encoded = b64encode(json.dumps(DATA[MILESTONE_REPORTED]).encode()).decode()
    event = accepted(STRUCTURED, written(document(data=ABSENT, data_base64=encoded)))
    assert event == accepted(*structured_record(document()))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        ("%%%", RejectionReason.INVALID_ENVELOPE),
        ("é", RejectionReason.INVALID_ENVELOPE),
        ("e30", RejectionReason.INVALID_ENVELOPE),
        ("e 30=", RejectionReason.INVALID_ENVELOPE),
        ("", RejectionReason.MALFORMED),
        (b64encode(b"{").decode(), RejectionReason.MALFORMED),
        (b64encode(b"[]").decode(), RejectionReason.MALFORMED),
        (b64encode(b'"\xff"').decode(), RejectionReason.MALFORMED),
        (b64encode(b'{"x":' + b"[" * DEEP).decode(), RejectionReason.MALFORMED),
        (b64encode(b"{}").decode(), RejectionReason.INVALID_DATA),
    ],
)
def test_base64_that_holds_no_data_is_rejected(encoded: str, expected: RejectionReason) -> None:
    assert reason(STRUCTURED, written(document(data=ABSENT, data_base64=encoded))) is expected


def test_data_cannot_come_twice() -> None:
    encoded = b64encode(json.dumps(DATA[MILESTONE_REPORTED]).encode()).decode()
    assert reason(STRUCTURED, written(document(data_base64=encoded))) is RejectionReason.INVALID_ENVELOPE


# Malformed, and too large.

NESTED = "[" * DEEP + "]" * DEEP
OBJECTS = '{"a":' * DEEP + "1" + "}" * DEEP
NO_JSON = [
    pytest.param(None, id="null"),
    pytest.param(b"", id="empty"),
    pytest.param(b"  \n", id="blank"),
    pytest.param(b"null", id="JSON null"),
    pytest.param(b"true", id="a boolean"),
    pytest.param(b"7", id="a number"),
    pytest.param(b'"specversion"', id="a string"),
    pytest.param(b"[]", id="an array"),
    pytest.param(b"[" + written(document()) + b"]", id="an array of events"),
    pytest.param(b"{", id="cut short"),
    pytest.param(written(document())[:-1], id="an event cut short"),
    pytest.param(written(document()) + b"}", id="something behind it"),
    pytest.param(written(document()) * 2, id="two events"),
    pytest.param(b"\xef\xbb\xbf" + written(document()), id="a byte order mark"),
    pytest.param(json.dumps(document()).encode("utf-16"), id="UTF-16"),
    pytest.param(written(document(note="@")).replace(b"@", b"\xff"), id="no UTF-8 in an unknown field"),
    pytest.param(written(document(source="@")).replace(b"@", b"\xc0\x80"), id="overlong UTF-8"),
    pytest.param(written(document(source="@")).replace(b"@", b"\xed\xa0\x80"), id="a surrogate in UTF-8"),
    pytest.param(written(document(source="@"), **{"@": '"\\ud800"'}), id="a lone surrogate"),
    pytest.param(written(document(source="@"), **{"@": '"\\ud800x"'}), id="a surrogate and a letter"),
    pytest.param(written(document(source="@"), **{"@": '"\\udfff\\ud800"'}), id="surrogates the wrong way round"),
    pytest.param(written(with_data(remark="@"), **{"@": '"\\ud800"'}), id="a lone surrogate in data"),
    pytest.param(written(document(note="@"), **{"@": "NaN"}), id="NaN"),
    pytest.param(written(with_data(note="@"), **{"@": "Infinity"}), id="Infinity"),
    pytest.param(written(with_data(amount="@"), **{"@": "-Infinity"}), id="-Infinity"),
    pytest.param(written(document(note="@"), **{"@": "'single'"}), id="single quotes"),
    pytest.param(written(document(note="@"), **{"@": "01"}), id="a leading zero"),
    pytest.param(written(document(note="@"), **{"@": '"a\nb"'}), id="a raw line break in a string"),
    pytest.param(written(document(note="@"), **{"@": '"\\x"'}), id="no such escape"),
    pytest.param(written(document(note="@"), **{"@": "1,"}), id="a trailing comma"),
    pytest.param(written(document(note="@"), **{"@": "/**/1"}), id="a comment"),
    pytest.param(NESTED.encode(), id="nested arrays"),
    pytest.param(OBJECTS.encode(), id="nested objects"),
    pytest.param(b'{"specversion":' + b"[" * DEEP, id="nested arrays that never end"),
    *[
        pytest.param(written(document(**{place: "@"}), **{"@": nested}), id=f"too deep in {place}")
        for place in ("specversion", "id", "source", "type", "subject", "time", "recordedtime", "data", "note")
        for nested in (NESTED, OBJECTS)
    ],
    *[
        pytest.param(written(with_data(**{place: "@"}), **{"@": nested}), id=f"too deep in the data's {place}")
        for place in ("milestone", "date", "amount", "note")
        for nested in (NESTED, OBJECTS)
    ],
]


@pytest.mark.parametrize("value", NO_JSON)
@pytest.mark.parametrize("headers", [STRUCTURED, []], ids=["with a content type", "without"])
def test_what_is_no_json_object_is_malformed(headers: Headers, value: bytes | None) -> None:
    assert reason(headers, value) is RejectionReason.MALFORMED


NO_DATA = [
    pytest.param(None, id="null"),
    pytest.param(b"", id="empty"),
    pytest.param(b"null", id="JSON null"),
    pytest.param(b"[]", id="an array"),
    pytest.param(b"7", id="a number"),
    pytest.param(b"{", id="cut short"),
    pytest.param(b"{}{}", id="two objects"),
    pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
    pytest.param(b'{"note": "\xff"}', id="no UTF-8"),
    pytest.param(b'{"\xff": 1}', id="a name that is no UTF-8"),
    pytest.param(b'{"note": "\\ud800"}', id="a lone surrogate"),
    pytest.param(b'{"\\ud800": 1}', id="a name that is a lone surrogate"),
    pytest.param(b'{"note": NaN}', id="NaN"),
    pytest.param(NESTED.encode(), id="nested arrays"),
    pytest.param(OBJECTS.encode(), id="nested objects"),
    *[
        pytest.param(json.dumps({place: "@"}).replace('"@"', nested).encode(), id=f"too deep in {place}")
        for place in ("milestone", "date", "amount", "note")
        for nested in (NESTED, OBJECTS)
    ],
]


@pytest.mark.parametrize("value", NO_DATA)
@pytest.mark.parametrize("typed", [True, False], ids=["with a content type", "without"])
def test_binary_data_that_is_no_json_object_is_malformed(value: bytes | None, *, typed: bool) -> None:
    headers, _ = binary_record(document())
    assert reason(headers if typed else headers[1:], value) is RejectionReason.MALFORMED


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_may_nest_to_the_limit_and_no_deeper(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    for levels, fits in ((MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False)):
        inner = levels - 2  # the envelope and the data are levels, too
        value = written(with_data(note="@"), **{"@": opening * inner + "1" + closing * inner})
        outcome = decode(STRUCTURED, value)
        assert isinstance(outcome, Event) is fits
        headers, _ = binary_record(document())
        inner = levels - 1
        note = json.dumps(DATA[MILESTONE_REPORTED] | {"note": "@"}).replace(
            '"@"', opening * inner + "1" + closing * inner
        )
        assert isinstance(decode(headers, note.encode()), Event) is fits
    assert reason(STRUCTURED, value) is RejectionReason.MALFORMED


def test_brackets_side_by_side_and_in_strings_are_no_depth() -> None:
    flat = "[" + ",".join(["[]", "{}"] * DEEP) + "]"
    assert accepted(STRUCTURED, written(with_data(note="@"), **{"@": flat})).oddities == (Oddity.UNKNOWN_FIELD,)
    remark = '[{"\\' * 250
    event = accepted(STRUCTURED, written(with_data(remark=remark, note=remark + '"' * DEEP)))
    assert isinstance(event.data, MilestoneReported)
    assert event.data.remark == remark


@pytest.mark.timeout(20)
@pytest.mark.parametrize("opening", [b"[]" * 65 + b'"', b'{"a":"' + b"[]" * 65, b'{"a":' + b"[" * 65 + b'"'])
@pytest.mark.parametrize("filling", [b'\\"', b'"', b"\\\\", b"\\", b"[]", b'["', b"{", b'"['])
def test_nothing_of_the_largest_size_takes_long_to_reject(opening: bytes, filling: bytes) -> None:
    value = (opening + filling * LIMIT)[:LIMIT]
    assert reason(STRUCTURED, value) is RejectionReason.MALFORMED


def test_a_value_may_have_256_kib_and_not_a_byte_more() -> None:
    empty = len(written(document(note="")))
    fits = written(document(note="x" * (LIMIT - empty)))
    assert len(fits) == LIMIT
    assert accepted(STRUCTURED, fits).id == "e-1"
    outcome = decode(STRUCTURED, fits.replace(b'"x', b'"xx'))
    assert outcome == Rejection(RejectionReason.TOO_LARGE, "262145 bytes, allowed are 262144")
    assert reason(STRUCTURED, b"\xff" * (LIMIT + 1)) is RejectionReason.TOO_LARGE
    headers, _ = binary_record(document())
    data = DATA[MILESTONE_REPORTED] | {"note": "x" * (LIMIT - len(json.dumps(DATA[MILESTONE_REPORTED] | {"note": ""})))}
    assert accepted(headers, json.dumps(data).encode()).id == "e-1"
    assert reason(headers, json.dumps(data).encode() + b" ") is RejectionReason.TOO_LARGE


# The envelope.

CONTROL = ("\0", "\t", "\n", "\r", "\x1f", "\x7f", "\x80", "\x85", "\x9f")
NO_TIMES = (
    "",
    "now",
    "2026-03-10",
    "2026-03-10T12:00:00",
    "2026-03-10 12:00:00Z",
    "2026-02-30T12:00:00Z",
    "2026-03-10T24:00:00Z",
    "2026-03-10T12:00:60Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2026-03-10T12:00:00Z\n",
)
NO_SUBJECTS = (
    "/",
    "north/",
    "/wharf",
    "north//wharf",
    "north/wharf/gate",
    "north/wharf\n",
    " north/wharf",
    "North/wharf",
    "north/Wharf",
    "north/wh arf",
    "north/-wharf",
    "north/wharf-",
    "north/.wharf",
    "north/wharf_",
    "nörth/wharf",
    "north/wharf\N{ARABIC-INDIC DIGIT ONE}",
    "x" * 65 + "/wharf",
    "north/" + "x" * 65,
)
WRONG_TEXTS: list[tuple[str, str]] = [
    *[(name, "") for name in REQUIRED],
    *[("specversion", version) for version in ("0.3", "1", "1.0.2", "2.0", "1.0 ")],
    *[(name, f"a{character}b") for name in ("id", "source") for character in CONTROL],
    *[(name, "x" * 256) for name in ("id", "source")],
    *[(name, time) for name in ("time", "recordedtime") for time in NO_TIMES],
    *[("subject", subject) for subject in NO_SUBJECTS],
]


@pytest.mark.parametrize(("attribute", "text"), WRONG_TEXTS)
def test_a_wrong_attribute_is_an_invalid_envelope_in_either_content_mode(attribute: str, text: str) -> None:
    event = document() | {attribute: text}
    assert reason(*structured_record(event)) is RejectionReason.INVALID_ENVELOPE
    assert reason(*binary_record(event)) is RejectionReason.INVALID_ENVELOPE


@pytest.mark.parametrize("attribute", [*REQUIRED, *OPTIONAL])
@pytest.mark.parametrize("value", [5, 1.0, True, [], ["1.0"], {}])
def test_an_attribute_that_is_no_text_is_an_invalid_envelope(attribute: str, value: object) -> None:
    assert reason(STRUCTURED, written(document() | {attribute: value})) is RejectionReason.INVALID_ENVELOPE


@pytest.mark.parametrize("attribute", REQUIRED)
def test_a_required_attribute_may_be_neither_absent_nor_null(attribute: str) -> None:
    event = document()
    assert reason(STRUCTURED, written(event | {attribute: None})) is RejectionReason.INVALID_ENVELOPE
    del event[attribute]
    assert reason(STRUCTURED, written(event)) is RejectionReason.INVALID_ENVELOPE


@pytest.mark.parametrize("length", [1, 255])
@pytest.mark.parametrize("character", ["x", "é", "🏗"])
def test_ids_and_sources_have_up_to_255_characters_of_any_script(length: int, character: str) -> None:
    one, other = both(document(id=character * length, source=character * length))
    assert one == other
    assert (one.id, one.source) == (character * length, character * length)


@pytest.mark.parametrize("text", [" ", "\N{LINE SEPARATOR}", "\xa0", "\N{BYTE ORDER MARK}", "a%00b", "'\"\\"])
def test_what_is_no_control_character_may_stand_in_a_name(text: str) -> None:
    one, other = both(document(id=text, source=text))
    assert one == other
    assert (one.id, one.source) == (text, text)


@pytest.mark.parametrize("part", ["n", "0", "n.2", "a-b_c.d", "1990", "x" * 64])
def test_a_subject_names_a_programme_and_a_project(part: str) -> None:
    one, other = both(document(subject=f"{part}/{part}"))
    assert (one.programme, one.project, one.subject) == (part, part, f"{part}/{part}")
    assert one == other


@pytest.mark.parametrize("type_", TYPES)
def test_only_what_is_announced_for_a_programme_has_the_programme_alone_for_a_subject(type_: str) -> None:
    right, wrong = ("north", "north/wharf") if type_ == PROGRAMME_REGISTERED else ("north/wharf", "north")
    assert accepted(*structured_record(document(type_, subject=right))).subject == right
    for headers, value in (
        structured_record(document(type_, subject=wrong)),
        binary_record(document(type_, subject=wrong)),
    ):
        assert reason(headers, value) is RejectionReason.INVALID_ENVELOPE


@pytest.mark.parametrize(
    "type_",
    [
        "milepost.milestone.reported.v2",
        "milepost.milestone.reported.v1.1",
        "milepost.milestone.reported.v10",
        "milepost.milestone.reported",
        "milepost.milestone.reported.V1",
        "Milepost.milestone.reported.v1",
        " milepost.milestone.reported.v1",
        "milepost.milestone.forgotten.v1",
        "milepost.forecast.changed.v1",
        "com.example.other",
        "null",
        "x" * 10_000,
    ],
)
def test_an_unknown_type_or_major_version_is_not_supported(type_: str) -> None:
    event = document() | {"type": type_}
    for headers, value in (structured_record(event), binary_record(event)):
        outcome = decode(headers, value)
        assert isinstance(outcome, Rejection)
        assert (outcome.reason, outcome.source, outcome.type) == (
            RejectionReason.UNSUPPORTED_TYPE,
            "https://plans.example",
            "unknown",
        )
        assert len(outcome.detail) < 200


def test_a_type_that_is_not_known_may_have_any_subject_and_data() -> None:
    event = document() | {"type": "com.example.other", "subject": "Somewhere Else", "data": [1, 2]}
    assert reason(*structured_record(event)) is RejectionReason.UNSUPPORTED_TYPE


def test_extensions_are_ignored_whatever_they_are() -> None:
    odd = {"partitionkey": 5, "weather": {"a": [1, None]}, "dataschema": "https://x", "Time": "no", "": "nameless"}
    event = accepted(STRUCTURED, written(document() | odd))
    assert event == accepted(*structured_record(document()))
    assert event.oddities == ()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "1" + "0" * 400 + ".5", "1e-400"])
def test_a_number_beyond_all_bounds_is_ignored_in_an_unknown_place(number: str) -> None:
    assert accepted(STRUCTURED, written(document(note="@"), **{"@": number})).id == "e-1"
    assert accepted(STRUCTURED, written(with_data(note="@"), **{"@": number})).id == "e-1"


def test_a_number_beyond_all_bounds_does_not_hide_what_is_wrong_with_an_attribute() -> None:
    for number in ("1e400", "9" * 5000):
        outcome = decode(STRUCTURED, written(document(id=5, note="@"), **{"@": number}))
        assert isinstance(outcome, Rejection)
        assert (outcome.reason, outcome.source, outcome.type) == (
            RejectionReason.INVALID_ENVELOPE,
            "https://plans.example",
            MILESTONE_REPORTED,
        )


def test_a_rejection_names_the_source_and_a_known_type_where_they_can_be_read() -> None:
    cases = {
        written(document(id=5)): ("https://plans.example", MILESTONE_REPORTED),
        written(document(id="")): ("https://plans.example", MILESTONE_REPORTED),
        written(document(type_=MILESTONE_CANCELLED, data={})): ("https://plans.example", MILESTONE_CANCELLED),
        written(document(source=5)): (None, MILESTONE_REPORTED),
        written(document(source=ABSENT)): (None, MILESTONE_REPORTED),
        written(document() | {"type": 5}): ("https://plans.example", "unknown"),
        written(document() | {"type": "other"}): ("https://plans.example", "unknown"),
        b"[]": (None, "unknown"),
    }
    for value, expected in cases.items():
        outcome = decode(STRUCTURED, value)
        assert isinstance(outcome, Rejection)
        assert (outcome.source, outcome.type) == expected


# The data.

Case = tuple[str, str, Any]


def each(field: str, types: tuple[str, ...], *values: Any) -> list[Case]:  # noqa: ANN401 - fields of JSON
    """Give cases in which a field of the data of each type has each of these values."""
    return [(type_, field, value) for type_ in types for value in values]


AFTER = {"project": "wharf", "milestone": "permit-approved"}
DEPENDENCIES = (DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN)
REGISTRATIONS = (PROGRAMME_REGISTERED, PROJECT_REGISTERED)
NO_SLUGS: tuple[Any, ...] = ("", "Permit", "a b", "a/b", "-a", "a-", "a\n", "é", "x" * 65, 5, [])
NO_NAMES: tuple[Any, ...] = ("x" * 201, "🏗" * 201, 5, True, [], {})
NO_INTEGERS: tuple[Any, ...] = (1.5, "1", True, False, [], {}, 10**30)
NO_MONEY: tuple[Any, ...] = (
    5,
    "5 EUR",
    [],
    {},
    {"amount": 5},
    {"currency": "EUR"},
    *[{"amount": amount, "currency": "EUR"} for amount in (-0.01, -1, "1", True, None)],
    *[{"amount": 1, "currency": currency} for currency in ("eur", "EU", "EURO", "€", "EUR\n", "", None, 978)],
)
NO_DAYS: tuple[Any, ...] = (
    "1989-12-31",
    "2101-01-01",
    "0001-01-01",
    "9999-12-31",
    "0000-01-01",
    "2026-02-29",
    "2100-02-29",
    "2026-04-31",
    "2026-13-01",
    "2026-00-01",
    "2026-01-00",
    "2026-1-1",
    "20260101",
    "2026-W01-1",
    "2026-001",
    "2026-01-01T00:00:00Z",
    "2026-01-01 ",
    " 2026-01-01",
    "٢٠٢٦-01-01",
    "",
    "soon",
    20260101,
    1_773_144_000,
    True,
)
WRONG_DATA = [
    *each("date", (MILESTONE_REPORTED,), *NO_DAYS, None, ABSENT),
    *each("classifier", (MILESTONE_REPORTED,), "pln", "PLANNED", "", None, ABSENT, 1, ["PLN"]),
    *each("milestone", (MILESTONE_REPORTED, MILESTONE_CANCELLED, *DEPENDENCIES), *NO_SLUGS, None, ABSENT),
    *each("after", DEPENDENCIES, None, ABSENT, "wharf/permit-approved", [], {}),
    *each("after", DEPENDENCIES, {"project": "wharf"}, {"milestone": "permit-approved"}, AFTER | {"milestone": None}),
    *each("after", DEPENDENCIES, *[AFTER | {"project": slug} for slug in NO_SLUGS]),
    *each("after", DEPENDENCIES, *[AFTER | {"milestone": slug} for slug in NO_SLUGS]),
    *each("lag_days", (DEPENDENCY_DECLARED,), 3651, -3651, *NO_INTEGERS),
    *each("kind", (PROJECT_REGISTERED,), *NO_SLUGS),
    *each("site", (PROJECT_REGISTERED,), *NO_SLUGS),
    *each("jobs", REGISTRATIONS, -1, *(wrong for wrong in NO_INTEGERS if wrong != 10**30)),
    *each("name", REGISTRATIONS, *NO_NAMES),
    *each("investment", REGISTRATIONS, *NO_MONEY),
    *each("amount", (MILESTONE_REPORTED,), *NO_MONEY),
    *each("reason", (MILESTONE_REPORTED, MILESTONE_CANCELLED), *NO_SLUGS),
    *each("party", (MILESTONE_REPORTED,), *NO_NAMES),
    *each(
        "remark",
        (PROJECT_WITHDRAWN, MILESTONE_REPORTED, MILESTONE_CANCELLED, EVENT_RETRACTED),
        "x" * 1001,
        "🏗" * 1001,
        5,
    ),
    *each("retracts", (EVENT_RETRACTED,), "", "x" * 256, "a\tb", "a\0", "a\x9f", 5, None, ABSENT, ["e-0"]),
    *each("reason", (EVENT_RETRACTED,), "", "because", "DID_NOT_OCCUR", None, ABSENT, 5),
]


@pytest.mark.parametrize(("type_", "field", "value"), WRONG_DATA)
def test_wrong_data_is_rejected_in_either_content_mode(type_: str, field: str, value: object) -> None:
    event = with_data(type_, **{field: value})
    for headers, record in (structured_record(event), binary_record(event)):
        outcome = decode(headers, record)
        assert isinstance(outcome, Rejection)
        assert (outcome.reason, outcome.source, outcome.type) == (
            RejectionReason.INVALID_DATA,
            "https://plans.example",
            type_,
        )


@pytest.mark.parametrize("data", [[], "text", 5, True, [{}]])
def test_data_that_is_no_object_is_invalid(data: object) -> None:
    assert reason(STRUCTURED, written(document(data=data))) is RejectionReason.INVALID_DATA


@pytest.mark.parametrize(
    "type_", [MILESTONE_REPORTED, MILESTONE_CANCELLED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN, EVENT_RETRACTED]
)
@pytest.mark.parametrize("nothing", [ABSENT, None, {}])
def test_no_data_is_invalid_where_some_is_required(type_: str, nothing: object) -> None:
    assert reason(STRUCTURED, written(document(type_, data=nothing))) is RejectionReason.INVALID_DATA


@pytest.mark.parametrize("number", ["1e400", "9" * 5000, "-1e400", "-" + "9" * 5000])
@pytest.mark.parametrize(
    ("type_", "place"), [(PROJECT_REGISTERED, "jobs"), (DEPENDENCY_DECLARED, "lag_days"), (PROJECT_REGISTERED, "money")]
)
def test_a_number_beyond_all_bounds_is_invalid_where_it_would_count(type_: str, place: str, number: str) -> None:
    changes = {"investment": {"amount": "@", "currency": "EUR"}} if place == "money" else {place: "@"}
    assert reason(STRUCTURED, written(with_data(type_, **changes), **{"@": number})) is RejectionReason.INVALID_DATA


RIGHT_DATA = [
    *each("date", (MILESTONE_REPORTED,), "1990-01-01", "2100-12-31", "2024-02-29", "2000-02-29"),
    *each("classifier", (MILESTONE_REPORTED,), "PLN", "EST"),
    *each(
        "milestone",
        (MILESTONE_REPORTED, MILESTONE_CANCELLED, *DEPENDENCIES),
        "a",
        "0",
        "never-heard-of",
        "a.b_c-d",
        "x" * 64,
    ),
    *each("lag_days", (DEPENDENCY_DECLARED,), -3650, -1, 0, 1, 3650),
    *each("jobs", REGISTRATIONS, 0, 1, 2**53 + 1, 2**63, 10**30),
    *each("investment", REGISTRATIONS, *[{"amount": n, "currency": "EUR"} for n in (0, 0.01, 1, 10**12, 1e300)]),
    *each("name", REGISTRATIONS, "", "x" * 200, "🏗" * 200, "NUL \0"),
    *each("kind", (PROJECT_REGISTERED,), "park", "x" * 64),
    *each("site", (PROJECT_REGISTERED,), "wharf", "x" * 64),
    *each(
        "remark",
        (PROJECT_WITHDRAWN, MILESTONE_REPORTED, MILESTONE_CANCELLED, EVENT_RETRACTED),
        "",
        "x" * 1000,
        "🏗" * 1000,
    ),
    *each("party", (MILESTONE_REPORTED,), "", "x" * 200),
    *each("reason", (MILESTONE_REPORTED, MILESTONE_CANCELLED), "funding", "x" * 64),
    *each("retracts", (EVENT_RETRACTED,), "x", "e-1", "x" * 255, " "),
    *each("reason", (EVENT_RETRACTED,), "did_not_occur", "incorrect_data"),
]


@pytest.mark.parametrize(("type_", "field", "value"), RIGHT_DATA)
def test_right_data_is_accepted_and_kept_in_either_content_mode(type_: str, field: str, value: object) -> None:
    one, other = both(with_data(type_, **{field: value}))
    assert one == other
    assert one.digest() == other.digest()
    kept = getattr(one.data, field)
    if isinstance(kept, Money):
        kept = {"amount": kept.amount, "currency": kept.currency}
    assert (kept.isoformat() if isinstance(kept, date) else kept) == value


@pytest.mark.parametrize(
    ("time", "recordedtime", "day", "fits"),
    [
        ("2026-03-10T12:00:00Z", None, "2026-03-09", True),
        ("2026-03-10T12:00:00Z", None, "2026-03-10", True),
        ("2026-03-10T12:00:00Z", None, "2026-03-11", True),
        ("2026-03-10T12:00:00Z", None, "2026-03-12", False),
        ("2026-03-10T12:00:00Z", None, "2099-01-01", False),
        # The day of the stamp is the day in UTC.
        ("2026-03-10T23:30:00-02:00", None, "2026-03-12", True),
        ("2026-03-10T23:30:00-02:00", None, "2026-03-13", False),
        ("2026-03-10T01:30:00+02:00", None, "2026-03-10", True),
        ("2026-03-10T01:30:00+02:00", None, "2026-03-11", False),
        ("2026-03-10T23:59:59.999999999999Z", None, "2026-03-11", True),
        ("2026-03-10T23:59:59.999999999999Z", None, "2026-03-12", False),
        # `recordedtime` takes the place of `time`, forward and back.
        ("2026-03-10T12:00:00Z", "2026-03-20T12:00:00Z", "2026-03-21", True),
        ("2026-03-10T12:00:00Z", "2026-03-20T12:00:00Z", "2026-03-22", False),
        ("2026-03-20T12:00:00Z", "2026-03-10T12:00:00Z", "2026-03-11", True),
        ("2026-03-20T12:00:00Z", "2026-03-10T12:00:00Z", "2026-03-12", False),
    ],
)
def test_an_actual_date_lies_at_most_one_day_after_the_stamp(
    time: str, recordedtime: str | None, day: str, *, fits: bool
) -> None:
    said = with_data(classifier="ACT", date=day) | {"time": time}
    if recordedtime is not None:
        said["recordedtime"] = recordedtime
    for headers, value in (structured_record(said), binary_record(said)):
        outcome = decode(headers, value)
        assert isinstance(outcome, Event) is fits
        assert isinstance(outcome, Event) or outcome.reason is RejectionReason.INVALID_DATA


def test_a_planned_or_estimated_date_may_lie_anywhere() -> None:
    for classifier in ("PLN", "EST"):
        assert accepted(*structured_record(with_data(classifier=classifier, date="2100-12-31"))).id == "e-1"


@pytest.mark.parametrize("type_", TYPES)
def test_an_unknown_field_of_data_is_ignored_and_marked(type_: str) -> None:
    plain = accepted(*structured_record(document(type_)))
    for event in both(with_data(type_, colour="blue")):
        assert event.oddities == (Oddity.UNKNOWN_FIELD,)
        assert event.data == plain.data
        assert event.digest() == plain.digest()


def test_a_field_of_another_type_is_unknown() -> None:
    event = accepted(*structured_record(with_data(PROJECT_WITHDRAWN, retracts="e-0", jobs="many")))
    assert (event.data, event.oddities) == (ProjectWithdrawn(), (Oddity.UNKNOWN_FIELD,))


@pytest.mark.parametrize(
    ("part", "twice"),
    [
        ('"id": "e-1"', '"id": "e-0", "id": "e-1"'),
        ('"date": "2026-06-01"', '"date": "2026-06-02", "date": "2026-06-01"'),
        ('"date": "2026-06-01"', '"date": "2026-06-01", "\\u0064ate": "2026-06-01"'),
        ('"data": ', '"data": {}, "data": '),
        ('"time": ', '"partitionkey": "a", "partitionkey": "b", "time": '),
        ('"time": ', '"note": [{"a": 1, "a": 2}], "time": '),
        ('"date": "2026-06-01"', '"amount": {"amount": 1, "amount": 2, "currency": "EUR"}, "date": "2026-06-01"'),
    ],
)
def test_of_a_name_that_stands_twice_the_last_counts_and_the_record_is_marked(part: str, twice: str) -> None:
    event = accepted(STRUCTURED, written(document()).replace(part.encode(), twice.encode()))

    assert event.id == "e-1"
    assert isinstance(event.data, MilestoneReported)
    assert event.data.date.isoformat() == "2026-06-01"
    assert event.oddities == (Oddity.REPEATED_NAME,)


@pytest.mark.parametrize(
    "changes",
    [
        {"note": 'a "quoted" word', "partitionkey": "north", "datacontenttype": "application/json"},
        {"recordedtime": None, "correlationid": "c", "dataschema": None},
        {"note": [{"a": 1}, {"a": 2}]},
    ],
)
def test_a_name_that_stands_once_in_each_object_is_no_oddity(changes: dict[str, Any]) -> None:
    assert accepted(STRUCTURED, written(document(**changes))).oddities == ()


def test_in_binary_mode_a_name_that_stands_twice_is_marked_too() -> None:
    headers, value = binary_record(document())
    assert value is not None
    twice = value.replace(b'"date"', b'"date": "2026-01-01", "date"')
    assert accepted(headers, twice).oddities == (Oddity.REPEATED_NAME,)


def test_both_oddities_are_reported() -> None:
    headers, value = binary_record(with_data(colour="blue"))
    wrong = [(name.replace("ce_", "ce-"), text) for name, text in headers]
    assert accepted(wrong, value).oddities == (Oddity.HEADER_PREFIX, Oddity.UNKNOWN_FIELD)


def test_a_dependency_and_a_retraction_are_read_whole() -> None:
    dependency = accepted(*structured_record(with_data(DEPENDENCY_DECLARED, lag_days=-3)))
    assert dependency.data == DependencyDeclared("site-leased", Predecessor("wharf", "permit-approved"), -3)
    retraction = accepted(*structured_record(with_data(EVENT_RETRACTED, remark="a typo")))
    assert retraction.data == EventRetracted("e-0", "did_not_occur", "a typo")


def test_a_default_that_is_said_is_the_same_content_as_one_that_is_not() -> None:
    events = [accepted(*structured_record(with_data(DEPENDENCY_DECLARED, lag_days=said))) for said in (ABSENT, 0, None)]

    assert len({event.digest() for event in events}) == 1


def test_a_report_without_a_name_has_the_digest_that_it_had_before_reports_had_names() -> None:
    """Ledgers hold it: another one would make an accepted event conflict with itself."""
    said = {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01"}
    digests = []
    for more in ({}, {"name": None}, {"name": "Building permit"}, {"remark": ',"name":null}]'}):
        envelope = {"specversion": "1.0", "id": "1", "source": "office", "type": MILESTONE_REPORTED}
        envelope |= {"subject": "north/wharf", "time": "2026-01-01T12:00:00Z"}
        value = json.dumps(envelope | {"data": said | more}).encode()
        event = decode([("content-type", b"application/cloudevents+json")], value)
        assert isinstance(event, Event)
        digests.append(event.digest().hex())
    assert digests[:2] == ["ec909575951a6b8d90bff69297dd1ca1"] * 2
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("number", "integer"),
    [("1200.0", 1200), ("1.2e3", 1200), ("12e2", 1200), ("1E3", 1000), ("-0.0", 0), ("9e0", 9), ("30.000", 30)],
)
@pytest.mark.parametrize(("type_", "field"), [(t, "jobs") for t in REGISTRATIONS] + [(DEPENDENCY_DECLARED, "lag_days")])
def test_a_whole_number_is_an_integer_with_the_same_digest_however_it_is_written(
    type_: str, field: str, number: str, integer: int
) -> None:
    event = with_data(type_, **{field: "@"})
    plain = accepted(*structured_record(with_data(type_, **{field: integer})))
    for headers, value in (structured_record(event), binary_record(event)):
        spelled = value.replace(b'"@"', number.encode())
        assert accepted(headers, spelled).digest() == plain.digest()
        assert decode_data(type_, headers, spelled) == plain.data


@pytest.mark.parametrize(
    ("number", "integer"), [("9007199254740993.0", 2**53 + 1), ("1e30", 10**30), ("1" + "0" * 30 + ".0", 10**30)]
)
def test_a_whole_number_beyond_the_precision_of_a_float_keeps_every_digit(number: str, integer: int) -> None:
    event = accepted(STRUCTURED, written(with_data(PROJECT_REGISTERED, jobs="@"), **{"@": number}))
    assert event.data == ProjectRegistered(name="Wharf", jobs=integer)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "number", ["1e-400", "1e400", "1e999999999999", "1e-99999999999999999999", "1." + "0" * 200_000 + "1", "9.5"]
)
def test_a_number_with_a_fraction_or_without_bounds_is_no_integer(number: str) -> None:
    value = written(with_data(PROJECT_REGISTERED, jobs="@"), **{"@": number})
    assert reason(STRUCTURED, value) is RejectionReason.INVALID_DATA


def test_both_zeros_of_an_amount_are_the_same_content() -> None:
    one, other = (
        accepted(*structured_record(with_data(PROJECT_REGISTERED, investment={"amount": zero, "currency": "EUR"})))
        for zero in (0.0, -0.0)
    )

    assert one.digest() == other.digest()


def test_what_a_rejection_quotes_is_bounded_and_holds_no_control_character() -> None:
    event = with_data(MILESTONE_REPORTED, classifier="x\n\x1b" * 5_000)
    found = decode(*structured_record(event | {"source": "s" * 1000}))
    wrong = decode(*structured_record(event))

    assert isinstance(found, Rejection)
    assert isinstance(wrong, Rejection)
    assert len(found.source or "") == 255
    assert len(wrong.detail) <= 300
    assert wrong.detail.isprintable()


def test_a_plain_report_has_the_fields_of_a_report_in_their_order() -> None:
    assert plain_report._Data.__struct_fields__ == MilestoneReported.__struct_fields__


def test_a_report_that_is_decoded_in_one_pass_has_the_money_of_every_other() -> None:
    event = accepted(STRUCTURED, written(with_data(amount={"amount": 5, "currency": "EUR"})))

    assert isinstance(event.data, MilestoneReported)
    assert event.data.amount == Money(5, "EUR")


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (MILESTONE_REPORTED, {"amount": {"amount": 5, "currency": "EUR", "exact": True}}),
        (PROJECT_REGISTERED, {"investment": {"amount": 5, "currency": "EUR", "exact": True}}),
        (DEPENDENCY_DECLARED, {"after": {"project": "wharf", "milestone": "x", "lag": 3}}),
    ],
)
def test_an_unknown_field_within_a_field_is_an_oddity_too(type_: str, data: dict[str, Any]) -> None:
    assert accepted(STRUCTURED, written(with_data(type_, **data))).oddities == (Oddity.UNKNOWN_FIELD,)
