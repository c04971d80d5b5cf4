"""Publishes events: returns when all in-sync replicas have them.

The records of all requests are collected by partition: what arrives while Kafka has one batch of a partition becomes
the next one. That costs a request one future, where the library's own `send` costs one for each event.

An idempotent producer never gives up a batch that may still succeed. So whoever waits gives up, and says so: the same
events, sent again, count once. A batch that cannot succeed leaves a gap in the numbers by which the broker recognises
batches, and it would refuse every later one of that partition: after such a failure the producer is replaced.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from models.text import one_line
from streams.gateway.acceptance import CheckedRecord
from streams.outages import EVENTS_TOPIC, KAFKA, OUTAGES

logger = logging.getLogger("milepost.gateway")

#: How long events may take to be acknowledged: contract, section 9.
PUBLISH_SECONDS: Final = 10.0
_BATCH_BYTES: Final = 256 * 1024
#: More than the largest event with its headers.
_MAX_REQUEST_BYTES: Final = 1024 * 1024
_RESTART_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 1.0


class UnavailableError(Exception):
    """Kafka did not acknowledge events; whether it has them is not known. The message says why."""


class _Delivery:
    """The records of one request that are not acknowledged yet."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.acknowledged.done()

    def count_acknowledged(self) -> None:
        """Note that one more record is acknowledged."""
        self._left -= 1
        if not self._left and not self.is_over:
            self.acknowledged.set_result(None)

    def fail(self, reason: str) -> None:
        """Note that a record was not acknowledged."""
        if not self.is_over:
            self.acknowledged.set_exception(UnavailableError(reason))


class _PendingRecord(NamedTuple):
    """A record that Kafka has not been given yet."""

    checked: CheckedRecord
    delivery: _Delivery


class _Partition:
    """A partition that takes no events."""


class EventProducer:
    """An idempotent producer to one topic."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._options, self._topic = options, topic
        self._starting: asyncio.Task[AIOKafkaProducer] | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        #: By partition: what Kafka has not been given yet, and the task that gives it.
        self._pending: defaultdict[int, deque[_PendingRecord]] = defaultdict(deque)
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._deliveries: set[_Delivery] = set()
        self._silent: dict[int, _Partition] = {}
        #: Why the last attempt to publish, or to reach Kafka, failed; empty when it did not.
        self.problem = ""

    async def start(self) -> None:
        """Connect; raises `KafkaError`."""
        producer = self._create()
        try:
            await producer.start()
        except BaseException:
            await self._stop_producer(producer)
            raise
        self._starting = asyncio.create_task(_return(producer))

    def give_up(self) -> None:
        """Have everyone who waits for Kafka send again."""
        for delivery in self._deliveries:
            delivery.fail("the gateway stops")

    async def stop(self) -> None:
        """Disconnect, after a short wait for Kafka."""
        for task in list(self._sending.values()):
            task.cancel()
        if self._starting is not None:
            if self._starting.done() and not self._starting.cancelled() and self._starting.exception() is None:
                await self._stop_producer(self._starting.result())
            self._starting.cancel()
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def publish(self, records: Sequence[CheckedRecord]) -> None:
        """Return when Kafka has acknowledged all records; raises `UnavailableError`."""
        delivery = _Delivery(len(records))
        used: set[int] = set()
        self._deliveries.add(delivery)
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                partitions = sorted(await (await self._get_producer()).partitions_for(self._topic))
                for record in records:
                    partition = partitions[_key_hash(record.programme) % len(partitions)]
                    self._pending[partition].append(_PendingRecord(record, delivery))
                    used.add(partition)
                self._start_sending(used)
                await delivery.acknowledged
        except (TimeoutError, KafkaTimeoutError):
            problem = f"Kafka did not take events within {PUBLISH_SECONDS:.0f} s"
            self._note_silence(used, problem)
            self.problem = OUTAGES.problem(EVENTS_TOPIC) or problem
            cause = OUTAGES.detail(EVENTS_TOPIC)
            raise UnavailableError(f"{problem} ({cause})" if cause else problem) from None
        except KafkaError as error:
            self.problem = f"Kafka refuses events: {one_line(error)}"
            raise UnavailableError(self.problem) from None
        finally:
            self._deliveries.discard(delivery)
            if not delivery.is_over:
                delivery.acknowledged.cancel()
            for partition in used:
                self._forget_abandoned(partition)
        self.problem = ""
        for partition in used & self._silent.keys():
            OUTAGES.end(self._silent.pop(partition))

    def _note_silence(self, partitions: Iterable[int], problem: str) -> None:
        """Log that partitions take no events, unless Kafka does not answer at all: `check` notes that."""
        for partition in partitions:
            silent = self._silent.setdefault(partition, _Partition())
            if OUTAGES.was_away(KAFKA):
                OUTAGES.pass_over(silent)
            else:
                OUTAGES.fail(silent, EVENTS_TOPIC, problem)

    async def _get_producer(self) -> AIOKafkaProducer:
        assert self._starting is not None  # noqa: S101 - `start` comes first
        return await asyncio.shield(self._starting)

    def _start_sending(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            if partition not in self._sending:
                self._sending[partition] = asyncio.create_task(self._send_pending(partition))

    def _forget_abandoned(self, partition: int) -> None:
        """Forget records for which nobody waits; all wait equally long, so that these stand first."""
        pending = self._pending[partition]
        while pending and pending[0].delivery.is_over:
            pending.popleft()

    async def _send_pending(self, partition: int) -> None:
        """Give Kafka the records of a partition, one batch after the other, until there are no more."""
        try:
            await self._send_batches(partition, self._pending[partition])
        finally:
            # Here, without a turn of the event loop in between: what is added from now on has another task started.
            del self._sending[partition]

    async def _send_batches(self, partition: int, pending: deque[_PendingRecord]) -> None:
        while pending:
            producer = await self._get_producer()
            batch, deliveries = producer.create_batch(), list[_Delivery]()
            while pending:
                (programme, (headers, value)), delivery = pending[0]
                # Those that are over are passed by: whoever sent them has been told to send them again.
                if not delivery.is_over:
                    key = programme.encode()
                    if batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
                        break
                    deliveries.append(delivery)
                pending.popleft()
            batch.close()
            if deliveries:
                await self._send_batch(producer, partition, batch, deliveries)

    async def _send_batch(
        self,
        producer: AIOKafkaProducer,
        partition: int,
        batch: BatchBuilder,
        deliveries: Sequence[_Delivery],
    ) -> None:
        try:
            await (await producer.send_batch(batch, self._topic, partition=partition))
        except KafkaError as error:
            self.problem = f"Kafka refuses events: {one_line(error)}"
            self._replace(producer)
            for delivery in deliveries:
                delivery.fail(self.problem)
        else:
            for delivery in deliveries:
                delivery.count_acknowledged()

    async def check(self, seconds: float) -> None:
        """Ask Kafka for the topic, and note whether it answers."""
        if self._starting is None or not self._starting.done():
            return
        try:
            async with asyncio.timeout(seconds):
                is_reached = await self._starting.result().client.force_metadata_update()
        except (TimeoutError, KafkaError):
            is_reached = False
        self.problem = "" if is_reached else f"Kafka at {self._options['bootstrap_servers']} does not answer"
        if is_reached:
            OUTAGES.end(self)
        else:
            OUTAGES.fail(self, KAFKA, f"nothing within {seconds:g} s")

    def _create(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=_BATCH_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
            request_timeout_ms=round(PUBLISH_SECONDS * 1000),
        )

    def _replace(self, failed: AIOKafkaProducer) -> None:
        """Start another producer, unless another failure of the same one has."""
        if self._starting is None or not self._starting.done() or self._starting.result() is not failed:
            return
        logger.warning("%s; the producer is replaced", self.problem)
        self._starting = asyncio.create_task(self._start_again())
        stopping = asyncio.create_task(self._stop_producer(failed))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    async def _start_again(self) -> AIOKafkaProducer:
        while True:
            await asyncio.sleep(_RESTART_SECONDS)
            producer = self._create()
            try:
                await producer.start()
            except KafkaError as error:
                self.problem = f"Kafka cannot be reached: {one_line(error)}"
                await self._stop_producer(producer)
            else:
                return producer

    @staticmethod
    async def _stop_producer(producer: AIOKafkaProducer) -> None:
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(_STOP_SECONDS):
                await producer.stop()


@lru_cache(maxsize=16_384)
def _key_hash(programme: str) -> int:
    """Return the number by which Kafka's own clients choose the partition of a key."""
    return int(murmur2(programme.encode())) & 0x7FFFFFFF


async def _return(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    return producer
