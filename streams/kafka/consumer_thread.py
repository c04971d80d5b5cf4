"""The thread that owns the aiokafka consumer: it fetches, seeks and commits, and sends heartbeats meanwhile.

What it replaces of `faust.transport.drivers.aiokafka.AIOKafkaConsumerThread`: `_commit`, which ends the application on
any error. Committed offsets are advice for lag tools here, so an error is logged and the next commit tells again. And
`_stopped_set`, which raises when the thread's loop is closed already, and puts a traceback before a refusal's one line.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.kafka.compat import allow_non_utf8_header_names

logger = logging.getLogger("milepost.transport")

#: How long one fetch may wait for records; bounds how long a rebalance waits for it to come back.
FETCH_TIMEOUT_SECONDS: Final = 0.2
#: How long the broker may hold a fetch open. aiokafka has one fetch a broker under way, and a partition that was
#: drained meanwhile is not part of it: it waits this long, at worst, for its next turn. (Faust: 1.5 s.)
FETCH_MAX_WAIT_MS: Final = 100
#: How long a fetch that found records there waits for those that came after them: the broker answered that one with
#: the first of what came since, some milliseconds' worth, and has had the rest ever since.
_REMAINDER_TIMEOUT_SECONDS: Final = 0.01


class KafkaRecord(Protocol):
    """What is read of an aiokafka `ConsumerRecord`."""

    offset: int
    #: Milliseconds since the epoch: the broker's append time where the topic says so.
    timestamp: int
    timestamp_type: int
    headers: Sequence[tuple[str, bytes | None]]
    key: bytes | None
    value: bytes | None
    topic: str
    partition: int


class FetchResult(NamedTuple):
    """What a fetch brought."""

    records: Mapping[TP, list[KafkaRecord]]
    #: How many more records the broker had of its partitions when it last answered.
    lag: int

    @property
    def record_count(self) -> int:
        """How many records."""
        return _count_records(self.records)

    def merge(self, other: "FetchResult") -> "FetchResult":
        """Return both as one fetch."""
        return FetchResult(_merge_records(self.records, other.records), other.lag)


def _count_records(records: Mapping[TP, list[KafkaRecord]]) -> int:
    return sum(map(len, records.values()))


def _merge_records(
    first: Mapping[TP, list[KafkaRecord]], second: Mapping[TP, list[KafkaRecord]]
) -> dict[TP, list[KafkaRecord]]:
    return {tp: [*first.get(tp, ()), *second.get(tp, ())] for tp in {**first, **second}}


class MicroBatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer, and sends heartbeats while the main thread works."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        allow_non_utf8_header_names()
        consumer = super()._create_worker_consumer(transport)
        # Not a parameter in Faust; read by aiokafka when the consumer starts.
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001
        return consumer

    def mark_polled(self) -> None:
        """Have aiokafka count the time without a fetch from now; from any thread."""
        if self._consumer is not None:
            self._consumer._subscription._last_fetch_ended = time.monotonic()  # noqa: SLF001 - it has no other way

    def _stopped_set(self) -> None:
        """Say that it has stopped, to nobody where its loop has ended before: when all of it crashes at once."""
        try:
            super()._stopped_set()
        except RuntimeError:
            if not self.thread_loop.is_closed():
                raise

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, if the broker likes: a failure is told and forgotten."""
        assigned = self.assignment()
        try:
            await self._ensure_consumer().commit(
                {TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in assigned}
            )
        except KafkaError as error:
            logger.warning("committed offsets were not taken by the broker (%r); the database's positions count", error)
            return False
        return True

    async def run_in_loop(self, coroutine_function: Callable[..., Awaitable[Any]], *args: object) -> Any:  # noqa: ANN401 - whatever it returns
        """Run a coroutine of the aiokafka consumer in its loop, past the method queue, whose two workers commit."""

        async def call() -> Any:  # noqa: ANN401 - as above
            return await coroutine_function(*args)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self.thread_loop))

    async def fetch(self, partitions: set[TP], max_records: int) -> FetchResult:
        """Return records of some partitions, or nothing after a while; in this thread's loop."""
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher  # noqa: SLF001 - as Faust's own _fetch_records does
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            were_there = not partitions.isdisjoint(fetcher._records)  # noqa: SLF001 - as above
            records: dict[TP, list[KafkaRecord]] = await fetcher.fetched_records(
                partitions, timeout=FETCH_TIMEOUT_SECONDS, max_records=max_records
            )
            if were_there and (left := max_records - _count_records(records)) > 0:
                try:
                    rest = await fetcher.fetched_records(
                        partitions, timeout=_REMAINDER_TIMEOUT_SECONDS, max_records=left
                    )
                except KafkaError as error:
                    # It comes again with the next fetch, where it is dealt with; this one has records already.
                    logger.info("what came behind a fetch cannot be read (%r)", error)
                else:
                    records = _merge_records(records, rest)
        assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
        states = [] if assignment is None else map(assignment.state_value, partitions)
        waiting = sum(
            max(0, state.highwater - state.position)
            for state in states
            if state is not None and state.highwater is not None and state.has_valid_position
        )
        return FetchResult(records, waiting)

    async def read_log_bounds(self, partitions: set[TP]) -> dict[TP, tuple[int, int]]:
        """Return the first and the end offset of some partitions' logs; in this thread's loop."""
        consumer = self._ensure_consumer()
        named = [TopicPartition(*tp) for tp in partitions]
        first, end = await asyncio.gather(consumer.beginning_offsets(named), consumer.end_offsets(named))
        return {tp: (first[tp], end[tp]) for tp in partitions}

    async def seek_all(self, offsets: Mapping[TP, int], committed_log_bounds: Mapping[TP, tuple[int, int]]) -> None:
        """Seek some partitions to offsets, others to what is committed; in this thread's loop.

        Given the first and the end offset of the others' logs: one that has nothing committed, or what its log does not
        hold, is read from the log's start.
        """
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)
        for tp, (first, end) in committed_log_bounds.items():
            offset = await consumer.committed(TopicPartition(*tp))
            consumer.seek(TopicPartition(*tp), offset if offset is not None and first <= offset <= end else first)
