"""Counts the dead letters that wait: those that nobody has replayed or discarded.

The topic is compacted and has one partition. Only the worker that has partition 0 of the events topic reads it and
exposes the numbers, so that those of several workers do not add up. It reads the topic from its start, after every
start and whenever the partition comes to it: nothing is stored elsewhere, so the numbers are right after a restart.

A flood of rejected events must not take the time of recording: reading rests for a multiple of the time that it took.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.types import TP
from mode import Service

from models.domain.dead_letters import parse_dead_letter
from models.domain.events import RejectionReason
from models.settings import Settings
from streams.kafka.compat import fetch_from
from streams.kafka.config import aiokafka_options
from streams.kafka.log_ends import READ_COMMITTED, read_last_stable_offsets
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health
from streams.retry import Retry
from streams.watched_service import WatchedService

#: Dead letters that are remembered, at most: about 100 bytes each.
MAX_REMEMBERED: Final = 500_000
#: How long after more were there than can be remembered the topic is read again: compaction may have removed some.
_REREAD_SECONDS: Final = 3600.0
#: How long the broker may take for an answer.
_TIMEOUT_SECONDS: Final = 10.0
_FETCH_TIMEOUT_MS: Final = 500
_MAX_RECORDS: Final = 200
#: The rest after reading, as a multiple of the time that it took: a fifth of a core at most.
_REST_FACTOR: Final = 4
_REASONS: Final = frozenset(reason.value for reason in RejectionReason)
#: The label of a reason that Milepost does not give.
OTHER_REASON: Final = "other"


class WaitingLetters:
    """The dead letters that wait, by reason, as the records of the topic tell one after the other.

    Those beyond the limit count, but their tombstones are not recognised: the counts are then too large, never too
    small.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._reasons: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        #: Whether there were more than the limit.
        self.is_incomplete = False

    def apply(self, key: bytes | None, reason: str | None) -> None:
        """Note a dead letter with a key, or (without a reason) the tombstone that removes it."""
        digest = int.from_bytes(blake2b(key or b"", digest_size=8).digest(), "big")
        if (previous := self._reasons.pop(digest, None)) is not None:
            self.counts[previous] -= 1
        if reason is None:
            return
        label = reason if reason in _REASONS else OTHER_REASON
        self.counts[label] += 1
        if len(self._reasons) < self._limit:
            self._reasons[digest] = label
        else:
            self.is_incomplete = True


class DeadLetterMonitor(WatchedService):
    """Sets `milepost_dead_letters_waiting`."""

    def __init__(self, *, metrics: Metrics, health: Health, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__()
        self._metrics, self._health, self._clock = metrics, health, clock
        self._responsible = TP(settings.events_topic, 0)
        self._partition = TopicPartition(settings.dead_letters_topic, 0)
        self._client_options, self._interval = aiokafka_options(settings), settings.log_end_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._letters = WaitingLetters()
        #: The first offset of the topic, and the next one to read; None before anything is read.
        self._start: int | None = None
        self._position = 0
        #: When the topic was read to its end first; infinity before.
        self._completed_at = math.inf
        self._retry = Retry(f"reading {settings.dead_letters_topic}")

    @Service.task
    async def _poll_forever(self) -> None:
        while not self.should_stop:
            try:
                await self.poll()
            except ConsumerStoppedError:
                if not self.should_stop:
                    raise
                return  # the worker was stopped during a poll
            await self.sleep(self._interval)

    async def on_stop(self) -> None:
        """Disconnect from the broker, which ends a poll that is under way."""
        await self._disconnect()

    async def on_shutdown(self) -> None:
        """Disconnect again: until it was cancelled, a poll may have connected."""
        await self._disconnect()

    async def poll(self) -> None:
        """Read what is new and expose the counts, if this worker is responsible for that."""
        if self._responsible not in self._health.assigned_partitions:
            self._forget()
            self._metrics.set_dead_letters_waiting(None)
            self._retry.end()
            await self._disconnect()
            return
        try:
            await self._read_new_records()
        except (KafkaError, TimeoutError) as error:
            # What is exposed stays as it was read last.
            # A time-out of asyncio has no text.
            self._retry.fail(error if str(error) else TimeoutError(f"nothing within {_TIMEOUT_SECONDS:g} s"))
            await self._disconnect()
            return
        self._retry.end()
        if self._letters.is_incomplete and self._clock() - self._completed_at > _REREAD_SECONDS:
            self._forget()

    def _forget(self) -> None:
        """Start again with the first record; what is exposed stays until all is read."""
        self._letters, self._start, self._position, self._completed_at = WaitingLetters(), None, 0, math.inf

    async def _read_new_records(self) -> None:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            consumer = await self._connect()
            start = (await consumer.beginning_offsets([self._partition]))[self._partition]
            end = (await read_last_stable_offsets(consumer, [self._partition]))[self._partition]
        if start != self._start or end < self._position:
            # Read for the first time; or records were deleted, or the topic was recreated.
            self._forget()
            self._start, self._position = start, start
        consumer.seek(self._partition, self._position)
        while self._position < end and not self.should_stop:
            await self._read_chunk(consumer)
            if self._completed_at < math.inf:
                self._metrics.set_dead_letters_waiting(self._letters.counts)
        self._completed_at = min(self._completed_at, self._clock())
        self._metrics.set_dead_letters_waiting(self._letters.counts)

    async def _read_chunk(self, consumer: AIOKafkaConsumer) -> None:
        """Read some records, and rest."""
        before = self._position
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while self._position == before:
                records = await fetch_from(consumer, self._partition, _FETCH_TIMEOUT_MS, _MAX_RECORDS)
                started = self._clock()
                for record in records:
                    letter = parse_dead_letter(record.key, record.value, record.headers)
                    self._letters.apply(record.key, None if letter is None else letter.reason)
                # Offsets without a record (of compaction, or a transaction's marker) are passed too.
                self._position = await consumer.position(self._partition)
        await self.sleep(_REST_FACTOR * (self._clock() - started))

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # No group: it never takes part in an assignment.
            consumer = AIOKafkaConsumer(
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level=READ_COMMITTED,
                **self._client_options,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            consumer.assign([self._partition])
            self._consumer = consumer
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
