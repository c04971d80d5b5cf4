"""Whatever bytes come, `decode` answers; and what it reads it writes again."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.domain.cloudevents import decode, decode_data, encode_structured
from models.domain.envelope import Headers
from models.domain.events import DATA_TYPES, Event, Oddity, Rejection, RejectionReason
from tests.helpers.event_generators import binary_record, events, random_events, structured_record

ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "recordedtime", "correlationid", "causationid")
CONTENT_TYPES = (b"application/cloudevents+json", b"application/json", b"application/cloudevents-batch+json", b"\xff")
REASONS = {
    RejectionReason.MALFORMED,
    RejectionReason.TOO_LARGE,
    RejectionReason.INVALID_ENVELOPE,
    RejectionReason.UNSUPPORTED_TYPE,
    RejectionReason.INVALID_DATA,
}

header_names = st.sampled_from(
    ("content-type", *(f"{prefix}{name}" for prefix in ("ce_", "ce-") for name in (*ATTRIBUTES, "data")), "", "Ce_id")
) | st.text(max_size=5)
header_values = st.none() | st.binary(max_size=30) | st.sampled_from((*CONTENT_TYPES, b"1.0", b"north/wharf", b""))
headers_of_any_kind: st.SearchStrategy[Headers] = st.lists(st.tuples(header_names, header_values), max_size=12)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(tuple(DATA_TYPES))
)
field_names = st.sampled_from(
    (*ATTRIBUTES, "data", "data_base64", "milestone", "classifier", "date", "amount", "after", "jobs", "retracts")
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(field_names | st.text(max_size=5), inner, max_size=12),
    max_leaves=20,
)


PLAIN = ("content-type", b"application/cloudevents+json")


def judged(headers: Headers, value: bytes | None) -> Event | Rejection:
    """Decode, and hold the answer against what is promised of every answer."""
    outcome = decode(headers, value)
    # A plain report is read in one pass; with a parameter to its content type, a record is looked at closely.
    closely = [
        (name, b"%b; charset=utf-8" % PLAIN[1]) if (name, told) == PLAIN else (name, told) for name, told in headers
    ]
    assert decode(closely, value) == outcome
    if isinstance(outcome, Rejection):
        assert outcome.reason in REASONS
        assert outcome.detail
        assert outcome.type in {*DATA_TYPES, "unknown"}
        return outcome
    assert isinstance(outcome, Event)
    assert value is not None
    assert decode_data(outcome.type, headers, value) == outcome.data
    # Whatever holds a lone surrogate could be neither stored nor sent on.
    for text in _texts(msgspec.to_builtins(outcome)):
        text.encode()
    assert "\t" not in outcome.source + outcome.id
    assert outcome.stamp.count("\t") == 2
    assert len(outcome.digest()) == 16
    again = decode(*encode_structured(outcome))
    assert isinstance(again, Event)
    assert without_oddities(again) == without_oddities(outcome)
    assert again.digest() == outcome.digest()
    return outcome


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.items() for text in _texts(list(item))]
    return [text for item in value for text in _texts(item)] if isinstance(value, list | tuple) else []


def without_oddities(event: Event) -> Event:
    return msgspec.structs.replace(event, oddities=(), unknown_fields=())


@settings(max_examples=400)
@given(headers_of_any_kind, st.none() | st.binary(max_size=200))
@example([("ce_id", b"1")], b'{"specversion": 1, "\xff": 1}')
def test_no_bytes_and_no_headers_make_it_raise(headers: Headers, value: bytes | None) -> None:
    judged(headers, value)


@settings(max_examples=400)
@given(headers_of_any_kind, documents)
def test_no_json_makes_it_raise(headers: Headers, document: object) -> None:
    value = json.dumps(document).encode()  # with NaN, Infinity and lone surrogates in escapes
    judged(headers, value)
    judged([], value)


def _places(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    found = []
    for name, value in document.items():
        found.append((document, name))
        if isinstance(value, dict):
            found += _places(value)
    return found


@settings(max_examples=400)
@given(events(), st.data())
def test_a_valid_event_with_one_value_replaced_is_an_event_or_a_rejection(
    event: dict[str, Any], data: st.DataObject
) -> None:
    event = json.loads(json.dumps(event))
    owner, name = data.draw(st.sampled_from(_places(event)))
    owner[name] = data.draw(documents)
    outcome = judged([PLAIN], json.dumps(event).encode())
    # A header has no types, so only a text is the same attribute in both modes.
    if isinstance(event.get("data"), dict) and all(isinstance(event.get(name, ""), str) for name in ATTRIBUTES):
        same = judged(*binary_record(event | {"datacontenttype": "application/json"}))
        assert isinstance(outcome, Rejection) or same == outcome


@settings(max_examples=400)
@given(events(), documents, st.data())
def test_a_valid_event_with_something_said_twice_is_an_event_or_a_rejection(
    event: dict[str, Any], other: object, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(event)))
    twice = {name: data.draw(st.sampled_from((event[name], other)))}
    one, again = json.dumps(twice).encode(), json.dumps(event).encode()
    judged([PLAIN], one[:-1] + b"," + again[1:])
    judged([PLAIN], again[:-1] + b"," + one[1:])


@settings(max_examples=400)
@given(events(), st.sampled_from((structured_record, binary_record)), st.randoms(use_true_random=False))
def test_a_valid_event_with_bytes_changed_is_an_event_or_a_rejection(
    event: dict[str, Any],
    mode: Callable[[dict[str, Any]], tuple[list[tuple[str, bytes]], bytes]],
    chance: random.Random,
) -> None:
    headers, value = mode(event)
    judged(headers, _damaged(value, chance))
    place = chance.randrange(len(headers))
    name, text = headers[place]
    judged([*headers[:place], (name, _damaged(text, chance)), *headers[place + 1 :]], value)
    judged(headers[:place] + headers[place + 1 :], value)


def _damaged(value: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(value or b" ")
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[place] = chance.randrange(256)
            case 1:
                damaged.insert(place, chance.choice(b'"\\[]{},:\0\xff'))
            case 2 if len(damaged) > 1:
                del damaged[place]
            case _:
                damaged[place:place] = damaged[: chance.randrange(len(damaged))]
    return bytes(damaged)


@settings(max_examples=400)
@given(events())
def test_every_valid_event_is_accepted_alike_in_both_modes_and_read_again_as_it_was_written(
    event: dict[str, Any],
) -> None:
    one, other = judged(*structured_record(event)), judged(*binary_record(event))
    assert isinstance(one, Event)
    assert isinstance(other, Event)
    assert one == other
    assert one.digest() == other.digest()
    plain = without_oddities(one)
    assert decode(*encode_structured(one)) == plain
    assert decode(*binary_record(json.loads(encode_structured(one)[1]))) == plain
    known = {"colour", "retracts"} & set(event["data"]) - set(one.data.__struct_fields__)
    assert (Oddity.UNKNOWN_FIELD in one.oddities) is bool(known)


def test_events_in_volume_are_all_accepted_alike_in_both_modes() -> None:
    for event in random_events(7, 2000, with_dependencies=True):
        one, other = judged(*structured_record(event)), judged(*binary_record(event))
        assert isinstance(one, Event), one
        assert one == other


@settings(max_examples=400)
@given(events(), events(), st.data())
def test_digests_are_equal_exactly_when_the_contents_are(
    one: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    # The other is a stranger, or differs from the one in a single thing, or in nothing.
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(one)))
        other = one | {name: other.get(name, one[name])}
    first, second = decode(*structured_record(one)), decode(*binary_record(other))
    if isinstance(first, Event) and isinstance(second, Event):
        # Source and id are the name; what is let pass in reading is nobody's content.
        renamed = msgspec.structs.replace(
            second, source=first.source, id=first.id, oddities=first.oddities, unknown_fields=first.unknown_fields
        )
        assert (first.digest() == second.digest()) is (first == renamed)
