"""Batches: all of their events are published or none, and each that is wrong is named."""

import json
from typing import Any

import pytest

from streams.gateway.content_modes import BATCH_TYPE
from tests.helpers.gateway import GatewayServer, SentRecords, refused, report


def test_a_batch_keeps_its_order(gateway: GatewayServer, sent: SentRecords) -> None:
    sent.clear()
    names = [str(number) for number in range(250)]
    assert gateway.post_batch([report(name) for name in names]).json == {"accepted": 250}
    assert [json.loads(record.record.value)["id"] for record in sent] == names


def test_of_a_batch_with_a_fault_nothing_is_published_and_every_fault_is_named(
    gateway: GatewayServer, sent: SentRecords
) -> None:
    sent.clear()
    counted = gateway.count("refused_events_total", reason="invalid-envelope")
    events: list[Any] = [report("0"), report("1", time=None), report("2"), 3, report("4", id=None), []]
    response = gateway.post_batch(events)
    assert response.status == 400
    assert response.json["detail"] == "4 of 6 events are refused; none is published."
    named = [(event["index"], event["id"], event["reason"]) for event in refused(response)]
    assert named == [
        (1, "1", "invalid-envelope"),
        (3, None, "malformed"),
        (4, None, "invalid-envelope"),
        (5, None, "malformed"),
    ]
    assert sent == []
    assert gateway.count("refused_events_total", reason="invalid-envelope") == counted + 2


@pytest.mark.parametrize(
    ("element", "detail"),
    [
        (b'{"id": "\\ud800"}', "a text holds one half of a surrogate pair (\\ud800 to \\udfff)"),
        (b'{"id": NaN}', "JSON is malformed: invalid character (byte 7)"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'{"id": "\xff"}', "not UTF-8 at byte 8"),
        (b'{"id": }', "JSON is malformed: invalid character (byte 258)"),
    ],
)
def test_an_element_of_a_batch_that_is_no_json_is_named(gateway: GatewayServer, element: bytes, detail: str) -> None:
    counted = gateway.count("refused_events_total", reason="malformed")
    body = b"[" + json.dumps(report()).encode() + b", " + element + b"]"
    response = gateway.post(body, {"Content-Type": BATCH_TYPE})
    assert response.status == 400
    assert refused(response) == [{"index": 1, "id": None, "reason": "malformed", "detail": detail}]
    assert gateway.count("refused_events_total", reason="malformed") == counted + 1


def test_an_id_stands_for_one_event_in_a_batch(gateway: GatewayServer, sent: SentRecords) -> None:
    sent.clear()
    response = gateway.post_batch([report("0"), report("1"), report("1"), report("0", subject="north/other")])
    assert response.status == 400
    [event] = refused(response)
    assert (event["index"], event["id"], event["reason"]) == (3, "0", "conflicting-duplicate")
    assert event["detail"] == "an earlier event of this request has id '0' and other content"
    assert sent == []
    assert gateway.post_batch([report("0"), report("1"), report("0")]).json == {"accepted": 3}
    other = report("0", source="//other.example/a", subject="north/other")
    response = gateway.post_batch([report("0"), other])
    assert response.status == 403, "the other source is another's, and its id is no conflict"
    assert [event["reason"] for event in refused(response)] == ["source-not-allowed"]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"{}", b"", b"null", b'"x"', b"\xff", b"[1]x", b"[1", b"[1 2]"])
def test_a_batch_that_is_empty_or_no_array_is_refused(gateway: GatewayServer, sent: SentRecords, body: bytes) -> None:
    sent.clear()
    response = gateway.post(body, {"Content-Type": BATCH_TYPE})
    assert (response.status, refused(response)) == (400, [])
    assert sent == []


def test_a_batch_of_more_than_can_be_valid_is_looked_at_in_part(gateway: GatewayServer) -> None:
    response = gateway.post(b"[" + b"0," * 300_000 + b"0]", {"Content-Type": BATCH_TYPE})
    assert response.status == 400
    assert len(refused(response)) == 8322
    assert "were not looked at" in response.json["detail"]
