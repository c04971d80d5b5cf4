"""Transactions of publishers: what was aborted was never said, and what is open is not yet said."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from consumers.audit import audit
from consumers.dead_letters import read_dead_letters
from deploy.topics import read_offset_ranges
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.settings import Settings
from streams.app import WorkerComponents
from streams.kafka import compat
from tests.helpers.event_generators import structured_record
from tests.helpers.recorder import count_events
from tests.helpers.workers import running_app, wait_until_async
from tests.integration.test_streams import numbered_report


def send(producer: Producer, topic: str, *numbers: int) -> None:
    """Send numbered reports to the first partition, and wait until the broker has them."""
    for number in numbers:
        headers, value = structured_record(numbered_report(number))
        producer.produce(topic, value, b"north", headers=dict(headers), partition=0)
    assert producer.flush(10) == 0


@contextmanager
def transaction(settings: Settings, *numbers: int, topic: str | None = None) -> Iterator[Producer]:
    """Send numbered reports in a transaction that the block ends."""
    producer = Producer({"bootstrap.servers": settings.kafka, "transactional.id": f"{settings.prefix}-{numbers}"})
    producer.init_transactions()
    producer.begin_transaction()
    send(producer, topic or settings.events_topic, *numbers)
    yield producer


class Pipeline:
    """What a worker says of the first partition, poll by poll."""

    def __init__(self, milepost: WorkerComponents, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self._milepost, self._labels = milepost, (settings.events_topic, "0")
        self.expected_progress: list[Mapping[str, int]] = []
        monkeypatch.setattr(milepost.watchdog, "observe", self.expected_progress.append)

    def value(self, name: str) -> float:
        """Return the value of one of its gauges."""
        [sample] = getattr(self._milepost.metrics, name).labels(*self._labels).collect()[0].samples
        return float(sample.value)

    async def is_read_to_its_end(self) -> None:
        """Wait until a poll has found nothing unread."""
        polls = len(self.expected_progress)
        await wait_until_async(
            lambda: (
                len(self.expected_progress) > polls + 1
                and self.value("position") == self.value("log_end")
                and self.value("lag_seconds") == 0
            ),
            "the position is at the end of the log",
        )


def test_what_was_not_committed_counts_nowhere_and_an_open_transaction_shows_as_lag(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, engine = sqlite_settings, make_engine(sqlite_settings.database)
    recorder = Recorder(engine)

    async def run() -> None:
        async with running_app(settings) as milepost:
            pipeline = Pipeline(milepost, settings, monkeypatch)
            # The log ends with markers, and one of its batches holds nothing that counts.
            with transaction(settings, 1, 2) as committed, transaction(settings, 3) as aborted:
                aborted.abort_transaction()
                committed.commit_transaction()
            await wait_until_async(lambda: count_events(recorder) == 2, "the committed events are recorded")
            await pipeline.is_read_to_its_end()
            with transaction(settings, 4, topic=settings.dead_letters_topic) as aborted:
                aborted.abort_transaction()
            with transaction(settings, 5) as aborted:
                aborted.abort_transaction()
            await wait_until_async(lambda: pipeline.value("position") == 7, "a marker after an aborted event is passed")
            await pipeline.is_read_to_its_end()
            assert await asyncio.to_thread(read_dead_letters, settings) == []

            # Open, and something committed behind it.
            with transaction(settings, 6) as opened:
                send(Producer({"bootstrap.servers": settings.kafka}), settings.events_topic, 7, 7)
                await wait_until_async(lambda: pipeline.value("lag_seconds") > 1, "what waits shows as lag")
                assert pipeline.value("log_end") > pipeline.value("position") == 7
                assert not any(pipeline.expected_progress[-1].values()), "no worker can read on: none is stuck"
                differences, summary = await asyncio.to_thread(audit, settings, engine)
                assert (differences, summary.unread, summary.accepted) == ([], 0, 2)
                assert (await asyncio.to_thread(read_offset_ranges, settings))[0] == (0, 7)
                assert count_events(recorder) == 2
                opened.commit_transaction()
            await wait_until_async(lambda: count_events(recorder) == 4, "what was kept back is recorded")
            await pipeline.is_read_to_its_end()
            differences, summary = await asyncio.to_thread(audit, settings, engine)
            assert (differences, summary.unread, summary.accepted) == ([], 0, 4)

    asyncio.run(run())
    engine.dispose()


def test_the_lag_is_measured_however_much_was_read_to_measure_it(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "MAX_FETCH_BYTES", 1)

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            pipeline = Pipeline(milepost, sqlite_settings, monkeypatch)
            await pipeline.is_read_to_its_end()
            with transaction(sqlite_settings, 1) as opened:
                await wait_until_async(lambda: pipeline.value("lag_seconds") > 3, "several polls show the lag")
                opened.commit_transaction()

    asyncio.run(run())
