"""What nothing of this kind gets past here: the same rows into the same ledger, and records fetched, no more."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import psycopg
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer
from sqlalchemy import text

from models.database.ledger import Entry
from models.database.positions import Span
from models.database.recorder import Batch
from models.domain.cloudevents import decode
from models.domain.events import Event, admit
from streams.kafka.compat import read_any_names
from tests.benchmarks.collecting import as_in_a_worker
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, pooled
from tests.benchmarks.ground import Ground, Place
from tests.benchmarks.peers.job import row_of
from tests.benchmarks.reports import entries_of, publish_reports, reports
from tests.storing import refuse_none

_EVENTS: Final = 200_000
_PARTITIONS: Final = 4
#: As many as a worker puts into a transaction, and as many as the loop by hand does.
_BATCH: Final = 4000
_LOOP_BATCH: Final = 5000
_COMMITS: Final = 500
#: What COPY's binary format begins with, and ends with.
_HEAD_BYTES: Final = 19
_END: Final = b"\xff\xff"


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Time each step alone, as often as asked for."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    events = effort.of(_EVENTS, multiple_of=_BATCH)
    ground.say(f"run {number + 1}: {events:,} events")
    with ground.place(partitions=_PARTITIONS) as place, as_in_a_worker():
        stored, copied, commits = _database(place, events)
    with ground.place(partitions=_PARTITIONS) as place:
        publish_reports(place.settings, events)
        rates = {
            "fetched by aiokafka": asyncio.run(_fetched(place, events, lambda _record: None)),
            "fetched by aiokafka, decoded, admitted": asyncio.run(_fetched(place, events, _admitted)),
            "fetched by confluent-kafka": _consumed(place, events, lambda _value: None),
            "fetched by confluent-kafka, decoded as the loop by hand does": _consumed(place, events, row_of),
        }
    return [
        Figure(f"COPY of rows made before, into the ledger, {_BATCH:,} a transaction: rows/s", "number", [copied]),
        Figure("a batch decoded and recorded, nothing fetched: events/s", "number", [stored]),
        *(Figure(f"{what}: events/s", "number", [rate]) for what, rate in rates.items()),
        Figure("a transaction that moves one position", "s", commits),
    ]


def _database(place: Place, events: int) -> tuple[float, float, list[float]]:
    """Return how many events a second are recorded, rows copied, and how long small transactions take."""
    store, topic, values = place.store, place.settings.events_topic, [value for _, value in reports(events)]
    store.take_up(topic, {0: (0, 0)})
    ahead: dict[int, list[Entry]] = {}

    def read_ahead(start: int) -> None:
        ahead[start] = entries_of(values[start : start + _BATCH], topic, start)

    began = time.perf_counter()
    read_ahead(0)
    for start in range(0, events, _BATCH):
        entries = ahead.pop(start)
        spans = [Span(topic, 0, start, start + len(entries))]
        # As a worker does: the next is decoded while the database works on this one.
        store.record(Batch(spans, entries), refuse_none, partial(read_ahead, start + _BATCH))
    stored = events / (time.perf_counter() - began)
    with psycopg.connect(store.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")) as connection:
        rows = _rows(connection)
        assert len(rows) == events
        connection.execute("TRUNCATE ledger")
        connection.commit()
        began = time.perf_counter()
        for start in range(0, events, _BATCH):
            with connection.cursor().copy("COPY ledger FROM STDIN (FORMAT binary)") as copy:
                copy.write(b"".join([rows[0][:_HEAD_BYTES], *_bare(rows, start), _END]))
            connection.commit()
        copied = events / (time.perf_counter() - began)
        commits = []
        for number in range(_COMMITS):
            began = time.perf_counter()
            connection.execute("UPDATE positions SET next_offset = %s", [number])
            connection.commit()
            commits.append(time.perf_counter() - began)
    with store.engine.connect() as read:
        assert read.scalar(text("SELECT count(*) FROM ledger")) == events
    return stored, copied, commits


def _rows(connection: psycopg.Connection) -> Sequence[bytes]:
    """Return the ledger's rows as COPY writes them, in the order in which they came; the first behind the head."""
    with connection.cursor().copy('COPY (SELECT * FROM ledger ORDER BY "offset") TO STDOUT (FORMAT binary)') as copy:
        return [bytes(row) for row in copy if bytes(row) != _END]


def _bare(rows: Sequence[bytes], start: int) -> Sequence[bytes]:
    some = rows[start : start + _BATCH]
    return [some[0][_HEAD_BYTES:], *some[1:]] if start == 0 else some


async def _fetched(place: Place, events: int, work: Callable[[Any], object]) -> float:
    read_any_names()
    settings = place.settings
    consumer = AIOKafkaConsumer(
        settings.events_topic, bootstrap_servers=settings.kafka, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        left, began = events, 0.0
        while left:
            fetched = await consumer.getmany(timeout_ms=200, max_records=_BATCH)
            began = began or time.perf_counter()
            for records in fetched.values():
                left -= len(records)
                for record in records:
                    work(record)
        return events / (time.perf_counter() - began)
    finally:
        await consumer.stop()


def _admitted(record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    event = decode(record.headers, record.value)
    assert isinstance(event, Event)
    admit(event, record.timestamp, {})


def _consumed(place: Place, events: int, work: Callable[[bytes], object]) -> float:
    topic = place.settings.events_topic
    consumer = Consumer(
        {"bootstrap.servers": place.settings.kafka, "group.id": f"limits-{topic}", "auto.offset.reset": "earliest"}
        | {"enable.auto.commit": False}
    )
    try:
        consumer.subscribe([topic])
        left, began = events, 0.0
        while left:
            messages = consumer.consume(_LOOP_BATCH, 0.3)
            began = began or (time.perf_counter() if messages else 0.0)
            left -= len(messages)
            for message in messages:
                work(message.value() or b"")
        return events / (time.perf_counter() - began)
    finally:
        consumer.close()
