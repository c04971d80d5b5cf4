"""Every reason of the contract, section 3, by the bytes that have it, through a worker."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaProducer

from consumers.compat import NullableHeaders, TrueHeaders
from consumers.dead_letters import read_dead_letters
from models.database.engine import connect, writing
from models.database.recorder import Store
from models.domain.dead_letters import OURS, DeadLetter
from models.settings import Settings
from tests.integration.test_dead_letters import keep_small, said
from tests.integration.test_store import refuse_to_store
from tests.publisher import Headers, binary, structured
from tests.reading import Event
from tests.workers import publish, running_app, until

#: What a test's topics take and a producer sends.
ROOM = 12 * 1024 * 1024


class Name(str):  # noqa: SLOT000 - it has to be a str for kafka-python
    """A header's name of any bytes: kafka-python asks for text, and for the text's UTF-8."""

    raw: bytes

    def encode(self, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - as str's
        return self.raw


def name_of(raw: bytes) -> Name:
    name = Name(repr(raw))
    name.raw = raw
    return name


class Sent(NamedTuple):
    """A record, and why it is rejected; None where it is accepted."""

    reason: str | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def of(reason: str | None, event: Event, **data: Any) -> Sent:  # noqa: ANN401 - JSON
    """Return a structured event with some of its data replaced."""
    headers, value = structured(event | {"data": event["data"] | data})
    return Sent(reason, value, [*headers])


def with_text(reason: str | None, event: Event, was: str, becomes: str) -> Sent:
    """Return a structured event in whose bytes something is replaced that JSON of Python's would not write."""
    headers, value = structured(event)
    assert was.encode() in value
    return Sent(reason, value.replace(was.encode(), becomes.encode()), [*headers])


def without(header: str, event: Event) -> list[tuple[str, bytes | None]]:
    """Return the headers of binary mode, one of them with the value null."""
    return [(name, None if name == header else value) for name, value in binary(event)[0]]


def hostile() -> list[Sent]:
    money = {"amount": 12345678.5, "currency": "EUR"}
    project = said("p") | {"type": "milepost.project.registered.v1"}
    content: Headers = structured(said("c"))[0]
    return [
        Sent("malformed", b'{"specversion": "1.0", "id": "\xff"}'),
        Sent("malformed", b'{"specversion": "1.0", "id": "\xed\xa0\x80"}'),
        with_text("malformed", said("lone"), '"lone"', '"\\ud800"'),
        Sent("malformed", b"\0\0\0\0"),
        with_text("invalid-envelope", said("nul"), '"nul"', '"\\u0000"'),
        *(
            with_text("malformed", said(text) | {"data": said("x")["data"] | {"amount": money}}, "12345678.5", text)
            for text in ("NaN", "Infinity", "-Infinity")
        ),
        Sent("malformed", b"[" * 10_000 + b"]" * 10_000),
        Sent("malformed", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, [*content]),
        with_text(
            "invalid-data", said("1e400") | {"data": said("x")["data"] | {"amount": money}}, "12345678.5", "1e400"
        ),
        with_text("invalid-data", project | {"id": "long", "data": {"jobs": 87654321}}, "87654321", "1" + "0" * 5000),
        Sent("malformed", b""),
        Sent("malformed", None),
        Sent("malformed", b"", [*content]),
        *(Sent("malformed", text) for text in (b"[]", b"5", b'"text"', b"null", b"true")),
        Sent(
            "malformed",
            b"[" + structured(said("batched"))[1] + b"]",
            [("content-type", b"application/cloudevents-batch+json")],
        ),
        of("invalid-envelope", said("x") | {"id": 5}),
        of("invalid-envelope", said("x") | {"subject": ["north", "plant"]}),
        of("invalid-data", said("typed"), date=20270110),
        of("invalid-data", said("typed"), milestone=None),
        Sent("invalid-data", structured(said("typed") | {"data": []})[1]),
        of("too-large", said("large"), remark="x" * 10 * 1024 * 1024),
        of("unsupported-type", said("t") | {"type": "milepost.milestone.forgotten.v1"}),
        of("unsupported-type", said("t") | {"type": "milepost.milestone.reported.v2"}),
        of("invalid-envelope", said("t") | {"specversion": "2.0"}),
        *(
            Sent("invalid-envelope", binary(said("b"))[1], without(f"ce_{name}", said("b")))
            for name in ("id", "source", "type", "subject", "time", "specversion")
        ),
        Sent(None, binary(said("no content type"))[1], without("content-type", said("no content type"))),
        Sent(None, binary(said("own header"))[1], [*binary(said("own header"))[0], ("trace", None)]),
        of("invalid-envelope", said("0000", time="0000-12-31T23:59:59Z")),
        of(None, said("0001", time="0001-01-01T00:00:00Z")),
        of("time-in-future", said("9999", time="9999-12-31T23:59:59Z")),
        of("invalid-data", said("y"), date="0001-01-01"),
        of("invalid-data", said("y"), date="9999-12-31"),
        of(None, said("leap", time="2016-12-31T23:59:60Z")),
        of("invalid-envelope", said("no leap", time="2016-12-30T23:59:60Z")),
        of("time-in-future", said("soon", time="2100-01-01T00:00:00Z")),
        of("source-not-allowed", said("s", subject="closed/plant")),
        of("conflicting-duplicate", said("good-0", "2029-09-09")),
        of("unstorable", said("refused")),
        Sent(
            "invalid-envelope", b"{}", [("ce_id", b"1"), ("milepost-foo", b"its own"), ("x", b"\xff"), ("x", b"twice")]
        ),
        Sent("malformed", b"\xff named", [(name_of(b"\xff\xfe"), b"1")]),
        Sent(None, structured(said("named"))[1], [(name_of(b"caf\xe9"), b"1"), (name_of(b""), b"2")]),
    ]


def spelled(name: str) -> str:
    """Return a header's name as it is kept: what is not UTF-8 is spelled out."""
    return name.raw.decode("utf-8", "backslashreplace") if isinstance(name, Name) else name


def test_every_reason_comes_with_what_has_it_and_all_between_is_recorded(fresh_settings: Settings) -> None:
    settings = fresh_settings.model_copy(update={"allowed_sources": {"closed": ["//nobody.example"]}})
    keep_small(settings, settings.events_topic, ROOM)
    store = Store(connect(settings.database))
    with writing(store.engine) as connection:
        refuse_to_store(connection, "NEW.id = 'refused'")
    records, first = hostile(), list[int]()
    publish(settings, [said("good-0")], key=lambda _: b"one")

    async def run() -> None:
        async with running_app(settings):
            topic = settings.events_topic
            await until(lambda: store.count_events() == 1, "the first is recorded, so that another conflicts with it")
            offsets = await asyncio.to_thread(send, settings, records)
            first.append(min(offsets))
            await until(lambda: store.positions(topic).get(0, 0) > max(offsets), "everything is read")

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
    assert store.count_events() == 1 + len(records) + sum(record.reason is None for record in records)
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
    """Check that a letter holds a record untouched."""
    assert letter.value == record.value
    assert letter.headers == tuple((spelled(name), value) for name, value in record.headers)
    assert letter.detail
    assert not OURS & {name for name, _ in letter.headers}


def send(settings: Settings, records: list[Sent]) -> list[int]:
    """Send records to one partition, a good event behind each; return their offsets."""
    with closing(
        KafkaProducer(bootstrap_servers=settings.kafka, max_request_size=ROOM, value_serializer=TrueHeaders())
    ) as producer:
        good = [Sent(None, value, [*headers]) for headers, value in map(structured, goods(len(records)))]
        sent = [
            # Without key and value kafka-python sends nothing.
            producer.send(settings.events_topic, each.value, b"k", NullableHeaders(each.headers), partition=0)
            for pair in zip(records, good, strict=True)
            for each in pair
        ]
        producer.flush()
    return [future.get(timeout=60).offset for future in sent]


def goods(count: int) -> list[Event]:
    """Return so many good events."""
    return [said(f"good-{number}") for number in range(1, count + 1)]
