"""Requests to the gateway, right and wrong: each is answered as the contract's table says, in each content mode."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from models.domain.cloudevents import decode
from models.domain.events import Event, RejectionReason
from streams.gateway.acceptance import CheckedRecord
from streams.gateway.content_modes import BATCH_TYPE, STRUCTURED_TYPE
from streams.gateway.metrics import NO_TOKEN, GatewayMetrics, Outcome
from streams.gateway.producer import UnavailableError
from tests.helpers.board import HttpResponse
from tests.helpers.gateway import (
    OFFICE,
    OTHER,
    GatewayServer,
    SentRecords,
    exchange,
    padded,
    refused,
    report,
    running_endpoint,
)

KIB: Final = 1024
HOSTILE_BODIES: Final = 200

Post = Callable[..., HttpResponse]


@pytest.fixture(params=["structured", "batch", "binary"])
def post(request: pytest.FixtureRequest, gateway: GatewayServer, sent: SentRecords) -> Post:
    """Send one event in each mode."""
    sent.clear()
    modes: dict[str, Post] = {
        "structured": gateway.post_structured,
        "batch": lambda event, **options: gateway.post_batch([event], **options),
        "binary": gateway.post_binary,
    }
    return modes[request.param]


def events_of(sent: Sequence[CheckedRecord]) -> list[Event]:
    """Return what a worker would make of what was published."""
    decoded = [decode(record.record.headers, record.record.value) for record in sent]
    assert all(isinstance(event, Event) for event in decoded)
    return [event for event in decoded if isinstance(event, Event)]


# What is accepted


def test_an_event_is_published_under_its_programme(post: Post, sent: SentRecords) -> None:
    response = post(report("a", correlationid="c", partitionkey="elsewhere"))
    assert (response.status, response.json) == (202, {"accepted": 1})
    [event] = events_of(sent)
    assert (event.source, event.id, event.subject, event.correlationid) == (
        "//office.example",
        "a",
        "north/plant",
        "c",
    )
    assert [record.programme for record in sent] == ["north"]


def test_the_content_mode_makes_no_difference(gateway: GatewayServer, sent: SentRecords) -> None:
    sent.clear()
    for send in (gateway.post_structured, gateway.post_binary):
        assert send(report()).status == 202
    assert gateway.post_batch([report()]).status == 202
    assert len({event.digest() for event in events_of(sent)}) == 1


def test_a_check_publishes_nothing(post: Post, sent: SentRecords) -> None:
    response = post(report(), path="/events?check=true")
    assert (response.status, response.json) == (200, {"valid": 1})
    assert post(report(time=None), path="/events?check=true").status == 400
    assert sent == []


@pytest.mark.parametrize("data", [b"", b"null", b" null\n"])
def test_no_data_in_binary_mode_means_no_fields(gateway: GatewayServer, sent: SentRecords, data: bytes) -> None:
    sent.clear()
    event = report(type="milepost.project.withdrawn.v1", data=None)
    headers = {f"ce-{name}": str(text) for name, text in event.items()}
    assert gateway.post(data, headers).status == 202
    assert sent[0].record.value == b"{}"


def test_attributes_in_headers_are_decoded_as_the_binding_says(gateway: GatewayServer, sent: SentRecords) -> None:
    sent.clear()
    encoded = {"id": "Euro%20%E2%82%AC%20%F0%9F%98%80", "correlationid": '"a \\"b\\" %25"'}
    assert gateway.post_binary(report(**encoded)).status == 202
    [event] = events_of(sent)
    assert (event.id, event.correlationid) == ("Euro \u20ac \U0001f600", 'a "b" %')


@pytest.mark.parametrize("content_type", ["Application/CloudEvents+JSON", f"{STRUCTURED_TYPE}; charset=UTF-8"])
def test_a_media_type_may_be_written_otherwise(gateway: GatewayServer, content_type: str) -> None:
    assert gateway.post(json.dumps(report()).encode(), {"Content-Type": content_type}).status == 202


def cloud_event(data: object) -> CloudEvent:
    attributes: dict[str, Any] = {name: text for name, text in report("sdk-\u00fc 1%").items() if name != "data"}
    attributes |= {"time": datetime(2026, 11, 1, 9, tzinfo=UTC), "datacontenttype": "application/json"}
    return CloudEvent(attributes, data)  # type: ignore[arg-type]


@pytest.mark.parametrize("write", [to_structured, to_binary])
def test_the_modes_of_the_cloudevents_sdk_are_understood(
    write: Callable[..., Any], gateway: GatewayServer, sent: SentRecords
) -> None:
    sent.clear()
    message = write(cloud_event(report()["data"]), JSONFormat())
    assert gateway.post(message.body, dict(message.headers)).status == 202
    [event] = events_of(sent)
    assert (event.id, event.time, event.data.TYPE) == ("sdk-\u00fc 1%", "2026-11-01T09:00:00", report()["type"])


# 400


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"specversion": "0.3"}, "invalid-envelope"),
        ({"specversion": None}, "invalid-envelope"),
        ({"source": None}, "invalid-envelope"),
        ({"time": "yesterday"}, "invalid-envelope"),
        ({"subject": "north"}, "invalid-envelope"),
        ({"type": "milepost.milestone.reported.v2"}, "unsupported-type"),
        ({"data": {"milestone": "permit-approved"}}, "invalid-data"),
        ({"data": {"milestone": "x", "classifier": "ACT", "date": "2027-01-15"}}, "invalid-data"),
        ({"data": []}, "malformed"),
    ],
)
def test_an_event_that_a_worker_would_reject_is_refused_with_its_reason(
    post: Post, sent: SentRecords, overrides: dict[str, object], reason: str
) -> None:
    response = post(report("bad", **overrides))
    assert response.status == 400
    [event] = refused(response)
    # In JSON, data of a wrong kind is a fault of the data; a value of its own has to be an object.
    assert event["reason"] in {reason, "invalid-data"}
    assert (event["index"], event["id"]) == (0, "bad")
    assert event["detail"]
    assert sent == []


def test_a_claim_ahead_of_the_clock_is_refused(post: Post, sent: SentRecords) -> None:
    ahead, near = (
        (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ") for minutes in (12, 8)
    )
    assert [event["reason"] for event in refused(post(report(time=ahead)))] == ["time-in-future"]
    assert sent == []
    assert post(report(time=near)).status == 202


@pytest.mark.parametrize("query", ["?check", "?check=false", "?check=true&check=true", "?x=1", "?check=true&x=1"])
def test_another_query_is_refused(gateway: GatewayServer, sent: SentRecords, query: str) -> None:
    sent.clear()
    assert gateway.post_structured(report(), path=f"/events{query}").status == 400
    assert sent == []


@pytest.mark.parametrize("body", [b"[]", b" [{}, {}]"])
def test_an_array_in_structured_mode_is_told_of_batches(gateway: GatewayServer, body: bytes) -> None:
    response = gateway.post(body, {"Content-Type": STRUCTURED_TYPE})
    assert response.status == 400
    [event] = refused(response)
    assert event == {
        "index": 0,
        "id": None,
        "reason": "malformed",
        "detail": "the value is an array: several events are sent as application/cloudevents-batch+json",
    }


def test_an_attribute_in_two_headers_is_refused_and_counted(gateway: GatewayServer) -> None:
    counted = gateway.count("refused_events_total", reason="invalid-envelope")
    head = "\r\n".join(f"ce-{name}: {text}" for name, text in report().items() if name != "data")
    answer = exchange(gateway, f"{head}\r\nCE-ID: other\r\nContent-Length: 2\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the header ce-id stands there twice" in answer
    assert gateway.count("refused_events_total", reason="invalid-envelope") == counted + 1


# 401, 403


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {OFFICE}", OFFICE, f"Bearer{OFFICE}"),
        *(f"Bearer {OFFICE} x", f"Bearer {OFFICE}, Bearer {OFFICE}", "Bearer \u00fc"),
        f"Basic {base64.b64encode(f'office:{OFFICE}'.encode()).decode()}",
    ],
)
def test_without_a_valid_token_nothing_is_looked_at(
    post: Post, gateway: GatewayServer, sent: SentRecords, authorization: str | None
) -> None:
    given = {} if authorization is None else {"Authorization": authorization}
    response = gateway.post(b"not even JSON", {"Content-Type": "text/plain", **given}, token=None)
    assert (response.status, refused(response)) == (401, [])
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert post(report(), token=None).status == 401
    assert sent == []


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
def test_a_token_in_the_url_is_none(gateway: GatewayServer, name: str) -> None:
    assert gateway.post_structured(report(), token=None, path=f"/events?{name}={OFFICE}").status == 401


def test_two_headers_of_authorization_are_none(gateway: GatewayServer) -> None:
    answer = exchange(gateway, f"Authorization: Bearer {OFFICE}\r\nContent-Length: 2\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 401")


def test_a_token_speaks_for_its_sources_and_programmes_alone(post: Post, sent: SentRecords) -> None:
    assert post(report(source="//other.example/a"), token=OTHER).status == 202
    sent.clear()
    for event, token, what in (
        (report("x", source="//other.example/a"), OFFICE, "source '//other.example/a'"),
        (report("x", source="//other.example"), OTHER, "source '//other.example'"),
        (report("x", source="//other.example/a", subject="south/plant"), OTHER, "programme 'south'"),
    ):
        response = post(event, token=token)
        assert response.status == 403
        assert refused(response) == [
            {
                "index": 0,
                "id": "x",
                "reason": "source-not-allowed",
                "detail": f"this token may not speak for {what}",
            }
        ]
    assert sent == []


def test_sources_that_the_operator_does_not_allow_are_refused_too() -> None:
    with running_endpoint(SentRecords(), allowed_sources={"north": ["//else.example"]}) as here:
        response = here.post_structured(report())
        assert (response.status, refused(response)[0]["reason"]) == (403, "source-not-allowed")
        assert here.post_structured(report(subject="south/plant")).status == 202


# 413, 415, 429


def test_an_event_may_have_256_kib_and_a_request_1_mib(gateway: GatewayServer, sent: SentRecords) -> None:
    sent.clear()
    assert gateway.post_structured(padded(256 * KIB)).status == 202
    assert gateway.post_batch([padded(255 * KIB)] * 4).status == 202
    response = gateway.post_structured(padded(256 * KIB + 1))
    assert (response.status, refused(response)) == (413, [])
    response = gateway.post_batch([report("0"), padded(256 * KIB + 1)])
    assert response.status == 413
    assert [(event["index"], event["reason"]) for event in refused(response)] == [(1, "too-large")]
    assert gateway.post_batch([padded(256 * KIB)] * 4).status == 413
    headers = {f"ce-{name}": str(text) for name, text in report().items() if name != "data"}
    assert gateway.post(b"{}" + b" " * (256 * KIB - 1), headers).status == 413
    assert len(sent) == 5


def test_an_event_whose_headers_would_make_a_record_too_large_is_refused(gateway: GatewayServer) -> None:
    extensions = {f"x{number}": "x" * 8000 for number in range(10)}
    response = gateway.post_binary(report("large", **extensions))
    assert response.status == 413
    assert [(event["id"], event["reason"]) for event in refused(response)] == [("large", "too-large")]


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain", "ce-specversion": "1.0"}),
        *({"Content-Type": "application/cloudevents+xml"}, {"Content-Type": "application/cloudevents"}),
        *({"Content-Type": "application/cloudevents+avro"}, {"Content-Type": "application/cloudevents-batch"}),
        *({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "multipart/form-data"}),
        {"Content-Type": f"{STRUCTURED_TYPE}; charset=utf-16"},
        {"Content-Type": STRUCTURED_TYPE, "Content-Encoding": "gzip"},
        {"Content-Type": BATCH_TYPE, "Content-Encoding": "identity, br"},
    ],
)
def test_another_media_type_is_refused(gateway: GatewayServer, sent: SentRecords, headers: dict[str, str]) -> None:
    sent.clear()
    response = gateway.post(json.dumps(report()).encode(), headers)
    assert (response.status, refused(response)) == (415, [])
    assert sent == []


# 503


def test_what_kafka_does_not_take_is_to_be_sent_again() -> None:
    async def fail(_: object) -> None:
        raise UnavailableError("Kafka did not take events within 10 s")

    with running_endpoint(fail) as here:
        for send in (here.post_structured, here.post_binary):
            response = send(report())
            assert (response.status, refused(response)) == (503, [])
            assert response.headers["Retry-After"] == "5"
            assert "send the same again" in response.json["detail"]
        assert here.count("events_total", "office", outcome="unavailable") == 2


def test_a_bug_is_a_500_that_says_nothing_of_itself() -> None:
    async def fail(_: object) -> None:
        raise ZeroDivisionError("secret")

    with running_endpoint(fail) as here:
        response = here.post_structured(report())
        assert (response.status, refused(response)) == (500, [])
        assert b"secret" not in response.body


# Hostile and slow bodies


def hostile_body(number: int) -> bytes:
    """Return a body that is an event, damaged."""
    rng = random.Random(number)  # noqa: S311 - no secret
    body = bytearray(json.dumps(report()).encode())
    kind = number % 5
    if kind == 0:
        del body[rng.randrange(len(body)) :]
    elif kind == 1:
        for _ in range(rng.randrange(1, 9)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    elif kind == 2:
        place = rng.randrange(len(body))
        body[place:place] = rng.randbytes(rng.randrange(1, 40))
    elif kind == 3:
        body = bytearray(rng.choice([b"[", b'{"a":', b'{"data":{"x":']) * rng.randrange(1, 20_000))
    else:
        names = [*report(), "data_base64", "extension"]
        wrong: list[object] = [None, 0, -1, 1e308, "", "\u0000", "\ud800", "x" * 70_000, [], {}, [[]], True, "a/b/c"]
        event: dict[str, object] = dict(report())
        for _ in range(rng.randrange(1, 4)):
            event[rng.choice(names)] = rng.choice(wrong)
        body = bytearray(json.dumps(event).encode())
    return bytes(body)


def test_no_hostile_body_is_published_that_a_worker_would_reject_and_none_ends_the_gateway(
    gateway: GatewayServer, sent: SentRecords
) -> None:
    statuses = set()
    binary_headers = {f"ce-{name}": str(text) for name, text in report().items() if name != "data"}
    for number in range(HOSTILE_BODIES):
        body = hostile_body(number)
        for headers, content in (
            ({"Content-Type": STRUCTURED_TYPE}, body),
            ({"Content-Type": BATCH_TYPE}, b"[" + body + b"]"),
            (binary_headers, body),
        ):
            sent.clear()
            response = gateway.post(content, headers)
            statuses.add(response.status)
            if response.status == 202:
                assert len(events_of(sent)) == response.json["accepted"]
            else:
                assert all(event["reason"] in set(RejectionReason) for event in refused(response))
                assert sent == []
    assert {400} <= statuses <= {202, 400, 403, 413}
    assert gateway.post_structured(report()).status == 202


def test_a_request_that_outlives_its_token_is_counted_without_its_name() -> None:
    metrics = GatewayMetrics()
    metrics.expose_tokens(["office"])
    metrics.expose_tokens([])

    metrics.count_request("office", Outcome.ACCEPTED, 0.1)
    metrics.count_events("office", Outcome.ACCEPTED, 7)

    counted = {
        sample.labels["token"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "milepost_gateway_events_total" and sample.labels["outcome"] == Outcome.ACCEPTED.value
    }
    assert counted == {NO_TOKEN: 7}
