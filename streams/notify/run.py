"""Reads `changes` for one target, in a consumer group of its own, and remembers what it was told."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from models.settings import Settings
from models.text import one_line
from streams.clock import Clock
from streams.error_text import describe_error
from streams.kafka.compat import reset_bytes_left
from streams.limited_log import LimitedLog
from streams.notify.changes import is_wanted, parse_change
from streams.notify.channels import ChangeDelivery, Channel, PendingChange
from streams.notify.deliveries import Answer, DeliveryQueue, Outcome, RetryPolicy
from streams.notify.digests import DigestSchedule, DigestSender, newest_due
from streams.notify.group import begin_group, commit, create_consumer, read_trackers
from streams.notify.metrics import NotifyMetrics
from streams.notify.offsets import GroupNotes, OffsetTracker
from streams.notify.targets import Target
from streams.outages import KAFKA, OUTAGES

logger = logging.getLogger("milepost.notify")

#: Changes that are read and not delivered, of one target. Then it reads no more until half of them are.
MAX_WAITING: Final = 10_000
_MAX_RECORDS: Final = 500
_POLL_MS: Final = 200
_COMMIT_SECONDS: Final = 1.0
#: How long after an error of Kafka a consumer is started anew.
_RESTART_SECONDS: Final = 2.0

_FINAL_WORDS: Final = {Outcome.PASSED_OVER: "passed over", Outcome.GIVEN_UP: "given up after a day of failures"}


class TargetRun(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Tells one target, for as long as it runs."""

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        target: Target,
        settings: Settings,
        create_channel: Callable[[Target], Channel | DigestSender],
        metrics: NotifyMetrics,
        clock: Clock,
        policy: RetryPolicy,
    ) -> None:
        self.target = target
        self._settings, self._create_channel, self._metrics = settings, create_channel, metrics
        self._clock, self._policy = clock, policy
        self._log = LimitedLog(
            logger, asyncio.get_running_loop().call_later, f"target {target.name}: %d more within %.0f s: %s"
        )
        self._notes = GroupNotes()
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._channel: Channel | None = None
        #: In the process that has the first partition, where the target gets digests.
        self._digests: tuple[DigestSchedule, asyncio.Task[None]] | None = None
        self._queue: DeliveryQueue[tuple[PendingChange, ...]] | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._assignment_error: KafkaError | None = None
        self._is_paused = False
        self._has_news = False
        metrics.add_target(target.name, lambda: self._waiting)

    @property
    def is_off(self) -> bool:
        """Whether the target answered 410, and its entry is still the same."""
        return self._notes.off == self.target.fingerprint

    @property
    def _waiting(self) -> int:
        return (self._queue.waiting if self._queue else 0) + (self._channel.collected if self._channel else 0)

    async def run(self) -> None:
        """Tell the target until cancelled; an outage of Kafka is waited for."""
        try:
            while True:
                try:
                    await self._consume()
                except KafkaError as error:
                    OUTAGES.fail(self, KAFKA, describe_error(error))
                await asyncio.sleep(_RESTART_SECONDS)
        finally:
            OUTAGES.end(self)
            self._metrics.remove_target(self.target.name)

    async def _consume(self) -> None:
        await begin_group(self._settings, self.target.name, self._initial_notes())
        self._consumer = consumer = create_consumer(self._settings, self.target.name)
        consumer.subscribe([self._settings.changes_topic], listener=self)
        try:
            await consumer.start()
            committed_at = time.monotonic()
            while True:
                # What one fetch hands out is bounded: `streams.kafka.compat`.
                reset_bytes_left(consumer._subscription.subscription.assignment)  # noqa: SLF001 - it has no other way
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
                if self._assignment_error is not None:
                    raise self._assignment_error
                OUTAGES.end(self)
                for partition, records in fetched.items():
                    self._take(partition, records)
                if self._digests is not None and self._digests[1].done():
                    self._digests[1].result()  # raises: a bug ended it
                if self._queue is not None and self._queue.ended.done():
                    await self._switch_off()
                self._pause_or_resume()
                if time.monotonic() - committed_at >= _COMMIT_SECONDS:
                    committed_at = time.monotonic()
                    await self._commit()
        finally:
            self._assignment_error = None
            # While it is a member: a consumer that has left the group may commit nothing, if there are other members.
            try:
                await self._halt()
            finally:
                self._consumer = None
                await consumer.stop()

    def _initial_notes(self) -> GroupNotes:
        times = self.target.digest_times
        # The first digest has the whole of its span.
        return GroupNotes() if times is None else GroupNotes(digest=newest_due(times, self._clock.now()))

    def _take(self, partition: TopicPartition, records: Iterable[Any]) -> None:
        tracker = self._trackers.get(partition)
        if tracker is None or self._queue is None or self._channel is None:
            # Not assigned (yet): the assignment begins at what is committed.
            return
        for record in records:
            self._has_news = True
            if not tracker.begin(record.offset):
                continue
            change = parse_change(record.value)
            if change is None:
                self._metrics.count_unreadable(self.target.name)
                where = f"{partition.topic}:{partition.partition}:{record.offset}"
                self._log.warn("unreadable records", "%s holds no change, and is passed over", where)
            if change is None or not is_wanted(change, self.target.filters):
                tracker.finish(record.offset)
                continue
            failing_since = tracker.open[record.offset]
            pending = PendingChange(change, partition.partition, record.offset, record.timestamp / 1000, failing_since)
            self._channel.add(pending, self._queue.put)

    def _note(self, delivery: ChangeDelivery, answer: Answer) -> None:
        """Take the outcome of an attempt."""
        self._has_news = True
        name, outcome = self.target.name, answer.outcome
        self._metrics.count(name, outcome)
        now = self._clock.now()
        for pending in delivery.content:
            tracker = self._trackers.get(TopicPartition(self._settings.changes_topic, pending.partition))
            if tracker is None:
                continue
            if outcome is Outcome.FAILED:
                tracker.fail(pending.offset, delivery.failing_since)
            elif outcome is not Outcome.SWITCHED_OFF:
                tracker.finish(pending.offset)
            if outcome is Outcome.DELIVERED:
                self._metrics.observe_delay(name, now - pending.time)
        if words := _FINAL_WORDS.get(outcome):
            change = delivery.content[0].change
            more = f" and {len(delivery.content) - 1} more" if len(delivery.content) > 1 else ""
            about = f"{'/'.join(change.milestone)} ({change.id}){more}"
            self._log.warn(f"deliveries {words}", "target %s: %s is %s: %s", name, about, words, answer.detail)

    def _pause_or_resume(self) -> None:
        """Read no more while enough waits, or nothing is to be told."""
        assert self._consumer is not None  # noqa: S101 - it runs
        if self._queue is None or self._waiting >= MAX_WAITING:
            self._consumer.pause(*self._consumer.assignment())
            self._is_paused = True
        elif self._is_paused and self._waiting <= MAX_WAITING // 2:
            self._consumer.resume(*self._consumer.assignment())
            self._is_paused = False

    async def _switch_off(self) -> None:
        assert self._queue is not None  # noqa: S101 - the caller looked
        self._queue.ended.result()  # raises: a bug ended it
        self._notes = GroupNotes(off=self.target.fingerprint, digest=self._notes.digest)
        logger.error(
            "target %s answered 410: it is switched off until its entry in the file of targets changes, and what it was"
            " not told waits",
            self.target.name,
        )
        self._metrics.set_off(self.target.name, is_off=True)
        self._has_news = True
        await self._end_queue()
        await self._commit()

    async def _commit(self) -> None:
        if self._has_news and self._consumer is not None:
            self._has_news = False
            await commit(self._consumer, self._trackers, self._notes)
        failing = [since for tracker in self._trackers.values() for since in tracker.open.values() if since]
        self._metrics.set_failing_since(self.target.name, min(failing, default=0.0))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's name
        """End what is under way, and commit, before others get the partitions."""
        await self._halt()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin at what is committed."""
        consumer = self._consumer
        if consumer is None:
            return
        try:
            found = await read_trackers(consumer, assigned)
        except KafkaError as error:
            # aiokafka would log an error raised here, and read on.
            self._assignment_error = error
            return
        notes = [each for _, each in found.values()]
        is_off = any(each.off == self.target.fingerprint for each in notes)
        digest = max((each.digest for each in notes if each.digest is not None), default=None)
        self._notes = GroupNotes(self.target.fingerprint if is_off else "", digest)
        self._metrics.set_off(self.target.name, is_off=is_off)
        if is_off:
            logger.warning(
                "target %s is switched off since it answered 410, until its entry in the file of targets changes",
                self.target.name,
            )
        else:
            self._start(any(partition.partition == 0 for partition in found))
        self._trackers = {partition: tracker for partition, (tracker, _) in found.items()}
        # While this waited for the broker, the loop may have paused what is assigned: it had no queue.
        self._is_paused = True
        self._metrics.set_assigned(self.target.name, len(self._trackers))
        for partition, tracker in self._trackers.items():
            consumer.seek(partition, tracker.next_offset)

    def _start(self, has_first_partition: bool) -> None:  # noqa: FBT001 - of this class alone
        times = self.target.digest_times
        if times is not None and not has_first_partition:
            return
        channel = self._create_channel(self.target)
        if isinstance(channel, DigestSender):
            assert times is not None  # noqa: S101 - that is when there is one
            schedule = DigestSchedule(self.target, times, channel, self._metrics, self._clock, self._policy)
            if self._notes.digest is None:
                self._note_digest(newest_due(times, self._clock.now()))
            task = asyncio.create_task(schedule.run(self._notes.digest or 0, self._note_digest))
            self._digests = schedule, task
            return
        self._channel = channel
        self._queue = DeliveryQueue(
            self.target.name,
            self._channel.deliver,
            self._note,
            self._policy,
            self._clock.now,
            self._channel.max_under_way,
        )

    def _note_digest(self, due: int) -> None:
        self._notes, self._has_news = msgspec.structs.replace(self._notes, digest=due), True

    async def _halt(self) -> None:
        await self._end_queue()
        try:
            # Where Kafka does not answer, aiokafka tries again without end.
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._commit()
        except (KafkaError, TimeoutError) as error:
            reason = one_line(error) or "Kafka does not answer"
            logger.warning("target %s: what was told last is told again: %s", self.target.name, reason)
        self._trackers = {}
        self._metrics.set_assigned(self.target.name, 0)

    async def _end_queue(self) -> None:
        if self._digests is not None:
            (schedule, running), self._digests = self._digests, None
            await schedule.stop(running)
        queue, channel, self._queue, self._channel = self._queue, self._channel, None, None
        if channel is not None and queue is not None:
            await queue.stop()
            await channel.close()
