"""The least that a delay can be here: a loop that only keeps events, and a small transaction by itself."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from models.settings import Settings
from tests.benchmarks.environment import BenchmarkEnvironment, Workspace
from tests.benchmarks.figures import Figure, merge_runs
from tests.benchmarks.gc_settings import worker_gc_settings
from tests.benchmarks.options import RunOptions
from tests.benchmarks.peers.by_hand import open_writer
from tests.benchmarks.peers.job import create_job_tables, decode_row
from tests.benchmarks.publishing import running_publisher
from tests.benchmarks.reports import decoded_records, report_records
from tests.benchmarks.traced_worker import BENCHMARK_TIMEOUT_SECONDS
from tests.helpers.recorder import event_batch, fail_on_rejection

#: Events a second, as the latency of a worker is measured.
_RATES: Final = (500, 1000)
_SECONDS: Final = 10
_FETCH_BATCH: Final = 5000
#: Transactions, and events in each: as many as come meanwhile, of 1,000 a second.
_TRANSACTIONS: Final = 100
_BATCH_EVENTS: Final = 10


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Time it, as often as asked for."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    figures = []
    for rate in _RATES:
        environment.report_progress(f"run {number + 1}: {rate:,} events/s, by hand")
        with environment.workspace() as place:
            fetched, committed = _measure_plain_loop(place, options.scaled(rate * _SECONDS), rate)
        figures += [
            Figure(f"loop by hand, {rate:,} events/s: fetched", "s", fetched),
            Figure(f"loop by hand, {rate:,} events/s: committed", "s", committed),
        ]
    environment.report_progress(f"run {number + 1}: {_BATCH_EVENTS} events a transaction")
    count = options.scaled(_TRANSACTIONS)
    with environment.workspace() as place, worker_gc_settings():
        alone = _time_transactions(place, count)
    with environment.workspace() as place, worker_gc_settings(), _busy_thread():
        beside = _time_transactions(place, count)
    return [
        *figures,
        Figure(f"Milepost's transaction of {_BATCH_EVENTS} events, by itself", "s", alone),
        Figure(f"Milepost's transaction of {_BATCH_EVENTS} events, beside a thread that never rests", "s", beside),
    ]


def _measure_plain_loop(workspace: Workspace, count: int, rate: int) -> tuple[list[float], list[float]]:
    """Return how long after the broker took each event it was fetched, and committed."""
    settings, url = workspace.settings, workspace.recorder.engine.url.render_as_string(hide_password=False)
    create_job_tables(url).dispose()
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "nobody", "enable.auto.commit": False})
    consumer.assign(
        [TopicPartition(settings.events_topic, number, OFFSET_BEGINNING) for number in range(settings.partitions)]
    )
    fetched: list[float] = []
    committed: list[float] = []
    with (
        open_writer(url) as write,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as publishing,
    ):
        published = publishing.submit(_publish_reports_steadily, settings, count, rate)
        deadline = time.monotonic() + BENCHMARK_TIMEOUT_SECONDS
        while len(committed) < count:
            assert time.monotonic() < deadline, f"{len(committed)} of {count} events came"
            first = consumer.poll(1.0)
            if first is None:
                if published.done():
                    # Raises what went wrong, instead of waiting for what was never published.
                    published.result()
                continue
            # What came meanwhile, and no waiting for more.
            messages = [first, *consumer.consume(_FETCH_BATCH, 0)]
            appended = [message.timestamp()[1] / 1000 for message in messages]
            fetched += [time.time() - moment for moment in appended]
            write([decode_row(message.value() or b"") for message in messages])
            committed += [time.time() - moment for moment in appended]
    consumer.close()
    return fetched, committed


def _publish_reports_steadily(settings: Settings, count: int, rate: int) -> None:
    with running_publisher(settings) as out:
        out.publish_steadily((msgspec.json.decode(value) for _, value in report_records(count)), rate)


def _time_transactions(workspace: Workspace, count: int) -> list[float]:
    """Return how long a worker's store takes for each of so many small batches."""
    store, topic = workspace.recorder, workspace.settings.events_topic
    store.resolve_start_offsets(topic, {0: (0, 0)})
    took, values = [], [value for _, value in report_records(count * _BATCH_EVENTS)]
    for start in range(0, len(values), _BATCH_EVENTS):
        batch = event_batch(decoded_records(values[start : start + _BATCH_EVENTS], topic, start))
        began = time.perf_counter()
        store.record(batch, fail_on_rejection)
        took.append(time.perf_counter() - began)
    return took


@contextmanager
def _busy_thread() -> Iterator[None]:
    """Have a thread run Python without a pause, until the block ends."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
