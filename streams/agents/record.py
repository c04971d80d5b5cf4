"""The `record` agent: a batch of events becomes one transaction, then a signal for every programme that it changed.

1. Decode every record; a record that is no event becomes a rejection, which is a value like any other. Under a backlog
   the next batch is decoded while the database works on the one before, in the thread that waits for it. A second
   thread gains nothing: both would compete for the GIL.
2. Write the batch in one transaction, `models.database.recorder`: ledger, winning claims, positions. The dead-letters
   topic acknowledges the rejected events before the transaction commits.
3. Update the metrics, and publish which programmes changed to `programmes`, while the next batch is recorded.
4. Only then is the batch done, and its offsets may be committed.

Transient errors (no connection, a deadlock, no broker) are retried for ever, as long as the partitions are assigned.
Any other error is a bug: it leaves the agent and ends the process; the positions say where to go on.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
from faust import Stream
from faust.types import TP, EventT, StreamT
from sqlalchemy.exc import SQLAlchemyError

from models.database.ledger import DecodedRecord, RejectedRecord
from models.database.positions import StartOffset, TopicRecreatedError
from models.database.recorder import Batch, ProgrammeChange, Recorder, RecordingResult
from models.domain.cloudevents import decode
from models.domain.dead_letters import dead_letter_content, dead_letter_key
from models.domain.events import Event, Oddity, check_acceptable, latest_acceptable_instant
from models.errors import MilepostError
from models.failpoints import hit_failpoint
from models.settings import Settings
from streams.clock import Clock
from streams.kafka.consumer_thread import is_appended_by_broker
from streams.kafka.producer import Produce
from streams.kafka.transport import BatchSource, FetchedBatch
from streams.limited_log import LimitedLog
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health
from streams.monitoring.watchdog import Watchdog
from streams.retry import RevokedError, is_transient, retry_until_done

logger = logging.getLogger("milepost.record")

#: How long the dead-letters topic may take to acknowledge while a transaction waits for it.
DEAD_LETTER_TIMEOUT_SECONDS: Final = 10.0
#: How long after a batch of a backlog there still is one: some of its batches are too small to show it.
_BACKLOG_GRACE_SECONDS: Final = 1.0
#: A batch of so many events is recorded for long enough to be felt by the events behind it.
_MANY_RECORDS: Final = 500


class RejectionLog:
    """Logs rejections, as many as a log should have."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """Take what calls a function after so many seconds."""
        summary = "rejected %d more events within %.0f s: %s; `milepost dead-letters list` shows them"
        self._log = LimitedLog(logger, call_later, summary)

    def log(self, key: str, reason: str, detail: str) -> None:
        """Log a rejection, or count it for the summary."""
        self._log.warn(reason, "rejected %s: %s: %s", key, reason, detail)


class Signal(msgspec.Struct, frozen=True):
    """A record of `programmes`: the programme of its key changed."""

    revision: int
    appended_ms: int


class _CommittedBatch(NamedTuple):
    """The result of a batch, and when its recording started and was committed, by the worker's clock."""

    result: RecordingResult
    record_count: int
    started_at: float
    committed_at: float


@dataclass(eq=False, kw_only=True)
class RecordAgent:
    """Records the batches of the events topic."""

    recorder: Recorder
    metrics: Metrics
    health: Health
    settings: Settings
    clock: Clock
    source: BatchSource
    produce: Produce
    watchdog: Watchdog
    sweep_requested: asyncio.Event
    stop_with_error: Callable[[MilepostError], None]
    executor: Executor = field(default_factory=partial(ThreadPoolExecutor, 1, "record"))
    rejection_log: RejectionLog = field(default_factory=lambda: RejectionLog(asyncio.get_running_loop().call_later))
    #: Until when there is assumed to be a backlog.
    _backlog_until: float = field(default=-math.inf, init=False)
    #: Until when many events are assumed to be recorded.
    _many_until: float = field(default=-math.inf, init=False)

    def is_catching_up(self) -> bool:
        """Return whether a batch of a backlog is being recorded, or was a moment ago."""
        return self.clock.now() < self._backlog_until

    def is_recording_many(self) -> bool:
        """Return whether a batch of many events is being recorded, or was a moment ago."""
        return self.clock.now() < self._many_until

    async def resolve_start_offsets(
        self, log_bounds: Mapping[TP, tuple[int, int]], is_active: Callable[[], bool]
    ) -> Mapping[TP, int]:
        """Return where the database says to read each partition from, given the bounds of its log.

        Raises `RevokedError` when the assignment is not active any more, or the topic was recreated.
        """
        topic, bounds = self.settings.events_topic, {tp.partition: log for tp, log in log_bounds.items()}
        loop = asyncio.get_running_loop()

        async def query_start_offsets() -> dict[int, StartOffset]:
            try:
                return await loop.run_in_executor(self.executor, self.recorder.resolve_start_offsets, topic, bounds)
            except Exception:
                # An error that is not transient ends the worker anyway.
                self.watchdog.reset()
                raise

        try:
            starts = await retry_until_done("resolving start offsets", query_start_offsets, is_active)
        except TopicRecreatedError as error:
            self.stop_with_error(error)
            raise RevokedError from error
        for partition, start in starts.items():
            if start.missed:
                logger.error(
                    "%s:%s: %s records were deleted before they were read; going on from offset %s",
                    topic,
                    partition,
                    start.missed,
                    start.offset,
                )
            self.metrics.missed_records.labels(topic, str(partition)).inc(start.missed)
        return {tp: starts[tp.partition].offset for tp in log_bounds}

    async def process_stream(self, stream: StreamT[FetchedBatch]) -> None:
        """Record every batch of a stream; the results of one are published while the next is recorded."""
        try:
            async with asyncio.TaskGroup() as completions:
                # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's
                # `ack`.
                async for event in cast("Stream[FetchedBatch]", stream).noack().events():
                    batch = event.value
                    is_large = len(batch.records) >= _MANY_RECORDS
                    if batch.has_backlog:
                        self._backlog_until = math.inf
                    if is_large:
                        self._many_until = math.inf
                    committed = await self._record_with_retry(batch)
                    self.source.mark_recorded(batch)
                    recently = self.clock.now() + _BACKLOG_GRACE_SECONDS
                    if batch.has_backlog:
                        self._backlog_until = recently
                    if is_large:
                        self._many_until = recently
                    completions.create_task(self._complete(event, committed))
        except BaseExceptionGroup as error:
            # As it was raised: one bug ends it.
            raise error.exceptions[0] from None

    async def _record_with_retry(self, batch: FetchedBatch) -> _CommittedBatch | None:
        """Record a batch; None: its partitions were revoked, and other workers record what is left of it."""
        loop = asyncio.get_running_loop()
        attempts = 0

        async def attempt() -> _CommittedBatch:
            nonlocal attempts
            attempts += 1
            try:
                committed = await loop.run_in_executor(self.executor, self._decode_and_commit, batch, loop)
            except Exception as error:
                if is_transient(error):
                    self.watchdog.reset()
                    if isinstance(error, SQLAlchemyError):
                        self.health.is_database_up = False
                raise
            self.health.is_database_up = True
            return committed

        try:
            committed = await retry_until_done(f"recording {batch}", attempt, partial(self.source.is_current, batch))
        except RevokedError:
            _log_revoked(batch)
            return None
        if attempts > 1:
            # An attempt whose connection broke during its commit may have succeeded: recorded, but without signals.
            self.sweep_requested.set()
        if committed.result.stale_partitions:
            logger.warning("the database's positions lie before %s; reading again from there", batch)
            self.source.rewind()
        return committed

    async def _complete(self, event: EventT[Any], committed: _CommittedBatch | None) -> None:
        """Publish the results of a batch, and acknowledge it."""
        batch = cast("FetchedBatch", event.value)
        if committed is not None:
            self._update_metrics(committed)

            async def publish_signals() -> None:
                await self._publish_signals(committed.result.programme_changes)
                hit_failpoint("after-signal")

            try:
                await retry_until_done(
                    "publishing the change signals", publish_signals, partial(self.source.is_current, batch)
                )
                batch.is_done = not committed.result.stale_partitions
            except RevokedError:
                _log_revoked(batch)
        event.ack()

    def _decode_and_commit(self, batch: FetchedBatch, loop: asyncio.AbstractEventLoop) -> _CommittedBatch:
        """Decode and record a batch; in the executor's thread."""

        def publish_rejected(rejected: Sequence[RejectedRecord]) -> None:
            publishing = asyncio.run_coroutine_threadsafe(self._publish_dead_letters(rejected), loop)
            try:
                publishing.result(DEAD_LETTER_TIMEOUT_SECONDS)
            finally:
                publishing.cancel()
            hit_failpoint("after-dead-letter")

        def decode_next() -> None:
            following = self.source.peek_next(batch)
            if following is not None and following.decoded is None:
                following.decoded = self._decode_batch(following)

        started_at = self.clock.now()
        # Not kept for a retry, which decodes again: a batch that waits for its database holds no more than it must.
        decoded, batch.decoded = batch.decoded or self._decode_batch(batch), None
        result = self.recorder.record(Batch(batch.offset_ranges, decoded), publish_rejected, decode_next)
        return _CommittedBatch(result, len(decoded), started_at, self.clock.now())

    def _decode_batch(self, batch: FetchedBatch) -> Sequence[DecodedRecord]:
        # Written out, because it runs for every event.
        allowed_sources, decoded, new = self.settings.allowed_sources, list[DecodedRecord](), tuple.__new__
        previous_ms, latest_instant = None, ""
        for record in batch.records:
            # Only the broker's clock counts. Without its time (the topic is not as `init` makes it), no claim is too
            # far ahead, and delays are counted from here.
            if is_appended_by_broker(record):
                broker_ms: int | None = record.timestamp
                appended_ms = record.timestamp
            else:
                broker_ms, appended_ms = None, int(self.clock.now() * 1000)
            headers, value, digest = record.headers, record.value, None
            outcome = decode(headers, value)
            if isinstance(outcome, Event):
                if broker_ms is not None and broker_ms != previous_ms:
                    previous_ms, latest_instant = broker_ms, latest_acceptable_instant(broker_ms)
                instant = outcome.time if outcome.recorded_time is None else outcome.recorded_time
                if allowed_sources or instant > latest_instant:
                    outcome = check_acceptable(outcome, broker_ms, allowed_sources)
                if isinstance(outcome, Event):
                    digest = outcome.digest()
            fields = record.topic, record.partition, record.offset, appended_ms, headers, value, outcome, digest
            # The constructor of the named tuple takes twice as long.
            decoded.append(new(DecodedRecord, fields))
        return decoded

    async def _publish_dead_letters(self, rejected: Sequence[RejectedRecord]) -> None:
        await self.produce(
            self.settings.dead_letters_topic,
            [
                (dead_letter_key(*record[:3]), *dead_letter_content(*record[:3], record.headers, record.value, reason))
                for record, reason in rejected
            ],
        )

    async def _publish_signals(self, changes: Sequence[ProgrammeChange]) -> None:
        await self.produce(
            self.settings.programmes_topic,
            [
                (name.encode(), msgspec.json.encode(Signal(revision, appended_ms)), [])
                for name, revision, appended_ms in changes
            ],
        )

    def _update_metrics(self, committed: _CommittedBatch) -> None:
        metrics, (result, record_count, started_at, committed_at) = self.metrics, committed
        metrics.batch_seconds.observe(committed_at - started_at)
        metrics.batch_events.observe(record_count)
        types: Counter[tuple[str, str]] = Counter()
        sources: Counter[tuple[str | None, str]] = Counter()
        tolerated: Counter[Oddity] = Counter()
        unknown: Counter[tuple[str, str]] = Counter()
        newest: dict[str, int] = {}
        delays: Counter[float] = Counter()
        for outcome, records in (("accepted", result.accepted), ("duplicate", result.duplicates)):
            # Records that were appended together usually have the same labels.
            for labels, count in Counter(map(_event_labels, records)).items():
                appended_ms, source, event_type, oddities, unknown_fields = labels
                types[outcome, event_type] += count
                sources[source, outcome] += count
                tolerated.update(dict.fromkeys(oddities, count))
                unknown.update(dict.fromkeys(((source, path) for path in unknown_fields), count))
                newest[source] = max(appended_ms, newest.get(source, appended_ms))
                if outcome == "accepted":
                    delays[committed_at - appended_ms / 1000] += count
        for record, rejection in result.rejected:
            types["rejected", rejection.type] += 1
            sources[rejection.source, "rejected"] += 1
            metrics.rejected.labels(rejection.reason.value).inc()
            self.rejection_log.log(dead_letter_key(*record[:3]).decode(), rejection.reason.value, rejection.detail)
        metrics.event_delay.observe_all(delays)
        for outcome_and_type, count in types.items():
            metrics.events.labels(*outcome_and_type).inc(count)
        for oddity, count in tolerated.items():
            metrics.tolerated.labels(oddity.value).inc(count)
        for source, appended_ms in newest.items():
            metrics.source_seen(source, appended_ms / 1000)
        for (source_or_none, outcome), count in sources.items():
            metrics.count_source_events(source_or_none, outcome, count)
        for (source, path), count in unknown.items():
            metrics.count_unknown_fields(source, path, count)


#: The values of an event that are counted.
_event_labels: Final = attrgetter(
    "appended_ms", "outcome.source", "outcome.data.TYPE", "outcome.oddities", "outcome.unknown_fields"
)


def _log_revoked(batch: FetchedBatch) -> None:
    logger.info("%s was revoked; the worker that has its partitions now reads it again", batch)
