"""Measures the consumer lag: how far the database is behind the log, asked of both every few seconds.

It uses a consumer of its own. A fetching consumer that hangs would report its lag as it was when it hung; this one only
asks the broker for the ends of the logs and for the append time of the oldest unread record.

Records of a transaction that is still open count as unread, although no reader may have them yet: a transaction that
hangs keeps back everything behind it, and shows as lag.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from mode import Service
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.database.recorder import Recorder
from models.errors import MilepostError, PartitionsChangedError
from models.failpoints import hit_failpoint
from models.settings import Settings
from streams.clock import Clock
from streams.kafka.compat import fetch_from
from streams.kafka.config import aiokafka_options
from streams.kafka.consumer_thread import KafkaRecord, is_appended_by_broker
from streams.kafka.log_ends import read_last_stable_offsets, read_log_ends
from streams.kafka.transport import BatchSource
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health
from streams.monitoring.watchdog import Watchdog
from streams.retry import Retry
from streams.watched_service import WatchedService

logger = logging.getLogger("milepost.lag")

#: How long one poll may take.
POLL_TIMEOUT_SECONDS: Final = 10.0
#: How long to wait for the oldest unread record of a partition.
_RECORD_TIMEOUT_MS: Final = 1000
#: How soon added partitions are noticed.
_METADATA_MAX_AGE_MS: Final = 10_000


class LagMonitor(WatchedService):
    """Sets `milepost_position`, `milepost_log_end`, `milepost_lag_seconds`, and whether both answer."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        *,
        recorder: Recorder,
        metrics: Metrics,
        health: Health,
        settings: Settings,
        clock: Clock,
        source: BatchSource,
        watchdog: Watchdog,
        stop_with_error: Callable[[MilepostError], None],
    ) -> None:
        super().__init__()
        self._recorder, self._metrics, self._health, self._settings = recorder, metrics, health, settings
        self._clock, self._source, self._watchdog, self._stop_with_error = clock, source, watchdog, stop_with_error
        self._executor = ThreadPoolExecutor(1, "lag")
        self._topic, self._client_options = settings.events_topic, aiokafka_options(settings)
        self._partitions = [TopicPartition(self._topic, number) for number in range(settings.partitions)]
        self._positions: Mapping[int, int] = {}
        self._database_retry = Retry("reading the positions from the database")
        self._kafka_retry = Retry(f"reading the ends of {self._topic} from Kafka")
        self._consumer: AIOKafkaConsumer | None = None
        #: Since when each partition's oldest unread record was seen, if it carries its publisher's time.
        self._first_seen: dict[TopicPartition, tuple[int, float]] = {}

    @Service.task
    async def _poll_forever(self) -> None:
        while not self.should_stop:
            try:
                await self.poll()
            except ConsumerStoppedError:
                if not self.should_stop:
                    raise
                return  # the worker was stopped during a poll
            hit_failpoint("block-loop")
            await self.sleep(self._settings.log_end_seconds)

    async def on_stop(self) -> None:
        """Disconnect from the broker, which ends a poll that is under way."""
        await self._disconnect()

    async def on_shutdown(self) -> None:
        """Disconnect again: until it was cancelled, a poll may have connected."""
        await self._disconnect()

    async def poll(self) -> None:
        """Ask the database and the broker once; what does not answer is down until the next poll."""
        loop = asyncio.get_running_loop()
        positions: dict[int, int] | None = None
        unread: Mapping[int, int] | None = None
        try:
            positions = await loop.run_in_executor(self._executor, self._recorder.read_positions, self._topic)
        except DatabaseError as error:
            self._stop_with_error(error)
        except SQLAlchemyError as error:
            self._database_retry.fail(error)
        else:
            self._database_retry.end()
        self._health.is_database_up = positions is not None
        if positions is not None:
            self._rewind_if_positions_went_back(positions)
        try:
            async with asyncio.timeout(POLL_TIMEOUT_SECONDS):
                unread = await self._measure_lag(positions or {})
        except (KafkaError, TimeoutError) as error:
            self._health.is_kafka_up = False
            # A time-out of asyncio has no text.
            is_silent = not str(error)
            self._kafka_retry.fail(TimeoutError(f"nothing within {POLL_TIMEOUT_SECONDS:g} s") if is_silent else error)
            await self._disconnect()
        else:
            self._health.is_kafka_up = True
            self._kafka_retry.end()
        self._watchdog.observe(self._health.expected_progress(self._topic, None if positions is None else unread))

    def _rewind_if_positions_went_back(self, positions: Mapping[int, int]) -> None:
        """Rewind when a position went back: no worker does that, so the database is another one now."""
        previous, self._positions = self._positions, positions
        if lost := [partition for partition, position in previous.items() if positions.get(partition, -1) < position]:
            logger.warning(
                "the database's positions of %s went back (partitions %s): it was restored or emptied; reading again"
                " from where it is",
                self._topic,
                ", ".join(map(str, sorted(lost))),
            )
            self._source.rewind()

    def _check_partition_count(self, consumer: AIOKafkaConsumer) -> None:
        """Stop the worker when partitions were added: nobody reads them, and programmes belong to others now."""
        actual, expected = len(consumer.partitions_for_topic(self._topic) or self._partitions), len(self._partitions)
        if actual != expected:
            self._stop_with_error(
                PartitionsChangedError(
                    f"topic {self._topic} has {actual} partitions and had {expected} when this worker started"
                )
            )

    async def _measure_lag(self, positions: Mapping[int, int]) -> Mapping[int, int]:
        """Set the lag metrics; return the positions of the partitions that have unread records."""
        consumer = await self._connect()
        self._check_partition_count(consumer)
        behind = {}
        for tp, end in (await read_log_ends(consumer, self._partitions)).items():
            labels = (tp.topic, str(tp.partition))
            self._metrics.log_end.labels(*labels).set(end)
            if (position := positions.get(tp.partition)) is None:
                continue
            self._metrics.position.labels(*labels).set(position)
            if position < end:
                behind[tp] = position
            elif position > end:
                # The topic was recreated; resolving the start offsets reports it.
                self._source.rewind()
            else:
                self._metrics.lag_seconds.labels(*labels).set(0)
        unread = {}
        readable_ends = await read_last_stable_offsets(consumer, list(behind)) if behind else {}
        for tp, position in behind.items():
            oldest = await self._read_oldest(consumer, tp, position)
            # A log that ends with a transaction marker has nothing to read before its end.
            lag = 0.0 if oldest is None else max(0.0, self._clock.now() - self._waiting_since(tp, oldest))
            if oldest is not None and position < readable_ends[tp]:
                unread[tp.partition] = position
            self._metrics.lag_seconds.labels(tp.topic, str(tp.partition)).set(lag)
        return unread

    def _waiting_since(self, tp: TopicPartition, oldest: KafkaRecord) -> float:
        """Return when an unread record was appended; where only its publisher's time is known, when it was seen."""
        if is_appended_by_broker(oldest):
            return oldest.timestamp / 1000
        offset, seen_at = self._first_seen.get(tp, (-1, 0.0))
        if offset != oldest.offset:
            self._first_seen[tp] = oldest.offset, (seen_at := self._clock.now())
        return seen_at

    async def _read_oldest(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> KafkaRecord | None:
        """Return the first record from an offset on, of an open transaction too; None when there is none (any more)."""
        consumer.resume(tp)
        consumer.seek(tp, offset)
        records = await fetch_from(consumer, tp, _RECORD_TIMEOUT_MS, 1)
        consumer.pause(tp)
        return records[0] if records else None

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # No group: it must never take part in the assignment that it watches.
            consumer = AIOKafkaConsumer(
                group_id=None,
                enable_auto_commit=False,
                max_partition_fetch_bytes=1024,
                metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                **self._client_options,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            consumer.assign(self._partitions)
            consumer.pause(*self._partitions)
            self._consumer = consumer
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
