"""The micro-batch transport: one Faust message for everything a fetch brought of a topic.

Nearly all of Faust's cost is paid per message: drain loop, conductor, event, queue, ack, sensors. This transport
hands a stream a `Delivery`, the records of all partitions of one topic that were there when it had time for them,
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
  finished when its agent says so (`done`), not when its loop body ends: Faust acks also what raised. Streams are
  read with `noack()` and acknowledged by hand, because Faust's compiled ones inline the stock book-keeping.
- `perform_seek`: where to read is not the group's decision. For topics that are *positioned*, `take_up` is asked
  on every assignment; for others the committed offset counts. It happens in the drain loop, the only place that
  fetches, so that no fetch spans a seek and no time-out of the rebalance can let reading begin without it.

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

from models.database.positions import Span
from streams.kafka.consumer_thread import FETCH_SECONDS, Fetched, MicroBatchConsumerThread, Record
from streams.retry import GivenUpError

logger = logging.getLogger("milepost.transport")


#: Given the first and end offset of each partition's log, says where to read it from. Retries what passes; raises
#: `GivenUpError` when it will not say.
TakeUp = Callable[[Mapping[TP, tuple[int, int]]], Awaitable[Mapping[TP, int]]]

#: Deliveries of a topic that may be unrecorded while there is a backlog: one being written, one ready. While there is
#: none, it is one: what came in the meantime is then written together, and none of it waits for two others.
IN_FLIGHT: Final = 2

#: Far below the shortest time that aiokafka is told to wait for a poll.
_SEEN_EVERY_SECONDS: Final = 0.5


@dataclass(slots=True, eq=False)
class Delivery:
    """What one fetch brought of a topic: the value of one Faust message."""

    topic: str
    spans: Sequence[Span]
    records: Sequence[Record]
    generation: int
    #: Whether a batch and more was there, with what waits behind it: one fetch of few partitions may bring less.
    is_backlog: bool = False
    #: Set when its agent is through with it but for telling what came of it.
    is_recorded: bool = False
    #: Set by the agent when nothing of it is left to do; only then may its offsets be committed.
    done: bool = False


class MicroBatchConsumer(driver.Consumer):
    """Faust's consumer, with deliveries for messages."""

    transport: "MicroBatchTransport"
    _thread: MicroBatchConsumerThread

    #: Deliveries of each partition that are not committed yet, in order.
    _delivered: dict[TP, deque[tuple[int, Delivery]]]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **options)
        self._delivered = defaultdict(deque)
        self._in_flight: dict[str, set[Delivery]] = defaultdict(set)
        #: Topics whose last delivery was of a backlog.
        self._backlogged: set[str] = set()
        #: The next offset of each partition that was taken up; None: to be taken up.
        self._next: dict[TP, int | None] | None = None
        self._fetches: dict[str, asyncio.Task[Fetched]] = {}
        #: What was fetched of a topic and is not delivered yet.
        self._held: dict[str, Fetched] = {}
        self._stirred = asyncio.Event()
        #: Topics of which a partition is to be read from where its log has nothing.
        self._out_of_range: set[str] = set()

    def _new_consumer_thread(self) -> MicroBatchConsumerThread:
        return MicroBatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _be_seen(self) -> None:
        """Have this worker count as polling for as long as its loop turns.

        One that waits for its database fetches nothing, and aiokafka puts it out of the group for that; it would never
        come back, for aiokafka waits for a fetch before it joins again, and a fetch waits for an assignment.
        """
        while not self.should_stop:
            self._thread.note_poll()
            await self.sleep(_SEEN_EVERY_SECONDS)

    # Where to read.

    async def perform_seek(self) -> None:
        """Have every partition taken up before the next fetch."""
        self.read_again()

    def read_again(self) -> None:
        """Forget what was read and is not recorded, and ask again where to read."""
        self._next = None
        self._stirred.set()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the book-keeping of partitions that are gone, once their deliveries are finished or given up."""
        self._stirred.set()
        await super().on_partitions_revoked(revoked)
        self._next = None
        for tp in revoked:
            self._delivered.pop(tp, None)

    async def _take_up(self) -> None:
        """Ask where to read every assigned partition, and seek there."""
        await self._settle()
        generation = self.app.consumer_generation_id
        assigned = self.assignment()
        logs: Mapping[TP, tuple[int, int]] = {}
        starts: Mapping[TP, int] = {}
        if assigned:
            logs = await self._thread.run(self._thread.look_up, assigned)
        if positioned := {tp: log for tp, log in logs.items() if tp.topic in self.transport.positioned}:
            starts = await self.transport.take_up(positioned)
        if not self.is_current(generation):
            return  # another rebalance began meanwhile: what was said is stale
        committed = {tp: log for tp, log in logs.items() if tp not in positioned}
        await self._thread.run(self._thread.seek_all, starts, committed)
        self._delivered.clear()
        self._in_flight.clear()
        self._out_of_range.clear()
        self._next = {tp: starts.get(tp) for tp in assigned}

    async def _settle(self) -> None:
        """Wait for the fetches under way; what they bring, and what is held, is of positions that no longer count."""
        fetches, self._fetches = list(self._fetches.values()), {}
        self._held.clear()
        for outcome in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.info("a fetch that no longer counts ended with %r", outcome)

    @property
    def is_reading(self) -> bool:
        """Whether it is known where to read every assigned partition."""
        return self._next is not None

    def is_current(self, generation: int) -> bool:
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
                async for _, message in self.getmany(FETCH_SECONDS):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop:
                raise
        finally:
            await self._settle()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """Yield the deliveries that are ready, after waiting for at least something to happen."""
        if self._next is None:
            try:
                await self._take_up()
            except KafkaError as error:
                logger.warning("the broker does not say where its logs begin and end (%r); asking again", error)
                await self.sleep(timeout)
            except GivenUpError:
                await self.sleep(timeout)
            return
        following = self._next
        self._start_fetches(following)
        await self._wait_for_something(timeout)
        is_well = self._collect()
        for topic in [topic for topic in self._held if self._admits(topic)]:
            if self._next is not following or not self.flow_active:
                return  # all is taken up again before the next fetch
            if delivery := self._deliver(topic, self._held.pop(topic), following):
                tp = TP(topic, delivery.spans[0].partition)
                yield tp, self._message(tp, delivery)
        if not is_well:
            await self.sleep(timeout)

    def _collect(self) -> bool:
        """Hold what the fetches that are back brought; return whether none of them failed."""
        outcomes = {topic: self._fetched(topic, fetch) for topic, fetch in self._fetches.items() if fetch.done()}
        for topic, fetched in outcomes.items():
            del self._fetches[topic]
            if fetched is not None and fetched.records:
                self._held[topic] = self._held[topic].and_then(fetched) if topic in self._held else fetched
        return None not in outcomes.values()

    def _fetched(self, topic: str, fetch: asyncio.Task[Fetched]) -> Fetched | None:
        """Return what a fetch brought; None: it failed, and the next one should wait a little."""
        try:
            return fetch.result()
        except OffsetOutOfRangeError:
            # Records were deleted in front of us, or the topic is another one.
            self._out_of_range.add(topic)
        except KafkaError as error:
            logger.warning("a fetch from %s failed (%r); trying again", topic, error)
        return None

    def _start_fetches(self, following: Mapping[TP, int | None]) -> None:
        by_topic: dict[str, set[TP]] = defaultdict(set)
        for tp in following:
            by_topic[tp.topic].add(tp)
        for topic, partitions in by_topic.items():
            if topic in self._out_of_range:
                # What was read before is recorded first; `take_up` then says where to go on, counts what is missed, or
                # will not go on at all.
                if not self._in_flight[topic]:
                    self.read_again()
                continue
            if topic not in self._fetches and self._has_room(topic):
                fetch = self._thread.run(self._thread.fetch, partitions, self.transport.max_records)
                self._fetches[topic] = asyncio.ensure_future(fetch)

    def _admits(self, topic: str) -> bool:
        in_flight = self._in_flight[topic]
        most = IN_FLIGHT if topic in self._backlogged else 1
        # And while few are only told of: a broker that takes nothing is not to have them pile up.
        return len(in_flight) <= most and sum(not delivery.is_recorded for delivery in in_flight) < most

    def _has_room(self, topic: str) -> bool:
        if topic in self.transport.positioned:
            return self._admits(topic)
        return topic not in self._held or self._held[topic].size < self.transport.max_records

    async def _wait_for_something(self, timeout: float) -> None:  # noqa: ASYNC109 - a bound, not a cancellation
        """Wait until a fetch is back, a delivery was acknowledged, or the flow was stopped."""
        self._stirred.clear()
        stirred = asyncio.ensure_future(self._stirred.wait())
        try:
            await asyncio.wait([stirred, *self._fetches.values()], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()

    def _deliver(self, topic: str, fetched: Fetched, following: dict[TP, int | None]) -> Delivery | None:
        spans, records = [], []
        for partition, batch in fetched.records.items():
            tp = TP(partition.topic, partition.partition)
            if tp not in following:
                continue
            end = batch[-1].offset + 1
            start = following[tp]
            spans.append(Span(tp.topic, tp.partition, batch[0].offset if start is None else start, end))
            records.extend(batch)
            following[tp] = end
        if not spans:
            return None
        is_backlog = len(records) + fetched.waiting >= self.transport.max_records
        (self._backlogged.add if is_backlog else self._backlogged.discard)(topic)
        delivery = Delivery(topic, spans, records, self.app.consumer_generation_id, is_backlog)
        self.transport.expect(delivery)
        self._in_flight[topic].add(delivery)
        for span in spans:
            self._delivered[TP(span.topic, span.partition)].append((span.end, delivery))
        return delivery

    def _message(self, tp: TP, delivery: Delivery) -> ConsumerMessage:
        last = delivery.records[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=delivery.spans[0].end - 1,
            timestamp=last.timestamp / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=[],
            key=None,
            # A stream passes a value on as it is when its schema does; Faust types it as bytes.
            value=cast("bytes", delivery),
            checksum=None,
            tp=tp,
            generation_id=delivery.generation,
        )

    # Acknowledging.

    def admit_next(self, recorded: Delivery) -> None:
        """Let the next delivery come: of this one only what came of it is still to be told."""
        recorded.is_recorded = True
        self._stirred.set()

    def ack(self, message: Message) -> bool:
        """Note that a stream is through with a delivery; wake the loop that may fetch the next."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        delivery = cast("Delivery", message.value)
        self._in_flight[delivery.topic].discard(delivery)
        self._stirred.set()
        if (waiting := self._waiting_for_ack) is not None and not waiting.done():
            waiting.set_result(None)
        return True

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        wanted = None if topics is None else set(topics)
        return (tp for tp in list(self._delivered) if wanted is None or not wanted.isdisjoint({tp, tp.topic}))

    def _new_offset(self, tp: TP) -> int | None:
        """Return up to where everything of a partition is done, or None when nothing new is."""
        delivered, offset = self._delivered[tp], None
        while delivered and delivered[0][1].done:
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
        positioned: Iterable[str],
        take_up: TakeUp,
        expect: Callable[[Delivery], None],
        max_records: int,
    ) -> None:
        super().__init__(list(urls), app)
        #: Topics whose positions `take_up` knows.
        self.positioned = frozenset(positioned)
        self.take_up = take_up
        #: Told of every delivery, while the one before it may still be in its agent's hands.
        self.expect = expect
        self.max_records = max_records


def consumer_of(app: AppT) -> MicroBatchConsumer:
    """Return the consumer of an application that has this transport."""
    return cast("MicroBatchConsumer", app.consumer)
