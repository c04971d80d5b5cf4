"""The micro-batch transport: one Faust message for everything a fetch brought of a topic.

Nearly all of Faust's cost is paid per message: drain loop, conductor, event, queue, ack, sensors. This transport
hands a stream a `FetchedBatch`, the records of all partitions of one topic that were there when it had time for them,
so that cost is paid once a batch, and a batch grows as fast as the database needs it to.

What it replaces of `faust.transport.consumer.Consumer`, and why:

- `_drain_messages`/`getmany`: the stock loop asks for all topics at once and pauses a partition whose stream is
  full; aiokafka looks at a resumed partition only some 100 ms later. Here each topic has one fetch of its own under
  way, and *admission* decides: the next delivery of a topic is made only while few are unrecorded. Nothing is ever
  paused. Of topics that are not positioned, small records that collapse, the next fetch does not wait for that: what
  lies with aiokafka unread keeps it from asking the broker for anything else, up to 100 ms.
- `_add_gap`, `_new_offset`, `ack`: the stock book-keeping knows single offsets and fills what lies between two
  batches into *gaps*; merged across batches they would either never commit or commit what was not processed. Here
  a partition's committable offset is the end of the last delivery before the first unfinished one. A delivery is
  finished when its agent says so (`is_done`), not when its loop body ends: Faust acks also what raised. Streams are
  read with `noack()` and acknowledged by hand, because Faust's compiled ones inline the stock book-keeping.
- `perform_seek`: where to read is not the group's decision. For topics that are *positioned*, `resolve_start_offsets`
  is asked on every assignment; for others the committed offset counts. It happens in the drain loop, the only place
  that fetches, so that no fetch spans a seek and no time-out of the rebalance can let reading begin without it.

The thread that fetches and commits is in `streams.kafka.consumer_thread`.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message
from faust.types.transports import ConsumerT, TPorTopicSet
from mode import Service, ServiceT
from yarl import URL

from models.database.positions import OffsetRange
from streams.kafka.consumer_thread import FETCH_TIMEOUT_SECONDS, FetchResult, KafkaRecord, MicroBatchConsumerThread
from streams.retry import RevokedError

logger = logging.getLogger("milepost.transport")


#: Given the first and end offset of each partition's log, says where to read it from. Retries what passes; raises
#: `RevokedError` when it will not say.
ResolveStartOffsets = Callable[[Mapping[TP, tuple[int, int]]], Awaitable[Mapping[TP, int]]]

#: Deliveries of a topic that may be unrecorded while there is a backlog: one being written, one ready. While there is
#: none, it is one: what came in the meantime is then written together, and none of it waits for two others.
MAX_IN_FLIGHT: Final = 2

#: Far below the shortest time that aiokafka is told to wait for a poll.
_POLL_KEEPALIVE_SECONDS: Final = 0.5


@dataclass(slots=True, eq=False)
class FetchedBatch:
    """What one fetch brought of a topic: the value of one Faust message."""

    topic: str
    spans: Sequence[OffsetRange]
    records: Sequence[KafkaRecord]
    generation: int
    #: Whether a batch and more was there, with what waits behind it: one fetch of few partitions may bring less.
    has_backlog: bool = False
    #: Set when its agent is through with it but for telling what came of it.
    is_recorded: bool = False
    #: Set by the agent when nothing of it is left to do; only then may its offsets be committed.
    is_done: bool = False


class MicroBatchConsumer(driver.Consumer):
    """Faust's consumer, with deliveries for messages."""

    transport: "MicroBatchTransport"
    _thread: MicroBatchConsumerThread

    #: Deliveries of each partition that are not committed yet, in order.
    _uncommitted: dict[TP, deque[tuple[int, FetchedBatch]]]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **options)
        self._uncommitted = defaultdict(deque)
        self._in_flight: dict[str, set[FetchedBatch]] = defaultdict(set)
        #: Topics whose last delivery was of a backlog.
        self._topics_with_backlog: set[str] = set()
        #: The next offset of each partition that was taken up; None: to be taken up.
        self._next_offsets: dict[TP, int | None] | None = None
        self._fetches: dict[str, asyncio.Task[FetchResult]] = {}
        #: What was fetched of a topic and is not delivered yet.
        self._buffered: dict[str, FetchResult] = {}
        self._wakeup = asyncio.Event()
        #: Topics of which a partition is to be read from where its log has nothing.
        self._out_of_range_topics: set[str] = set()

    def _new_consumer_thread(self) -> MicroBatchConsumerThread:
        return MicroBatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _keep_polling_alive(self) -> None:
        """Have this worker count as polling for as long as its loop turns.

        One that waits for its database fetches nothing, and aiokafka puts it out of the group for that; it would never
        come back, for aiokafka waits for a fetch before it joins again, and a fetch waits for an assignment.
        """
        while not self.should_stop:
            self._thread.mark_polled()
            await self.sleep(_POLL_KEEPALIVE_SECONDS)

    # Where to read.

    async def perform_seek(self) -> None:
        """Have every partition taken up before the next fetch."""
        self.rewind()

    def rewind(self) -> None:
        """Forget what was read and is not recorded, and ask again where to read."""
        self._next_offsets = None
        self._wakeup.set()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the book-keeping of partitions that are gone, once their deliveries are finished or given up."""
        self._wakeup.set()
        await super().on_partitions_revoked(revoked)
        self._next_offsets = None
        for tp in revoked:
            self._uncommitted.pop(tp, None)

    async def _seek_to_start_offsets(self) -> None:
        """Ask where to read every assigned partition, and seek there."""
        await self._drain_fetches()
        generation = self.app.consumer_generation_id
        assigned = self.assignment()
        logs: Mapping[TP, tuple[int, int]] = {}
        starts: Mapping[TP, int] = {}
        if assigned:
            logs = await self._thread.run_in_loop(self._thread.read_log_bounds, assigned)
        if positioned := {tp: log for tp, log in logs.items() if tp.topic in self.transport.positioned_topics}:
            starts = await self.transport.resolve_start_offsets(positioned)
        if not self.is_current_generation(generation):
            return  # another rebalance began meanwhile: what was said is stale
        committed = {tp: log for tp, log in logs.items() if tp not in positioned}
        await self._thread.run_in_loop(self._thread.seek_all, starts, committed)
        self._uncommitted.clear()
        self._in_flight.clear()
        self._out_of_range_topics.clear()
        self._next_offsets = {tp: starts.get(tp) for tp in assigned}

    async def _drain_fetches(self) -> None:
        """Wait for the fetches under way; what they bring, and what is held, is of positions that no longer count."""
        fetches, self._fetches = list(self._fetches.values()), {}
        self._buffered.clear()
        for outcome in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.info("a fetch that no longer counts ended with %r", outcome)

    @property
    def has_start_offsets(self) -> bool:
        """Whether it is known where to read every assigned partition."""
        return self._next_offsets is not None

    def is_current_generation(self, generation: int) -> bool:
        """Return whether what was read in a generation of the group is still this worker's to process."""
        return self.flow_active and not self.app.should_stop and generation == self.app.consumer_generation_id

    # Reading.

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Hand deliveries to the streams until the consumer or the fetcher is stopped."""
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
        """Yield the deliveries that are ready, after waiting for at least something to happen."""
        if self._next_offsets is None:
            try:
                await self._seek_to_start_offsets()
            except KafkaError as error:
                logger.warning("the broker does not say where its logs begin and end (%r); asking again", error)
                await self.sleep(timeout)
            except RevokedError:
                await self.sleep(timeout)
            return
        following = self._next_offsets
        self._start_fetches(following)
        await self._wait_for_activity(timeout)
        is_well = self._collect_fetches()
        for topic in [topic for topic in self._buffered if self._has_delivery_capacity(topic)]:
            if self._next_offsets is not following or not self.flow_active:
                return  # all is taken up again before the next fetch
            if delivery := self._create_batch(topic, self._buffered.pop(topic), following):
                tp = TP(topic, delivery.spans[0].partition)
                yield tp, self._create_message(tp, delivery)
        if not is_well:
            await self.sleep(timeout)

    def _collect_fetches(self) -> bool:
        """Hold what the fetches that are back brought; return whether none of them failed."""
        outcomes = {topic: self._fetch_result(topic, fetch) for topic, fetch in self._fetches.items() if fetch.done()}
        for topic, fetched in outcomes.items():
            del self._fetches[topic]
            if fetched is not None and fetched.records:
                self._buffered[topic] = self._buffered[topic].merge(fetched) if topic in self._buffered else fetched
        return None not in outcomes.values()

    def _fetch_result(self, topic: str, task: asyncio.Task[FetchResult]) -> FetchResult | None:
        """Return what a fetch brought; None: it failed, and the next one should wait a little."""
        try:
            return task.result()
        except OffsetOutOfRangeError:
            # Records were deleted in front of us, or the topic is another one.
            self._out_of_range_topics.add(topic)
        except KafkaError as error:
            logger.warning("a fetch from %s failed (%r); trying again", topic, error)
        return None

    def _start_fetches(self, next_offsets: Mapping[TP, int | None]) -> None:
        by_topic: dict[str, set[TP]] = defaultdict(set)
        for tp in next_offsets:
            by_topic[tp.topic].add(tp)
        for topic, partitions in by_topic.items():
            if topic in self._out_of_range_topics:
                # What was read before is recorded first; `resolve_start_offsets` then says where to go on, counts what
                # is missed, or will not go on at all.
                if not self._in_flight[topic]:
                    self.rewind()
                continue
            if topic not in self._fetches and self._has_fetch_capacity(topic):
                fetch = self._thread.run_in_loop(self._thread.fetch, partitions, self.transport.max_records)
                self._fetches[topic] = asyncio.ensure_future(fetch)

    def _has_delivery_capacity(self, topic: str) -> bool:
        in_flight = self._in_flight[topic]
        most = MAX_IN_FLIGHT if topic in self._topics_with_backlog else 1
        # And while few are only told of: a broker that takes nothing is not to have them pile up.
        return len(in_flight) <= most and sum(not delivery.is_recorded for delivery in in_flight) < most

    def _has_fetch_capacity(self, topic: str) -> bool:
        if topic in self.transport.positioned_topics:
            return self._has_delivery_capacity(topic)
        return topic not in self._buffered or self._buffered[topic].record_count < self.transport.max_records

    async def _wait_for_activity(self, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a cancellation
        """Wait until a fetch is back, a delivery was acknowledged, or the flow was stopped."""
        self._wakeup.clear()
        stirred = asyncio.ensure_future(self._wakeup.wait())
        try:
            await asyncio.wait([stirred, *self._fetches.values()], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()

    def _create_batch(
        self, topic: str, fetched: FetchResult, next_offsets: dict[TP, int | None]
    ) -> FetchedBatch | None:
        spans, records = [], []
        for partition, batch in fetched.records.items():
            tp = TP(partition.topic, partition.partition)
            if tp not in next_offsets:
                continue
            end = batch[-1].offset + 1
            start = next_offsets[tp]
            spans.append(OffsetRange(tp.topic, tp.partition, batch[0].offset if start is None else start, end))
            records.extend(batch)
            next_offsets[tp] = end
        if not spans:
            return None
        is_backlog = len(records) + fetched.lag >= self.transport.max_records
        (self._topics_with_backlog.add if is_backlog else self._topics_with_backlog.discard)(topic)
        delivery = FetchedBatch(topic, spans, records, self.app.consumer_generation_id, is_backlog)
        self.transport.on_fetched(delivery)
        self._in_flight[topic].add(delivery)
        for span in spans:
            self._uncommitted[TP(span.topic, span.partition)].append((span.end, delivery))
        return delivery

    def _create_message(self, tp: TP, batch: FetchedBatch) -> ConsumerMessage:
        last = batch.records[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=batch.spans[0].end - 1,
            timestamp=last.timestamp / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=[],
            key=None,
            # A stream passes a value on as it is when its schema does; Faust types it as bytes.
            value=cast("bytes", batch),
            checksum=None,
            tp=tp,
            generation_id=batch.generation,
        )

    # Acknowledging.

    def mark_recorded(self, batch: FetchedBatch) -> None:
        """Let the next delivery come: of this one only what came of it is still to be told."""
        batch.is_recorded = True
        self._wakeup.set()

    def ack(self, message: Message) -> bool:
        """Note that a stream is through with a delivery; wake the loop that may fetch the next."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        delivery = cast("FetchedBatch", message.value)
        self._in_flight[delivery.topic].discard(delivery)
        self._wakeup.set()
        if (waiting := self._waiting_for_ack) is not None and not waiting.done():
            waiting.set_result(None)
        return True

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        wanted = None if topics is None else set(topics)
        return (tp for tp in list(self._uncommitted) if wanted is None or not wanted.isdisjoint({tp, tp.topic}))

    def _new_offset(self, tp: TP) -> int | None:
        """Return up to where everything of a partition is done, or None when nothing new is."""
        delivered, offset = self._uncommitted[tp], None
        while delivered and delivered[0][1].is_done:
            offset, _ = delivered.popleft()
        return offset

    async def verify_all_partitions_active(self) -> None:
        """Say nothing: Faust's livelock detector reads book-keeping that is not kept here."""


class MicroBatchTransport(driver.Transport):
    """Faust's aiokafka transport with micro-batches. Give it to `app.transport`."""

    Consumer: ClassVar[type[ConsumerT]] = MicroBatchConsumer

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        urls: Iterable[URL],
        app: AppT,
        *,
        positioned_topics: Iterable[str],
        resolve_start_offsets: ResolveStartOffsets,
        on_fetched: Callable[[FetchedBatch], None],
        max_records: int,
    ) -> None:
        super().__init__(list(urls), app)
        #: Topics whose positions `resolve_start_offsets` knows.
        self.positioned_topics = frozenset(positioned_topics)
        self.resolve_start_offsets = resolve_start_offsets
        #: Told of every delivery, while the one before it may still be in its agent's hands.
        self.on_fetched = on_fetched
        self.max_records = max_records


def get_consumer(app: AppT) -> MicroBatchConsumer:
    """Return the consumer of an application that has this transport."""
    return cast("MicroBatchConsumer", app.consumer)
