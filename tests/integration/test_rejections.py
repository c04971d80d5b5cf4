"""Every reason of the contract, section 3, by the bytes that have it, through a worker."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaProducer

from consumers.compat import NullableHeaders, NullHeaderSerializer
from consumers.dead_letters import read_dead_letters
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.domain.dead_letters import KEPT_BYTES, DeadLetter
from models.domain.events import MAX_VALUE_BYTES
from models.settings import Settings
from tests.helpers.event_generators import Headers, binary_record, structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events, reject_inserts
from tests.helpers.workers import publish, running_app, wait_until_async
from tests.integration.test_dead_letters import limit_message_bytes, plan_report

#: What a test's topics take and a producer sends.
ROOM = 12 * 1024 * 1024


class RawHeaderName(str):  # noqa: SLOT000 - it has to be a str for kafka-python
    """A header's name of any bytes: kafka-python asks for text, and for the text's UTF-8."""

    raw: bytes

    def encode(self, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - as str's
        return self.raw


def raw_header_name(raw: bytes) -> RawHeaderName:
    name = RawHeaderName(repr(raw))
    name.raw = raw
    return name


class Sent(NamedTuple):
    """A record, and why it is rejected; None where it is accepted."""

    reason: str | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def of(reason: str | None, event: JsonEvent, **data: Any) -> Sent:  # noqa: ANN401 - JSON
    """Return a structured event with some of its data replaced."""
    headers, value = structured_record(event | {"data": event["data"] | data})
    return Sent(reason, value, [*headers])


def with_text(reason: str | None, event: JsonEvent, was: str, becomes: str) -> Sent:
    """Return a structured event in whose bytes something is replaced that JSON of Python's would not write."""
    headers, value = structured_record(event)
    assert was.encode() in value
    return Sent(reason, value.replace(was.encode(), becomes.encode()), [*headers])


def without(header: str, event: JsonEvent) -> list[tuple[str, bytes | None]]:
    """Return the headers of binary mode, one of them with the value null."""
    return [(name, None if name == header else value) for name, value in binary_record(event)[0]]


def hostile() -> list[Sent]:
    money = {"amount": 12345678.5, "currency": "EUR"}
    project = plan_report("p") | {"type": "milepost.project.registered.v1"}
    content: Headers = structured_record(plan_report("c"))[0]
    return [
        Sent("malformed", b'{"specversion": "1.0", "id": "\xff"}'),
        Sent("malformed", b'{"specversion": "1.0", "id": "\xed\xa0\x80"}'),
        with_text("malformed", plan_report("lone"), '"lone"', '"\\ud800"'),
        Sent("malformed", b"\0\0\0\0"),
        with_text("invalid-envelope", plan_report("nul"), '"nul"', '"\\u0000"'),
        *(
            with_text(
                "malformed",
                plan_report(text) | {"data": plan_report("x")["data"] | {"amount": money}},
                "12345678.5",
                text,
            )
            for text in ("NaN", "Infinity", "-Infinity")
        ),
        Sent("malformed", b"[" * 10_000 + b"]" * 10_000),
        Sent("malformed", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, [*content]),
        with_text(
            "invalid-data",
            plan_report("1e400") | {"data": plan_report("x")["data"] | {"amount": money}},
            "12345678.5",
            "1e400",
        ),
        with_text("invalid-data", project | {"id": "long", "data": {"jobs": 87654321}}, "87654321", "1" + "0" * 5000),
        Sent("malformed", b""),
        Sent("malformed", None),
        Sent("malformed", b"", [*content]),
        *(Sent("malformed", text) for text in (b"[]", b"5", b'"text"', b"null", b"true")),
        Sent(
            "malformed",
            b"[" + structured_record(plan_report("batched"))[1] + b"]",
            [("content-type", b"application/cloudevents-batch+json")],
        ),
        of("invalid-envelope", plan_report("x") | {"id": 5}),
        of("invalid-envelope", plan_report("x") | {"subject": ["north", "plant"]}),
        of("invalid-data", plan_report("typed"), date=20270110),
        of("invalid-data", plan_report("typed"), milestone=None),
        Sent("invalid-data", structured_record(plan_report("typed") | {"data": []})[1]),
        of("too-large", plan_report("large"), remark="x" * 10 * 1024 * 1024),
        of("unsupported-type", plan_report("t") | {"type": "milepost.milestone.forgotten.v1"}),
        of("unsupported-type", plan_report("t") | {"type": "milepost.milestone.reported.v2"}),
        of("invalid-envelope", plan_report("t") | {"specversion": "2.0"}),
        *(
            Sent("invalid-envelope", binary_record(plan_report("b"))[1], without(f"ce_{name}", plan_report("b")))
            for name in ("id", "source", "type", "subject", "time", "specversion")
        ),
        Sent(
            None,
            binary_record(plan_report("no content type"))[1],
            without("content-type", plan_report("no content type")),
        ),
        Sent(
            None,
            binary_record(plan_report("own header"))[1],
            [*binary_record(plan_report("own header"))[0], ("trace", None)],
        ),
        of("invalid-envelope", plan_report("0000", time="0000-12-31T23:59:59Z")),
        of(None, plan_report("0001", time="0001-01-01T00:00:00Z")),
        of("time-in-future", plan_report("9999", time="9999-12-31T23:59:59Z")),
        of("invalid-data", plan_report("y"), date="0001-01-01"),
        of("invalid-data", plan_report("y"), date="9999-12-31"),
        of(None, plan_report("leap", time="2016-12-31T23:59:60Z")),
        of("invalid-envelope", plan_report("no leap", time="2016-12-30T23:59:60Z")),
        of("time-in-future", plan_report("soon", time="2100-01-01T00:00:00Z")),
        of("source-not-allowed", plan_report("s", subject="closed/plant")),
        of("conflicting-duplicate", plan_report("good-0", "2029-09-09")),
        of("unstorable", plan_report("refused")),
        Sent(
            "invalid-envelope", b"{}", [("ce_id", b"1"), ("milepost-foo", b"its own"), ("x", b"\xff"), ("x", b"twice")]
        ),
        Sent("malformed", b"\xff its own", [("milepost-reason", b"its own"), ("milepost-offset", b"5")]),
        Sent("malformed", b"\xff named", [(raw_header_name(b"\xff\xfe"), b"1")]),
        Sent(
            None,
            structured_record(plan_report("named"))[1],
            [(raw_header_name(b"caf\xe9"), b"1"), (raw_header_name(b""), b"2")],
        ),
    ]


def spelled(name: str) -> str:
    """Return a header's name as it is kept: what is not UTF-8 is spelled out."""
    return name.raw.decode("utf-8", "backslashreplace") if isinstance(name, RawHeaderName) else name


def test_every_reason_comes_with_what_has_it_and_all_between_is_recorded(fresh_settings: Settings) -> None:
    settings = fresh_settings.model_copy(update={"allowed_sources": {"closed": ["//nobody.example"]}})
    limit_message_bytes(settings, settings.events_topic, ROOM)
    store = Recorder(make_engine(settings.database))
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.id = 'refused'")
    records, first = hostile(), list[int]()
    publish(settings, [plan_report("good-0")], key_of=lambda _: b"one")

    async def run() -> None:
        async with running_app(settings):
            topic = settings.events_topic
            await wait_until_async(
                lambda: count_events(store) == 1, "the first is recorded, so that another conflicts with it"
            )
            offsets = await asyncio.to_thread(send, settings, records)
            first.append(min(offsets))
            await wait_until_async(lambda: store.read_positions(topic).get(0, 0) > max(offsets), "everything is read")

    asyncio.run(run())

    letters = {letter.offset: letter for letter in read_dead_letters(settings) if letter.partition == 0}
    found = {number: letters.get(first[0] + 2 * number) for number in range(len(records))}
    assert {number: letter.reason if letter else None for number, letter in found.items()} == {
        number: record.reason for number, record in enumerate(records)
    }
    for number, record in enumerate(records):
        if (letter := found[number]) is not None:
            check(letter, record)
    assert {letter.reason for letter in letters.values()} == set(REASONS)
    assert count_events(store) == 1 + len(records) + sum(record.reason is None for record in records)
    store.engine.dispose()


REASONS = (
    "malformed",
    "too-large",
    "invalid-envelope",
    "unsupported-type",
    "invalid-data",
    "time-in-future",
    "source-not-allowed",
    "conflicting-duplicate",
    "unstorable",
)


def check(letter: DeadLetter, record: Sent) -> None:
    """Check that a letter holds a record untouched, and of one that is too large the beginning."""
    size = len(record.value or b"")
    assert letter.value == (record.value if size <= MAX_VALUE_BYTES else (record.value or b"")[:KEPT_BYTES])
    assert letter.truncated == (size if size > MAX_VALUE_BYTES else None)
    assert letter.headers == tuple((spelled(name), value) for name, value in record.headers)
    assert letter.detail


def send(settings: Settings, records: list[Sent]) -> list[int]:
    """Send records to one partition, a good event behind each; return their offsets."""
    with closing(
        KafkaProducer(bootstrap_servers=settings.kafka, max_request_size=ROOM, value_serializer=NullHeaderSerializer())
    ) as producer:
        good = [Sent(None, value, [*headers]) for headers, value in map(structured_record, goods(len(records)))]
        sent = [
            # Without key and value kafka-python sends nothing.
            producer.send(settings.events_topic, each.value, b"k", NullableHeaders(each.headers), partition=0)
            for pair in zip(records, good, strict=True)
            for each in pair
        ]
        producer.flush()
    return [future.get(timeout=60).offset for future in sent]


def goods(count: int) -> list[JsonEvent]:
    """Return so many good events."""
    return [plan_report(f"good-{number}") for number in range(1, count + 1)]
