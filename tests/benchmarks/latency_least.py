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
from tests.benchmarks.collecting import as_in_a_worker
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, pooled
from tests.benchmarks.ground import Ground, Place
from tests.benchmarks.peers.by_hand import writing
from tests.benchmarks.peers.job import prepared, row_of
from tests.benchmarks.publishing import publisher
from tests.benchmarks.reports import entries_of, reports
from tests.storing import batch_of, refuse_none

#: Events a second, as the latency of a worker is measured.
_RATES: Final = (500, 1000)
_SECONDS: Final = 20
_AT_ONCE: Final = 5000
#: Transactions, and events in each: as many as come meanwhile, of 1,000 a second.
_TRANSACTIONS: Final = 300
_SMALL: Final = 10


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Time it, as often as asked for."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    figures = []
    for rate in _RATES:
        ground.say(f"run {number + 1}: {rate:,} events/s, by hand")
        with ground.place() as place:
            fetched, committed = _by_hand(place, effort.of(rate * _SECONDS), rate)
        figures += [
            Figure(f"loop by hand, {rate:,} events/s: fetched", "s", fetched),
            Figure(f"loop by hand, {rate:,} events/s: committed", "s", committed),
        ]
    ground.say(f"run {number + 1}: {_SMALL} events a transaction")
    count = effort.of(_TRANSACTIONS)
    with ground.place() as place, as_in_a_worker():
        alone = _transactions(place, count)
    with ground.place() as place, as_in_a_worker(), _restless_thread():
        beside = _transactions(place, count)
    return [
        *figures,
        Figure(f"Milepost's transaction of {_SMALL} events, by itself", "s", alone),
        Figure(f"Milepost's transaction of {_SMALL} events, beside a thread that never rests", "s", beside),
    ]


def _by_hand(place: Place, count: int, rate: int) -> tuple[list[float], list[float]]:
    """Return how long after the broker took each event it was fetched, and committed."""
    settings, url = place.settings, place.store.engine.url.render_as_string(hide_password=False)
    prepared(url).dispose()
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "nobody", "enable.auto.commit": False})
    consumer.assign(
        [TopicPartition(settings.events_topic, number, OFFSET_BEGINNING) for number in range(settings.partitions)]
    )
    fetched: list[float] = []
    committed: list[float] = []
    with (
        writing(url) as write,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as publishing,
    ):
        published = publishing.submit(_publish, settings, count, rate)
        while len(committed) < count:
            first = consumer.poll(1.0)
            if first is None:
                if published.done():
                    # Raises what went wrong, instead of waiting for what was never published.
                    published.result()
                continue
            # What came meanwhile, and no waiting for more.
            messages = [first, *consumer.consume(_AT_ONCE, 0)]
            appended = [message.timestamp()[1] / 1000 for message in messages]
            fetched += [time.time() - moment for moment in appended]
            write([row_of(message.value() or b"") for message in messages])
            committed += [time.time() - moment for moment in appended]
    consumer.close()
    return fetched, committed


def _publish(settings: Settings, count: int, rate: int) -> None:
    with publisher(settings) as out:
        out.publish_steadily((msgspec.json.decode(value) for _, value in reports(count)), rate)


def _transactions(place: Place, count: int) -> list[float]:
    """Return how long a worker's store takes for each of so many small batches."""
    store, topic = place.store, place.settings.events_topic
    store.take_up(topic, {0: (0, 0)})
    took, values = [], [value for _, value in reports(count * _SMALL)]
    for start in range(0, len(values), _SMALL):
        batch = batch_of(entries_of(values[start : start + _SMALL], topic, start))
        began = time.perf_counter()
        store.record(batch, refuse_none)
        took.append(time.perf_counter() - began)
    return took


@contextmanager
def _restless_thread() -> Iterator[None]:
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
