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

from models.database.ledger import DecodedRecord
from models.database.positions import OffsetRange
from models.database.recorder import Batch
from models.domain.cloudevents import decode
from models.domain.events import Event, check_acceptable
from streams.kafka.compat import patch_aiokafka, reset_bytes_left
from tests.benchmarks.environment import BenchmarkEnvironment, Workspace
from tests.benchmarks.figures import Figure, merge_runs
from tests.benchmarks.gc_settings import worker_gc_settings
from tests.benchmarks.options import RunOptions
from tests.benchmarks.peers.job import decode_row
from tests.benchmarks.reports import decoded_records, publish_reports, report_records
from tests.benchmarks.traced_worker import BENCHMARK_TIMEOUT_SECONDS
from tests.helpers.recorder import fail_on_rejection

_EVENTS: Final = 100_000
_PARTITIONS: Final = 4
#: As many as a worker puts into a transaction, and as many as the loop by hand does.
_BATCH: Final = 4000
_PLAIN_LOOP_BATCH: Final = 5000
_COMMITS: Final = 500
#: What COPY's binary format begins with, and ends with.
_COPY_HEADER_BYTES: Final = 19
_COPY_TRAILER: Final = b"\xff\xff"


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Time each step alone, as often as asked for."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    events = options.scaled(_EVENTS, multiple_of=_BATCH)
    environment.report_progress(f"run {number + 1}: {events:,} events")
    with environment.workspace(partitions=_PARTITIONS) as place, worker_gc_settings():
        stored, copied, commits = _measure_database(place, events)
    with environment.workspace(partitions=_PARTITIONS) as place:
        publish_reports(place.settings, events)
        rates = {
            "fetched by aiokafka": asyncio.run(_aiokafka_rate(place, events, lambda _record: None)),
            "fetched by aiokafka, decoded, admitted": asyncio.run(_aiokafka_rate(place, events, _decode_and_check)),
            "fetched by confluent-kafka": _confluent_rate(place, events, lambda _value: None),
            "fetched by confluent-kafka, decoded as the loop by hand does": _confluent_rate(place, events, decode_row),
        }
    return [
        Figure(f"COPY of rows made before, into the ledger, {_BATCH:,} a transaction: rows/s", "number", [copied]),
        Figure("a batch decoded and recorded, nothing fetched: events/s", "number", [stored]),
        *(Figure(f"{what}: events/s", "number", [rate]) for what, rate in rates.items()),
        Figure("a transaction that moves one position", "s", commits),
    ]


def _measure_database(workspace: Workspace, events: int) -> tuple[float, float, list[float]]:
    """Return how many events a second are recorded, rows copied, and how long small transactions take."""
    store, topic, values = (
        workspace.recorder,
        workspace.settings.events_topic,
        [value for _, value in report_records(events)],
    )
    store.resolve_start_offsets(topic, {0: (0, 0)})
    ahead: dict[int, list[DecodedRecord]] = {}

    def decode_ahead(start: int) -> None:
        ahead[start] = decoded_records(values[start : start + _BATCH], topic, start)

    began = time.perf_counter()
    decode_ahead(0)
    for start in range(0, events, _BATCH):
        entries = ahead.pop(start)
        spans = [OffsetRange(topic, 0, start, start + len(entries))]
        # As a worker does: the next is decoded while the database works on this one.
        store.record(Batch(spans, entries), fail_on_rejection, partial(decode_ahead, start + _BATCH))
    stored = events / (time.perf_counter() - began)
    with psycopg.connect(store.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")) as connection:
        rows = _copy_rows(connection)
        assert len(rows) == events
        connection.execute("TRUNCATE ledger")
        connection.commit()
        began = time.perf_counter()
        for start in range(0, events, _BATCH):
            with connection.cursor().copy("COPY ledger FROM STDIN (FORMAT binary)") as copy:
                copy.write(b"".join([rows[0][:_COPY_HEADER_BYTES], *_batch_without_header(rows, start), _COPY_TRAILER]))
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


def _copy_rows(connection: psycopg.Connection) -> Sequence[bytes]:
    """Return the ledger's rows as COPY writes them, in the order in which they came; the first behind the head."""
    with connection.cursor().copy('COPY (SELECT * FROM ledger ORDER BY "offset") TO STDOUT (FORMAT binary)') as copy:
        return [bytes(row) for row in copy if bytes(row) != _COPY_TRAILER]


def _batch_without_header(rows: Sequence[bytes], start: int) -> Sequence[bytes]:
    some = rows[start : start + _BATCH]
    return [some[0][_COPY_HEADER_BYTES:], *some[1:]] if start == 0 else some


async def _aiokafka_rate(workspace: Workspace, events: int, handle: Callable[[Any], object]) -> float:
    patch_aiokafka()
    settings = workspace.settings
    consumer = AIOKafkaConsumer(
        settings.events_topic, bootstrap_servers=settings.kafka, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        left, began = events, 0.0
        async with asyncio.timeout(BENCHMARK_TIMEOUT_SECONDS):
            while left:
                # Without that, all fetches together hand out no more than one may.
                reset_bytes_left(consumer._subscription.subscription.assignment)
                fetched = await consumer.getmany(timeout_ms=200, max_records=_BATCH)
                began = began or time.perf_counter()
                for records in fetched.values():
                    left -= len(records)
                    for record in records:
                        handle(record)
        return events / (time.perf_counter() - began)
    finally:
        await consumer.stop()


def _decode_and_check(record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    event = decode(record.headers, record.value)
    assert isinstance(event, Event)
    check_acceptable(event, record.timestamp, {})


def _confluent_rate(workspace: Workspace, events: int, handle: Callable[[bytes], object]) -> float:
    topic = workspace.settings.events_topic
    consumer = Consumer(
        {"bootstrap.servers": workspace.settings.kafka, "group.id": f"limits-{topic}", "auto.offset.reset": "earliest"}
        | {"enable.auto.commit": False}
    )
    try:
        consumer.subscribe([topic])
        left, began, deadline = events, 0.0, time.monotonic() + BENCHMARK_TIMEOUT_SECONDS
        while left:
            assert time.monotonic() < deadline, f"{left} of {events} events did not come"
            messages = consumer.consume(_PLAIN_LOOP_BATCH, 0.3)
            began = began or (time.perf_counter() if messages else 0.0)
            left -= len(messages)
            for message in messages:
                handle(message.value() or b"")
        return events / (time.perf_counter() - began)
    finally:
        consumer.close()
