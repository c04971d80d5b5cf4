"""What the log says of rejected events: the first of a minute one by one, of the others how many there were.

All of them are among the dead letters; a source that floods must not fill the disk that the log is on.
"""
# The `record` agent: a delivery of events becomes one transaction, then a signal.
#
# 1. Decode every record; a record that is no event becomes a rejection, a value like any other. Under a backlog that is
#    done while the database works on the delivery before, in the thread that waits for it: a second thread would take
#    from the first what it wins.
# 2. Write it all in one transaction, `models.database.recorder`: ledger, winning claims, positions. Rejected events are
#    acknowledged by the dead-letters topic before the transaction commits.
# 3. Count it, and tell `programmes` which programmes changed, while the next delivery is recorded.
# 4. Only then is the delivery done, and its offsets may be committed.
#
# What passes (no connection, a deadlock, a broker away) is tried again, for ever, as long as the partitions are ours.
# Anything else is a bug: it leaves the agent and ends the process; the positions say where to go on.

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
from faust import Stream
from faust.types import EventT, StreamT
from sqlalchemy.exc import SQLAlchemyError

from models.database.ledger import DecodedRecord, RejectedRecord
from models.database.recorder import Batch, ProgrammeChange, Recorder, RecordingResult
from models.domain.cloudevents import decode
from models.domain.dead_letters import dead_letter_headers, dead_letter_key
from models.domain.events import Event, Oddity, check_acceptable
from models.failpoints import hit_failpoint
from models.settings import Settings
from streams.kafka.consumer_thread import KafkaRecord
from streams.kafka.producer import Produce
from streams.kafka.transport import FetchedBatch
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health
from streams.retry import RevokedError, is_transient, retry_until_done

logger = logging.getLogger("milepost.record")

#: How many are said one by one, in so many seconds.
MAX_LOGGED_REJECTIONS: Final = 20
REJECTION_WINDOW_SECONDS: Final = 60.0


class RejectionLog:
    """Says what was rejected, and does not repeat itself for ever."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """Give what calls a function after so many seconds."""
        self._call_later = call_later
        self._logged = 0
        self._suppressed: Counter[str] = Counter()

    def log(self, key: str, reason: str, detail: str) -> None:
        """Take in a rejected event."""
        if not self._logged:
            self._call_later(REJECTION_WINDOW_SECONDS, self._log_summary)
        if self._logged < MAX_LOGGED_REJECTIONS:
            self._logged += 1
            logger.warning("rejected %s: %s: %s", key, reason, detail)
        else:
            self._suppressed[reason] += 1

    def _log_summary(self) -> None:
        if self._suppressed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._suppressed.most_common())
            logger.warning(
                "rejected %d more events within %.0f s: %s; `milepost dead-letters list` shows them",
                self._suppressed.total(),
                REJECTION_WINDOW_SECONDS,
                reasons,
            )
        self._logged = 0
        self._suppressed.clear()


#: How long the dead-letters topic may take to acknowledge while a transaction waits for it.
DEAD_LETTER_TIMEOUT_SECONDS: Final = 10.0
#: How long after a delivery of a backlog there is still one: not every one of them is told by its size.
_BACKLOG_GRACE_SECONDS: Final = 1.0


class Signal(msgspec.Struct, frozen=True):
    """What is said on `programmes`: this programme changed."""

    revision: int
    appended_ms: int


class _CommittedBatch(NamedTuple):
    """What came of a delivery, and when it was begun and committed, by the worker's clock."""

    result: RecordingResult
    decoded_records: Sequence[DecodedRecord]
    started_at: float
    committed_at: float


class RecordAgent:
    """What the agent does with a delivery."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        recorder: Recorder,
        metrics: Metrics,
        health: Health,
        settings: Settings,
        produce: Produce,
        executor: Executor,
        *,
        clock: Callable[[], float],
        is_assigned: Callable[[FetchedBatch], bool],
        mark_recorded: Callable[[FetchedBatch], None],
        rewind: Callable[[], None],
        request_sweep: Callable[[], None],
        reset_watchdog: Callable[[], None],
    ) -> None:
        self._recorder, self._metrics, self._health, self._settings = recorder, metrics, health, settings
        self._produce, self._executor, self._clock = produce, executor, clock
        self._is_assigned, self._mark_recorded, self._rewind = is_assigned, mark_recorded, rewind
        self._request_sweep, self._reset_watchdog = request_sweep, reset_watchdog
        #: Until when there is taken to be a backlog.
        self._backlog_until = -math.inf
        #: The newest delivery there is, until it is decoded; and one that was decoded before its turn came.
        self._next: FetchedBatch | None = None
        self._predecoded: tuple[FetchedBatch, Sequence[DecodedRecord]] | None = None
        self._rejection_log = RejectionLog(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))

    @property
    def is_catching_up(self) -> bool:
        """Whether there is a backlog: a delivery of one is in hand, or was a moment ago."""
        return self._clock() < self._backlog_until

    def set_next(self, batch: FetchedBatch) -> None:
        """Know of a delivery before its turn comes."""
        if batch.topic == self._settings.events_topic:
            self._next = batch

    async def process_stream(self, stream: StreamT[FetchedBatch]) -> None:
        """Record every delivery of a stream; what came of one is told while the next is recorded."""
        try:
            async with asyncio.TaskGroup() as telling:
                # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's
                # `ack`.
                async for event in cast("Stream[FetchedBatch]", stream).noack().events():
                    if event.value.has_backlog:
                        self._backlog_until = math.inf
                    outcome = await self._record_with_retry(event.value)
                    self._mark_recorded(event.value)
                    if event.value.has_backlog:
                        self._backlog_until = self._clock() + _BACKLOG_GRACE_SECONDS
                    telling.create_task(self._complete(event, outcome))
        except BaseExceptionGroup as error:
            # As it was raised: one bug ends it.
            raise error.exceptions[0] from None

    async def _record_with_retry(self, batch: FetchedBatch) -> _CommittedBatch | None:
        """Write one delivery; None: it is no longer ours, and others do what is left of it."""
        loop = asyncio.get_running_loop()
        tries = 0

        async def attempt() -> _CommittedBatch:
            nonlocal tries
            tries += 1
            try:
                outcome = await loop.run_in_executor(self._executor, self._decode_and_commit, batch, loop)
            except Exception as error:
                if is_transient(error):
                    self._reset_watchdog()
                    if isinstance(error, SQLAlchemyError):
                        self._health.is_database_up = False
                raise
            self._health.is_database_up = True
            return outcome

        try:
            outcome = await retry_until_done(
                f"recording {_describe_spans(batch)}", attempt, lambda: self._is_assigned(batch)
            )
        except RevokedError:
            _log_revoked(batch)
            return None
        if tries > 1:
            # A try whose connection broke in its commit may have been one: recorded, and nobody told.
            self._request_sweep()
        if outcome.result.stale_partitions:
            logger.warning("the database's positions lie before %s; reading again from there", _describe_spans(batch))
            self._rewind()
        return outcome

    async def _complete(self, event: EventT[Any], committed_batch: _CommittedBatch | None) -> None:
        """Tell what came of a delivery, and have done with it."""
        delivery = cast("FetchedBatch", event.value)
        if committed_batch is not None:
            self._update_metrics(committed_batch)

            async def publish_signals() -> None:
                await self._publish_signals(committed_batch.result.programme_changes)
                hit_failpoint("after-signal")

            try:
                await retry_until_done(
                    "telling which programmes changed", publish_signals, lambda: self._is_assigned(delivery)
                )
                delivery.is_done = not committed_batch.result.stale_partitions
            except RevokedError:
                _log_revoked(delivery)
        event.ack()

    def _decode_and_commit(self, batch: FetchedBatch, loop: asyncio.AbstractEventLoop) -> _CommittedBatch:
        """Decode and commit, in a thread of its own."""

        def publish_rejected(rejected: Sequence[RejectedRecord]) -> None:
            sending = asyncio.run_coroutine_threadsafe(self._publish_dead_letters(rejected), loop)
            try:
                sending.result(DEAD_LETTER_TIMEOUT_SECONDS)
            finally:
                sending.cancel()
            hit_failpoint("after-dead-letter")

        def predecode() -> None:
            upcoming = self._next
            if upcoming is not None and upcoming is not batch:
                self._predecoded = upcoming, self._decode_batch(upcoming)

        began = self._clock()
        entries = self._take_decoded(batch)
        recorded = self._recorder.record(Batch(batch.spans, entries), publish_rejected, predecode)
        return _CommittedBatch(recorded, entries, began, self._clock())

    def _take_decoded(self, batch: FetchedBatch) -> Sequence[DecodedRecord]:
        ahead, self._predecoded = self._predecoded, None
        # One that is written once more is read once more: nothing is kept of it.
        return ahead[1] if ahead is not None and ahead[0] is batch else self._decode_batch(batch)

    def _decode_batch(self, batch: FetchedBatch) -> Sequence[DecodedRecord]:
        if self._next is batch:
            self._next = None
        return [self._decode_record(record) for record in batch.records]

    def _decode_record(self, record: KafkaRecord) -> DecodedRecord:
        # A record of the oldest format has no time; it was appended before now, which is all that matters.
        appended_ms = record.timestamp if record.timestamp >= 0 else int(self._clock() * 1000)
        outcome = decode(record.headers, record.value)
        if isinstance(outcome, Event):
            outcome = check_acceptable(outcome, appended_ms, self._settings.allowed_sources)
        digest = outcome.digest() if isinstance(outcome, Event) else None
        place = record.topic, record.partition, record.offset
        return DecodedRecord(*place, appended_ms, record.headers, record.value, outcome, digest)

    async def _publish_dead_letters(self, rejected: Sequence[RejectedRecord]) -> None:
        await self._produce(
            self._settings.dead_letters_topic,
            [
                (dead_letter_key(*entry[:3]), entry.value, dead_letter_headers(*entry[:3], entry.headers, why))
                for entry, why in rejected
            ],
        )

    async def _publish_signals(self, changes: Sequence[ProgrammeChange]) -> None:
        await self._produce(
            self._settings.programmes_topic,
            [
                (name.encode(), msgspec.json.encode(Signal(revision, appended_ms)), [])
                for name, revision, appended_ms in changes
            ],
        )

    def _update_metrics(self, committed_batch: _CommittedBatch) -> None:
        metrics, (recorded, entries, began, committed) = self._metrics, committed_batch
        metrics.batch_seconds.observe(committed - began)
        metrics.batch_events.observe(len(entries))
        types: Counter[tuple[str, str]] = Counter()
        tolerated: Counter[Oddity] = Counter()
        heard: dict[str, int] = {}
        sources: Counter[tuple[str | None, str]] = Counter()
        delays: Counter[float] = Counter()
        for said, some in (("accepted", recorded.accepted), ("duplicate", recorded.duplicates)):
            # What was appended together is alike in all that is counted, as a rule.
            for (appended_ms, source, event_type, oddities), count in Counter(map(_event_labels, some)).items():
                types[said, event_type] += count
                sources[source, said] += count
                tolerated.update(dict.fromkeys(oddities, count))
                heard[source] = max(appended_ms, heard.get(source, appended_ms))
                if said == "accepted":
                    delays[committed - appended_ms / 1000] += count
        metrics.event_delay.observe_all(delays)
        for labels, count in types.items():
            metrics.events.labels(*labels).inc(count)
        for oddity, count in tolerated.items():
            metrics.tolerated.labels(oddity.value).inc(count)
        for source, appended_ms in heard.items():
            metrics.source_seen(source, appended_ms / 1000)
        for entry, why in recorded.rejected:
            metrics.events.labels("rejected", why.type).inc()
            metrics.rejected.labels(why.reason.value).inc()
            sources[why.source, "rejected"] += 1
            self._rejection_log.log(dead_letter_key(*entry[:3]).decode(), why.reason.value, why.detail)
        for (named, outcome), count in sources.items():
            metrics.count_source_events(named, outcome, count)


#: What there is to count of an event that is known.
_event_labels: Final = attrgetter("appended_ms", "outcome.source", "outcome.data.TYPE", "outcome.oddities")


def _log_revoked(batch: FetchedBatch) -> None:
    logger.info("%s is no longer ours; whoever has it now reads it again", _describe_spans(batch))


def _describe_spans(batch: FetchedBatch) -> str:
    return ", ".join(f"{span.topic}:{span.partition}:{span.start}-{span.end - 1}" for span in batch.spans)
