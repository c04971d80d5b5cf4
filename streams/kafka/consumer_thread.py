"""The thread that owns the aiokafka consumer: it fetches, seeks and commits, and sends heartbeats meanwhile.

What it replaces of `faust.transport.drivers.aiokafka.AIOKafkaConsumerThread`: `_commit`, which ends the application on
any error. Committed offsets only inform lag tools here, so an error is logged and the next commit makes up for it.
`on_thread_stop`, which waits for a broker that does not answer. And `_stopped_set`, which raises when the thread's loop
is closed already, and prints a traceback before a one-line error.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import aiokafka
from aiokafka import TopicPartition, errors
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.kafka.compat import UnreadableBatch, patch_aiokafka, reset_bytes_left, set_unreadable_aside
from streams.kafka.log_ends import READ_COMMITTED, read_log_ends
from streams.kafka.stop_timeouts import LEAVE_TIMEOUT_SECONDS, StopTimeouts, cancel_until_done

logger = logging.getLogger("milepost.transport")

#: The `timestamp_type` of a record that carries the time at which the broker appended it.
LOG_APPEND_TIME: Final = 1
#: Why a broker does not take committed offsets in an outage or a rebalance.
_PASSING_ERRORS: Final = (
    errors.CommitFailedError,
    errors.GroupCoordinatorNotAvailableError,
    errors.GroupLoadInProgressError,
    errors.IllegalGenerationError,
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.NodeNotReadyError,
    errors.NotCoordinatorForGroupError,
    errors.RebalanceInProgressError,
    errors.RequestTimedOutError,
    errors.UnknownMemberIdError,
)
#: How long one fetch may wait for records; bounds how long a rebalance waits for it to come back.
FETCH_TIMEOUT_SECONDS: Final = 0.2
#: Kafka's fetch.max.wait.ms. aiokafka has one fetch per broker under way, and a partition that was drained meanwhile is
#: not part of it: it waits at most this long for the next one. (Faust: 1.5 s.)
FETCH_MAX_WAIT_MS: Final = 100
#: How long a fetch that found buffered records waits for those behind them: aiokafka's next request was answered with
#: the first few milliseconds' worth, and the broker has held the rest ever since.
_REMAINDER_TIMEOUT_SECONDS: Final = 0.01


class KafkaRecord(Protocol):
    """The fields of an aiokafka `ConsumerRecord` that are used."""

    offset: int
    #: Milliseconds since the epoch, -1 in the oldest format: the broker's append time where the topic says so.
    timestamp: int
    #: `LOG_APPEND_TIME`, or 0 for the publisher's own time.
    timestamp_type: int
    headers: Sequence[tuple[str, bytes | None]]
    key: bytes | None
    value: bytes | None
    topic: str
    partition: int


def is_appended_by_broker(record: KafkaRecord) -> bool:
    """Return whether the time of a record is the broker's: any publisher may write any other."""
    return record.timestamp_type == LOG_APPEND_TIME


class FetchResult(NamedTuple):
    """What a fetch brought."""

    records: Mapping[TP, list[KafkaRecord]]
    #: How many more records its partitions had when the broker last answered.
    lag: int
    #: The consumer's position in each partition behind the fetch.
    positions: Mapping[TP, int] = MappingProxyType({})
    #: What could not be read.
    unreadable: Mapping[TP, UnreadableBatch] = MappingProxyType({})

    @property
    def record_count(self) -> int:
        """The number of records of all partitions."""
        return sum(map(len, self.records.values()))

    def ends(self) -> dict[TP, int]:
        """Return the offset behind what was read of each partition.

        The last record does not tell: what a transaction aborted, and the markers that end transactions, have offsets.
        """
        last = {tp: records[-1].offset + 1 for tp, records in self.records.items()}
        return {TP(*tp): end for tp, end in {**last, **self.positions}.items()}

    def merge(self, later: "FetchResult") -> "FetchResult":
        """Return both as one result."""
        partitions = {**self.records, **later.records}
        records = {tp: [*self.records.get(tp, ()), *later.records.get(tp, ())] for tp in partitions}
        return FetchResult(records, later.lag, {**self.positions, **later.positions})


class MicroBatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer, and sends heartbeats while the main thread works."""

    #: The last commit. It is under way when another begins only once a stop has not waited for it.
    _committing: asyncio.Future[None] | None = None

    def __init__(self, *args: Any, stop_timeouts: StopTimeouts, **options: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **options)
        self._stop_timeouts = stop_timeouts

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        patch_aiokafka()
        consumer = super()._create_worker_consumer(transport)
        # Not parameters in Faust (the isolation level follows from its own transactions); read by aiokafka when the
        # consumer starts.
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001
        consumer._isolation_level = READ_COMMITTED  # noqa: SLF001
        return consumer

    def mark_polled(self) -> None:
        """Restart aiokafka's count of the time without a fetch; in any thread."""
        if self._consumer is not None:
            self._consumer._subscription._last_fetch_ended = time.monotonic()  # noqa: SLF001 - it has no other way

    async def on_thread_stop(self) -> None:
        """Stop the queue of this thread, and leave the group: without its answer when that does not come."""
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is None:
            return
        stopping = asyncio.ensure_future(self._consumer.stop())
        if (await asyncio.wait([stopping], timeout=LEAVE_TIMEOUT_SECONDS))[0]:
            stopping.result()
        else:
            await cancel_until_done([stopping])
            # What `stop` does behind leaving the group.
            await self._consumer._fetcher.close()  # noqa: SLF001 - it has no other way
            await self._consumer._client.close()  # noqa: SLF001 - as above
        if self._committing is not None:
            await cancel_until_done([self._committing])

    def _stopped_set(self) -> None:
        try:
            super()._stopped_set()
        except RuntimeError:
            # In a crash, the loop may have ended before.
            if not self.thread_loop.is_closed():
                raise

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, or log why not. A worker that stops waits no longer than a moment."""
        if self._committing is not None and not self._committing.done():
            return False
        assigned = self.assignment()
        committing = self._committing = asyncio.ensure_future(
            self._ensure_consumer().commit(
                {TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in assigned}
            )
        )
        while not (await asyncio.wait([committing], timeout=self._stop_timeouts.seconds_left()))[0]:
            if self._stop_timeouts.has_begun:
                return False
        try:
            committing.result()
        except _PASSING_ERRORS as error:
            # The lag monitor logs an outage, and the next commit says what this one said and more.
            logger.debug("committed offsets were not taken by the broker (%r); the database's positions count", error)
            return False
        except KafkaError as error:
            logger.warning("committed offsets were not taken by the broker (%r); the database's positions count", error)
            return False
        return True

    async def run_in_loop(self, coroutine_function: Callable[..., Awaitable[Any]], *args: object) -> Any:  # noqa: ANN401 - whatever it returns
        """Run a coroutine in this thread's loop, past the method queue, whose two workers commit."""

        async def call() -> Any:  # noqa: ANN401 - as above
            return await coroutine_function(*args)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self.thread_loop))

    async def fetch(self, partitions: set[TP], max_records: int) -> FetchResult:
        """Return records of some partitions, or nothing after a while; in this thread's loop."""
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher  # noqa: SLF001 - as Faust's own _fetch_records does
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            reset_bytes_left(fetcher._subscriptions.subscription.assignment)  # noqa: SLF001 - as above
            set_unreadable_aside(fetcher._subscriptions.subscription.assignment, partitions)  # noqa: SLF001 - as above
            was_buffered = not partitions.isdisjoint(fetcher._records)  # noqa: SLF001 - as above
            result = FetchResult(
                await fetcher.fetched_records(partitions, timeout=FETCH_TIMEOUT_SECONDS, max_records=max_records), 0
            )
            if was_buffered and (remaining := max_records - result.record_count) > 0:
                try:
                    remainder = await fetcher.fetched_records(
                        partitions, timeout=_REMAINDER_TIMEOUT_SECONDS, max_records=remaining
                    )
                except KafkaError as error:
                    # It comes again with the next fetch, which handles it; this one has records already.
                    logger.info("what came behind a fetch cannot be read (%r)", error)
                else:
                    result = result.merge(FetchResult(remainder, 0))
        # A partition that has more than a fetch takes comes last in the next one: its backlog delays no other's events.
        for tp in result.records:
            if tp in fetcher._records:  # noqa: SLF001 - as above
                fetcher._records.move_to_end(tp)  # noqa: SLF001 - as above
        assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
        if assignment is None:
            return result
        unreadable = set_unreadable_aside(assignment, partitions)
        lag, positions = 0, {}
        for tp in partitions:
            state = assignment.state_value(tp)
            if state is None or not state.has_valid_position:
                continue
            positions[tp] = state.position
            # Records behind an open transaction are no backlog: they cannot be read yet.
            if (end := state.highwater if state.lso is None else state.lso) is not None and tp not in unreadable:
                lag += max(0, end - state.position)
        return result._replace(
            lag=lag, positions=positions, unreadable={TP(*tp): batch for tp, batch in unreadable.items()}
        )

    async def read_log_bounds(self, partitions: set[TP]) -> dict[TP, tuple[int, int]]:
        """Return the first and the end offset of some partitions' logs; in this thread's loop.

        The end of a log that an open transaction holds up is not its last stable offset: a position of a release that
        read uncommitted records may lie behind that.
        """
        consumer = self._ensure_consumer()
        keys = [TopicPartition(*tp) for tp in partitions]
        first, end = await asyncio.gather(consumer.beginning_offsets(keys), read_log_ends(consumer, keys))
        return {tp: (first[tp], end[tp]) for tp in partitions}

    async def seek_all(self, offsets: Mapping[TP, int], committed_log_bounds: Mapping[TP, tuple[int, int]]) -> None:
        """Seek some partitions to offsets, others to their committed offsets; in this thread's loop.

        Takes the bounds of the others' logs: a partition without a committed offset within them is read from its start.
        """
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)
        for tp, (first, end) in committed_log_bounds.items():
            offset = await consumer.committed(TopicPartition(*tp))
            consumer.seek(TopicPartition(*tp), offset if offset is not None and first <= offset <= end else first)
