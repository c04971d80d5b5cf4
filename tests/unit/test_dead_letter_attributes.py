"""What can be read of a rejected event, whatever it is."""

import json
from collections.abc import Sequence

import pytest

from models.domain.dead_letters import EventAttributes, parse_dead_letter, read_event_attributes

Headers = Sequence[tuple[str, bytes | None]]
ALL = {"source": "//office", "id": "e-1", "type": "strange.v1", "subject": "north/plant"}
NOTHING = EventAttributes()


def attributes(value: bytes | None, headers: Headers = (), source: str | None = None) -> EventAttributes:
    added = [("milepost-reason", b"malformed")]
    if source is not None:
        added.append(("milepost-source", source.encode()))
    letter = parse_dead_letter(b"key", value, [*headers, *added])
    assert letter is not None
    return read_event_attributes(letter)


def test_a_structured_event_is_read_although_it_is_not_valid() -> None:
    assert attributes(json.dumps({**ALL, "time": 5, "data": [1]}).encode()) == EventAttributes(**ALL)


def test_a_binary_event_is_read_with_either_prefix() -> None:
    for prefix in ("ce_", "ce-"):
        headers = [(f"{prefix}{name}", text.encode()) for name, text in ALL.items()]
        assert attributes(b"not JSON", headers) == EventAttributes(**ALL)


def test_what_is_of_another_kind_is_left_out_and_the_rest_is_read() -> None:
    assert attributes(json.dumps({**ALL, "id": 5, "subject": None}).encode()) == EventAttributes(
        "//office", None, "strange.v1"
    )


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[1]", b"5", b"\xff", b'{"id": "\xff"}', b"[" * 10_000, b'{"a":' * 10_000]
)
def test_of_what_is_no_object_nothing_is_read_but_what_the_letter_says(value: bytes | None) -> None:
    assert attributes(value) == NOTHING
    assert attributes(value, source="//office") == EventAttributes("//office")


def test_a_header_without_a_value_says_nothing_and_a_long_one_is_cut() -> None:
    assert attributes(b"x", [("ce_type", None), ("ce_id", b"x" * 5000)]) == EventAttributes(id="x" * 1000)
