"""How far the database is behind the log, asked of both every few seconds, apart from the fetching consumer.

A consumer that hangs would report its own lag as it was when it hung. This one only asks: the broker for the ends
of the logs and for the append time of the oldest unread record, the database for the positions.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from mode import Service
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.database.recorder import Recorder
from models.failpoints import hit_failpoint
from models.text import one_line
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health

logger = logging.getLogger("milepost.lag")

#: How long one round of questions may take.
POLL_TIMEOUT_SECONDS: Final = 10.0
#: How long to wait for the oldest unread record of a partition.
_RECORD_TIMEOUT_MS: Final = 1000
#: How soon partitions that were added are seen.
_METADATA_MAX_AGE_MS: Final = 10_000


class LagMonitor(Service):
    """Keeps `milepost_position`, `milepost_log_end`, `milepost_lag_seconds` true, and knows who answers."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        recorder: Recorder,
        metrics: Metrics,
        health: Health,
        topic: str,
        partition_count: int,
        executor: Executor,
        *,
        interval: float,
        clock: Callable[[], float],
        client_options: Mapping[str, Any],
        on_progress: Callable[[Mapping[int, int] | None], None],
        rewind: Callable[[], None],
        stop_with_error: Callable[[str], None],
        **options: Any,  # noqa: ANN401 - mode's own
    ) -> None:
        self._recorder, self._metrics, self._health = recorder, metrics, health
        self._topic, self._executor = topic, executor
        self._interval, self._clock, self._client_options = interval, clock, dict(client_options)
        #: Told where the partitions stand that have something to read; None when one of both does not answer.
        self._on_progress = on_progress
        self._rewind, self._stop_with_error = rewind, stop_with_error
        self._positions: Mapping[int, int] = {}
        self._partitions = [TopicPartition(topic, partition) for partition in range(partition_count)]
        self._consumer: AIOKafkaConsumer | None = None
        super().__init__(**options)

    @Service.task
    async def _poll_forever(self) -> None:
        while not self.should_stop:
            try:
                await self.poll()
            except ConsumerStoppedError:
                if not self.should_stop:
                    raise
                return  # the worker stops, and was just asking
            hit_failpoint("block-loop")
            await self.sleep(self._interval)

    async def on_stop(self) -> None:
        """Let go of the broker."""
        await self._disconnect()

    async def poll(self) -> None:
        """Ask once; what does not answer is shown as down, and asked again next time."""
        loop = asyncio.get_running_loop()
        positions: dict[int, int] | None = None
        try:
            positions = await loop.run_in_executor(self._executor, self._recorder.read_positions, self._topic)
        except DatabaseError as error:
            self._stop_with_error(str(error))
        except SQLAlchemyError as error:
            logger.warning("the database does not tell its positions: %s", one_line(error))
        self._health.is_database_up = positions is not None
        if positions is not None:
            self._rewind_if_positions_went_back(positions)
        try:
            async with asyncio.timeout(POLL_TIMEOUT_SECONDS):
                waiting = await self._measure_lag(positions or {})
        except (KafkaError, TimeoutError) as error:
            self._health.is_kafka_up = False
            logger.warning("Kafka does not tell the ends of %s: %r", self._topic, error)
            await self._disconnect()
            self._on_progress(None)
        else:
            self._health.is_kafka_up = True
            self._on_progress(None if positions is None else waiting)

    def _rewind_if_positions_went_back(self, positions: Mapping[int, int]) -> None:
        """Have all read again when a position went back: no worker does that, so the database is another one now."""
        before, self._positions = self._positions, positions
        if lost := [partition for partition, was in before.items() if positions.get(partition, -1) < was]:
            logger.warning(
                "the database's positions of %s went back (partitions %s): it was restored or emptied; reading again"
                " from where it is",
                self._topic,
                ", ".join(map(str, sorted(lost))),
            )
            self._rewind()

    def _check_partition_count(self, consumer: AIOKafkaConsumer) -> None:
        """Refuse to go on when partitions were added: nobody reads them, and programmes belong to others now."""
        found, known = len(consumer.partitions_for_topic(self._topic) or self._partitions), len(self._partitions)
        if found != known:
            self._stop_with_error(
                f"topic {self._topic} has {found} partitions and had {known} when this worker started: give its sister"
                f" topics as many, set MILEPOST_PARTITIONS={found}, and start the workers again"
            )

    async def _measure_lag(self, positions: Mapping[int, int]) -> Mapping[int, int]:
        """Show the lags; return the positions of the partitions that have a record to read."""
        consumer = await self._connect()
        self._check_partition_count(consumer)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
        waiting = {}
        for tp, end in ends.items():
            at = (tp.topic, str(tp.partition))
            self._metrics.log_end.labels(*at).set(end)
            if (position := positions.get(tp.partition)) is None:
                continue
            self._metrics.position.labels(*at).set(position)
            if position < end:
                waiting[tp] = position
            elif position > end:
                # The topic was made anew: whoever asks where to read is told so.
                self._rewind()
            else:
                self._metrics.lag_seconds.labels(*at).set(0)
        unread = {}
        for tp, position in waiting.items():
            appended = await self._read_append_time(consumer, tp, position)
            # What ends with the marker of a transaction has nothing to read before its end.
            lag = 0.0 if appended is None else max(0.0, self._clock() - appended)
            if appended is not None:
                unread[tp.partition] = position
            self._metrics.lag_seconds.labels(tp.topic, str(tp.partition)).set(lag)
        return unread

    async def _read_append_time(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> float | None:
        """Return when the first record from an offset on was appended; None when there is none (any more)."""
        consumer.resume(tp)
        consumer.seek(tp, offset)
        fetched = await consumer.getmany(tp, timeout_ms=_RECORD_TIMEOUT_MS, max_records=1)
        consumer.pause(tp)
        return next((record.timestamp / 1000 for records in fetched.values() for record in records), None)

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # No group: it must never take part in the assignment it watches.
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
