"""The micro-batch transport: one Faust message for everything that a fetch brought of a topic.

Nearly all of Faust's cost is paid per message. This transport hands a stream a `FetchedBatch`, the records of all
partitions of a topic that had arrived when the stream was ready, so that the cost is paid once per batch, and a batch
grows as large as the database's speed demands. One module, because its parts share the book-keeping of the consumer;
the thread that fetches and commits is `streams.kafka.consumer_thread`. What is replaced of Faust's `Consumer`, and why:

- `_drain_messages`/`getmany`: the stock loop asks for all topics at once and pauses a partition whose stream is full;
  aiokafka looks at a resumed partition only some 100 ms later. Here each topic has a fetch of its own, nothing is ever
  paused, and the next batch of a topic is created only while few are unrecorded. Topics that are not positioned, whose
  small records collapse, are fetched meanwhile: records that lie unread in aiokafka hold up its other requests.
- `_add_gap`, `_new_offset`, `ack`: the stock book-keeping knows single offsets and fills those between two batches
  into *gaps*; merged across batches they would either never commit or commit unprocessed records. Here a partition's
  committable offset is the end of the last batch before the first unfinished one. A batch is finished when its agent
  says so (`is_done`), not when its loop body ends: Faust also acknowledges what raised. Streams are read with `noack()`
  and acknowledged by hand, because Faust's compiled streams inline the stock book-keeping.
- `perform_seek`: the group does not decide where to read. For *positioned* topics `resolve_start_offsets` is called on
  every assignment; for others the committed offset counts. It runs in the drain loop, the only place that fetches, so
  that no fetch spans a seek and no time-out of the rebalance lets reading begin without it.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final, cast

from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message
from faust.types.transports import ConsumerT, ProducerT, TPorTopicSet
from mode import Service, ServiceT
from yarl import URL

from models.database.ledger import DecodedRecord
from models.database.positions import OffsetRange
from streams.kafka.consumer_thread import FETCH_TIMEOUT_SECONDS, FetchResult, KafkaRecord, MicroBatchConsumerThread
from streams.kafka.producer import LimitedProducer
from streams.kafka.stop_timeouts import StopTimeouts
from streams.retry import Retry, RevokedError

logger = logging.getLogger("milepost.transport")

#: Given the first and end offset of each partition's log, and whether the assignment still stands, returns where to
#: read each from. Retries transient errors; raises `RevokedError` when there is no answer.
ResolveStartOffsets = Callable[[Mapping[TP, tuple[int, int]], Callable[[], bool]], Awaitable[Mapping[TP, int]]]

#: Batches of a topic that may be unrecorded while there is a backlog: one being written, one ready. Without a backlog
#: it is one: what arrives meanwhile is then written together, and none of it waits for two others.
MAX_IN_FLIGHT: Final = 2

#: Under a steady flow, batches of a few events would take most of a worker's processor time: one of so many and more is
#: followed by a pause of so many times the time that it took, but not beyond so long after its creation. A smaller one
#: is of a thin flow, of which no event waits.
_FLOW_RECORDS: Final = 8
_FLOW_PAUSE_FACTOR: Final = 2
_FLOW_PERIOD_SECONDS: Final = 0.03

#: Far below the shortest time that aiokafka is told to wait for a poll.
_POLL_KEEPALIVE_SECONDS: Final = 0.5


@dataclass(slots=True, eq=False)
class FetchedBatch:
    """What one fetch brought of a topic: the value of one Faust message."""

    topic: str
    offset_ranges: Sequence[OffsetRange]
    records: Sequence[KafkaRecord]
    generation: int
    #: Whether a batch or more was there, counting what waits behind it: one fetch of few partitions may bring less.
    has_backlog: bool = False
    #: The records, if the agent decoded them before the batch's turn came.
    decoded: Sequence[DecodedRecord] | None = None
    #: Set once the database has it; only its results are still to be published.
    is_recorded: bool = False
    #: Set by the agent when nothing of it is left to do; only then may its offsets be committed.
    is_done: bool = False
    #: By `time.monotonic`.
    created_at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return ", ".join(f"{part.topic}:{part.partition}:{part.start}-{part.end - 1}" for part in self.offset_ranges)


class MicroBatchConsumer(driver.Consumer):
    """Faust's consumer, with batches for messages."""

    transport: "MicroBatchTransport"
    _thread: MicroBatchConsumerThread

    #: Batches of each partition that are not committed yet, in order, each with its end offset there.
    _uncommitted: dict[TP, deque[tuple[int, FetchedBatch]]]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **options)
        self._uncommitted = defaultdict(deque)
        self._in_flight: dict[str, set[FetchedBatch]] = defaultdict(set)
        #: Whether the last batch of each topic was of a backlog.
        self._has_backlog: dict[str, bool] = {}
        #: Until when no further batch of a topic is created while there is no backlog, by `time.monotonic`.
        self._paused_until: dict[str, float] = {}
        #: The next offset of each assigned partition; None: the start offsets are still to be resolved.
        self._next_offsets: dict[TP, int | None] | None = None
        self._fetches: dict[str, asyncio.Task[FetchResult]] = {}
        #: What was fetched of a topic and is not in a batch yet.
        self._buffered: dict[str, FetchResult] = {}
        self._wakeup = asyncio.Event()
        self._seek_retry = Retry("asking where the logs begin and end")
        self._fetch_retries: dict[str, Retry] = {}
        #: Of each partition whose next batch cannot be read.
        self._unreadable_retries: dict[TP, Retry] = {}
        #: Topics of which a partition's next offset is not in its log.
        self._out_of_range_topics: set[str] = set()

    def _new_consumer_thread(self) -> MicroBatchConsumerThread:
        return MicroBatchConsumerThread(
            self, loop=self.loop, beacon=self.beacon, stop_timeouts=self.transport.stop_timeouts
        )

    @Service.task
    async def _keep_polling_alive(self) -> None:
        """Have this worker count as polling for as long as its event loop runs.

        A worker that waits for its database fetches nothing, and aiokafka would put it out of the group for that. It
        would never come back: aiokafka waits for a fetch before it joins again, and a fetch waits for an assignment.
        """
        while not self.should_stop:
            self._thread.mark_polled()
            await self.sleep(_POLL_KEEPALIVE_SECONDS)

    # Start offsets.

    def rewind(self) -> None:
        """Forget what was fetched and is not recorded, and resolve the start offsets again."""
        self._next_offsets = None
        self._wakeup.set()

    async def perform_seek(self) -> None:
        """Rewind: the start offsets are resolved before the next fetch."""
        self.rewind()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the book-keeping of revoked partitions, once their batches are finished or given up."""
        self._wakeup.set()
        await super().on_partitions_revoked(revoked)
        self._next_offsets = None
        for tp in revoked:
            self._uncommitted.pop(tp, None)
        for retry in (self._seek_retry, *self._fetch_retries.values(), *self._unreadable_retries.values()):
            retry.end()
        self._unreadable_retries.clear()

    async def _seek_to_start_offsets(self) -> None:
        await self._drain_fetches()
        is_current = partial(self.is_current_generation, self.app.consumer_generation_id)
        assigned = self.assignment()
        thread, transport = self._thread, self.transport
        log_bounds = await thread.run_in_loop(thread.read_log_bounds, assigned) if assigned else {}
        positioned = {tp: bounds for tp, bounds in log_bounds.items() if tp.topic in transport.positioned_topics}
        starts = await transport.resolve_start_offsets(positioned, is_current) if positioned else {}
        if not is_current():
            return  # another rebalance began meanwhile: the start offsets are stale
        committed = {tp: bounds for tp, bounds in log_bounds.items() if tp not in positioned}
        await thread.run_in_loop(thread.seek_all, starts, committed)
        self._uncommitted.clear()
        self._in_flight.clear()
        self._out_of_range_topics.clear()
        self._next_offsets = {tp: starts.get(tp) for tp in assigned}

    async def _drain_fetches(self) -> None:
        """Wait for the fetches under way, and drop their results and the buffer: their offsets no longer count."""
        fetches, self._fetches = list(self._fetches.values()), {}
        self._buffered.clear()
        for outcome in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.debug("a fetch that no longer counts ended with %r", outcome)

    @property
    def has_start_offsets(self) -> bool:
        """Whether the start offset of every assigned partition is resolved."""
        return self._next_offsets is not None

    def is_current_generation(self, generation: int) -> bool:
        """Return whether batches of a generation of the group are still this worker's to process."""
        return self.flow_active and not self.app.should_stop and generation == self.app.consumer_generation_id

    # Reading.

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Hand batches to the streams until the consumer or the fetcher is stopped."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(cast("Any", self.can_resume_flow))
                    continue
                async for _, message in self.getmany(FETCH_TIMEOUT_SECONDS):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop:
                raise
        finally:
            await self._drain_fetches()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """Yield the batches that are ready, after waiting for at least something to happen."""
        if self._next_offsets is None:
            try:
                await self._seek_to_start_offsets()
                self._seek_retry.end()
            except KafkaError as error:
                self._seek_retry.fail(error)
                await self.sleep(timeout)
            except RevokedError:
                await self.sleep(timeout)
            return
        next_offsets = self._next_offsets
        self._start_fetches(next_offsets)
        await self._wait_for_activity(min(timeout, self._shortest_pause() or timeout))
        all_succeeded = self._collect_fetches()
        for topic in [topic for topic in self._buffered if self._has_delivery_capacity(topic)]:
            if self._next_offsets is not next_offsets or not self.flow_active:
                return  # the start offsets are resolved again before the next fetch
            if batch := self._create_batch(topic, self._buffered.pop(topic), next_offsets):
                tp = TP(topic, batch.offset_ranges[0].partition)
                yield tp, self._create_message(tp, batch)
        if not all_succeeded:
            await self.sleep(timeout)

    def _collect_fetches(self) -> bool:
        """Buffer the results of the fetches that have ended; return whether none of them failed."""
        results = {topic: self._fetch_result(topic, fetch) for topic, fetch in self._fetches.items() if fetch.done()}
        for topic, fetched in results.items():
            del self._fetches[topic]
            if fetched is not None and (fetched.records or self._passes_markers(fetched)):
                self._buffered[topic] = self._buffered[topic].merge(fetched) if topic in self._buffered else fetched
        return None not in results.values()

    def _passes_markers(self, fetched: FetchResult) -> bool:
        """Return whether a fetch without records has passed over offsets that nothing else will cover."""
        next_offsets = self._next_offsets or {}
        return any((start := next_offsets.get(tp)) is not None and start < end for tp, end in fetched.ends().items())

    def _fetch_result(self, topic: str, task: asyncio.Task[FetchResult]) -> FetchResult | None:
        """Return what a fetch brought; None: it failed, and the next one should wait a little."""
        retry = self._fetch_retries.setdefault(topic, Retry(f"fetching from {topic}"))
        try:
            result = task.result()
            retry.end()
        except OffsetOutOfRangeError:
            # Records were deleted before they were read, or the topic was recreated.
            self._out_of_range_topics.add(topic)
        except NoOffsetForPartitionError:
            pass  # aiokafka looked for the group's offset before it was told where to read
        except KafkaError as error:
            retry.fail(error)
        else:
            self._note_unreadable(topic, result)
            return result
        return None

    def _note_unreadable(self, topic: str, fetched: FetchResult) -> None:
        for tp in [tp for tp in self._unreadable_retries if tp.topic == topic and tp not in fetched.unreadable]:
            self._unreadable_retries.pop(tp).end()
        for tp, batch in fetched.unreadable.items():
            description = f"reading {tp.topic}:{tp.partition} at offset {batch.offset}"
            self._unreadable_retries.setdefault(tp, Retry(description)).fail(batch.error)

    @property
    def unreadable_partitions(self) -> frozenset[TP]:
        """Partitions that do not go on because their next batch is damaged."""
        return frozenset(self._unreadable_retries)

    def _start_fetches(self, next_offsets: Mapping[TP, int | None]) -> None:
        by_topic: dict[str, set[TP]] = defaultdict(set)
        for tp in next_offsets:
            by_topic[tp.topic].add(tp)
        for topic, partitions in by_topic.items():
            if topic in self._out_of_range_topics:
                # What was read before is recorded first. `resolve_start_offsets` then says where to go on and counts
                # what was missed, or refuses to go on.
                if not self._in_flight[topic]:
                    self.rewind()
                continue
            if topic not in self._fetches and self._has_fetch_capacity(topic):
                fetch = self._thread.run_in_loop(self._thread.fetch, partitions, self.transport.max_records)
                self._fetches[topic] = asyncio.ensure_future(fetch)

    def pause_after(self, batch: FetchedBatch) -> None:
        """Create no further batch of a topic for a moment if there is a steady flow and no backlog."""
        if len(batch.records) >= _FLOW_RECORDS:
            now = time.monotonic()
            pause = _FLOW_PAUSE_FACTOR * (now - batch.created_at)
            self._paused_until[batch.topic] = min(now + pause, batch.created_at + _FLOW_PERIOD_SECONDS)
        self._wakeup.set()

    def _shortest_pause(self) -> float:
        """Return for how long the topic whose pause ends next still pauses; 0: none does."""
        now = time.monotonic()
        return min([until - now for until in self._paused_until.values() if until > now], default=0.0)

    def _is_paused(self, topic: str) -> bool:
        return not self._has_backlog.get(topic) and time.monotonic() < self._paused_until.get(topic, 0.0)

    def _has_delivery_capacity(self, topic: str) -> bool:
        if self._is_paused(topic):
            return False
        in_flight = self._in_flight[topic]
        limit = MAX_IN_FLIGHT if self._has_backlog.get(topic) else 1
        # Also bound the batches that wait only for their signals, so that they do not pile up while the broker accepts
        # nothing.
        return len(in_flight) <= limit and sum(not batch.is_recorded for batch in in_flight) < limit

    def _has_fetch_capacity(self, topic: str) -> bool:
        if topic in self.transport.positioned_topics:
            return self._has_delivery_capacity(topic)
        return topic not in self._buffered or self._buffered[topic].record_count < self.transport.max_records

    async def _wait_for_activity(self, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a cancellation
        """Wait until a fetch has ended, a batch was recorded or acknowledged, or the flow was stopped."""
        self._wakeup.clear()
        wakeup = asyncio.ensure_future(self._wakeup.wait())
        try:
            await asyncio.wait([wakeup, *self._fetches.values()], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wakeup.cancel()

    def _create_batch(
        self, topic: str, fetched: FetchResult, next_offsets: dict[TP, int | None]
    ) -> FetchedBatch | None:
        offset_ranges, records = [], []
        for tp, end in fetched.ends().items():
            if tp not in next_offsets:
                continue
            partition_records, start = fetched.records.get(tp, []), next_offsets[tp]
            if start is None and partition_records:
                start = partition_records[0].offset
            if start is None or start >= end:
                continue
            offset_ranges.append(OffsetRange(tp.topic, tp.partition, start, end))
            records.extend(partition_records)
            next_offsets[tp] = end
        if not offset_ranges:
            return None
        has_backlog = len(records) + fetched.lag >= self.transport.max_records
        self._has_backlog[topic] = has_backlog
        batch = FetchedBatch(topic, offset_ranges, records, self.app.consumer_generation_id, has_backlog)
        self._in_flight[topic].add(batch)
        for part in offset_ranges:
            self._uncommitted[TP(part.topic, part.partition)].append((part.end, batch))
        return batch

    def _create_message(self, tp: TP, batch: FetchedBatch) -> ConsumerMessage:
        # A batch of nothing but markers has no record.
        last = batch.records[-1] if batch.records else None
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=batch.offset_ranges[0].end - 1,
            timestamp=0.0 if last is None else last.timestamp / 1000.0,
            timestamp_type=0 if last is None else last.timestamp_type,
            headers=[],
            key=None,
            # A stream passes a value on as it is when its schema does; Faust types it as bytes.
            value=cast("bytes", batch),
            checksum=None,
            tp=tp,
            generation_id=batch.generation,
        )

    # Acknowledging.

    def ack(self, message: Message) -> bool:
        """Note that a stream has finished with a batch, and wake the loop that may fetch the next."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        batch = cast("FetchedBatch", message.value)
        # The batch itself stays until its offsets are committed, seconds later: in a fast backlog 100 MB and more.
        batch.records = ()
        self._in_flight[batch.topic].discard(batch)
        self._wakeup.set()
        if (waiting := self._waiting_for_ack) is not None and not waiting.done():
            waiting.set_result(None)
        return True

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        wanted = None if topics is None else set(topics)
        return (tp for tp in list(self._uncommitted) if wanted is None or not wanted.isdisjoint({tp, tp.topic}))

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset up to which all of a partition is done, or None when that has not moved."""
        batches, offset = self._uncommitted[tp], None
        while batches and batches[0][1].is_done:
            offset, _ = batches.popleft()
        return offset

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust's livelock detector reads book-keeping that does not exist here."""


class MicroBatchTransport(driver.Transport):
    """Faust's aiokafka transport with micro-batches. Assign it to `app.transport`."""

    Consumer: ClassVar[type[ConsumerT]] = MicroBatchConsumer
    Producer: ClassVar[type[ProducerT]] = LimitedProducer

    def __init__(  # noqa: PLR0913 - what it needs comes in as an argument
        self,
        urls: Iterable[URL],
        app: AppT,
        *,
        positioned_topics: Iterable[str],
        resolve_start_offsets: ResolveStartOffsets,
        max_records: int,
        stop_timeouts: StopTimeouts,
    ) -> None:
        super().__init__(list(urls), app)
        #: Topics whose positions `resolve_start_offsets` knows.
        self.positioned_topics = frozenset(positioned_topics)
        self.resolve_start_offsets = resolve_start_offsets
        self.max_records = max_records
        self.stop_timeouts = stop_timeouts


def get_consumer(app: AppT) -> MicroBatchConsumer:
    """Return the consumer of an application that has this transport."""
    return cast("MicroBatchConsumer", app.consumer)


class BatchSource:
    """What agents and monitors ask of the consumer; exists before Faust creates that."""

    def __init__(self, app: AppT) -> None:
        self._app = app

    def is_current(self, batch: FetchedBatch) -> bool:
        """Return whether a batch is still this worker's to process."""
        return get_consumer(self._app).is_current_generation(batch.generation)

    def peek_next(self, batch: FetchedBatch) -> FetchedBatch | None:
        """Return the batch that waits behind another one; in any thread."""
        in_flight = get_consumer(self._app)._in_flight.get(batch.topic, set()).copy()  # noqa: SLF001 - of this module
        return next((other for other in in_flight if other is not batch and not other.is_recorded), None)

    def mark_recorded(self, batch: FetchedBatch) -> None:
        """Admit the next batch: only the results of this one are still to be published."""
        batch.is_recorded = True
        get_consumer(self._app).pause_after(batch)

    def rewind(self) -> None:
        """Forget what was fetched and is not recorded, and resolve the start offsets again."""
        get_consumer(self._app).rewind()

    def event_loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the loops of the application and of the thread that fetches."""
        return [self._app.loop, get_consumer(self._app)._thread.thread_loop]  # noqa: SLF001 - as above
