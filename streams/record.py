"""The `record` agent: a delivery of events becomes one transaction, then a signal.

1. Decode every record; a record that is no event becomes a rejection, a value like any other. Not while the database
   has the delivery before: two threads that both want to run Python take from each other more than is won.
2. Write it all in one transaction, `models.store`: ledger, winning claims, positions. Rejected events are
   acknowledged by the dead-letters topic before the transaction commits.
3. Tell `programmes` which programmes changed.
4. Only then is the delivery done, and its offsets may be committed.

What passes (no connection, a deadlock, a broker away) is tried again, for ever, as long as the partitions are ours.
Anything else is a bug: it leaves the agent and ends the process; the positions say where to go on.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, cast

import msgspec
from faust import Stream
from faust.types import StreamT
from sqlalchemy.exc import SQLAlchemyError

from models.admission import admit
from models.envelope import decode
from models.events import Oddity, Rejection
from models.failpoints import failpoint
from models.ledger import Entry, Rejected
from models.settings import Settings
from models.store import Batch, Change, Recorded, Store
from streams.consumer_thread import Record
from streams.health import Health
from streams.metrics import Metrics
from streams.patience import GivenUpError, passes, until_done
from streams.producing import Produce
from streams.rejection_log import RejectionLog
from streams.transport import Delivery

logger = logging.getLogger("milepost.record")

#: How long the dead-letters topic may take to acknowledge while a transaction waits for it.
DEAD_LETTER_SECONDS: Final = 10.0
#: How long after a delivery of a backlog there is still one: not every one of them is told by its size.
_BACKLOG_SECONDS: Final = 1.0


class Signal(msgspec.Struct, frozen=True):
    """What is said on `programmes`: this programme changed."""

    revision: int
    appended_ms: int


class Recorder:
    """What the agent does with a delivery."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        store: Store,
        metrics: Metrics,
        health: Health,
        settings: Settings,
        produce: Produce,
        executor: Executor,
        *,
        clock: Callable[[], float],
        is_ours: Callable[[Delivery], bool],
        read_again: Callable[[], None],
        sweep: Callable[[], None],
        alive: Callable[[], None],
    ) -> None:
        self._store, self._metrics, self._health, self._settings = store, metrics, health, settings
        self._produce, self._executor, self._clock = produce, executor, clock
        self._is_ours, self._read_again, self._sweep, self._alive = is_ours, read_again, sweep, alive
        #: Until when there is taken to be a backlog.
        self._catches_up_until = -math.inf
        self._rejections = RejectionLog(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))

    @property
    def is_catching_up(self) -> bool:
        """Whether there is a backlog: a delivery of one is in hand, or was a moment ago."""
        return self._clock() < self._catches_up_until

    async def agent(self, stream: StreamT[Delivery]) -> None:
        """Record every delivery of a stream."""
        # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's `ack`.
        async for event in cast("Stream[Delivery]", stream).noack().events():
            if event.value.is_backlog:
                self._catches_up_until = math.inf
            await self.take(event.value)
            if event.value.is_backlog:
                self._catches_up_until = self._clock() + _BACKLOG_SECONDS
            event.ack()

    async def take(self, delivery: Delivery) -> None:
        """Record one delivery; when this returns without `done`, others do what is left of it."""
        loop = asyncio.get_running_loop()

        def is_ours() -> bool:
            return self._is_ours(delivery)

        tries = 0

        async def write() -> Recorded:
            nonlocal tries
            tries += 1
            try:
                recorded = await loop.run_in_executor(self._executor, self._write, delivery, loop)
            except Exception as error:
                if passes(error):
                    self._alive()
                    if isinstance(error, SQLAlchemyError):
                        self._health.database_answers = False
                raise
            self._health.database_answers = True
            return recorded

        async def tell() -> None:
            await self._signal(recorded.changes)
            failpoint("after-signal")

        try:
            recorded = await until_done(f"recording {_where(delivery)}", write, is_ours)
            await until_done("telling which programmes changed", tell, is_ours)
        except GivenUpError:
            logger.info("%s is no longer ours; whoever has it now reads it again", _where(delivery))
            return
        if tries > 1:
            # A try whose connection broke in its commit may have been one: recorded, and nobody told.
            self._sweep()
        if recorded.stale:
            logger.warning("the database's positions lie before %s; reading again from there", _where(delivery))
            self._read_again()
            return
        delivery.done = True

    def _write(self, delivery: Delivery, loop: asyncio.AbstractEventLoop) -> Recorded:
        """Decode and commit, in a thread of its own."""

        def reject(rejected: Sequence[Rejected]) -> None:
            sending = asyncio.run_coroutine_threadsafe(self._bury(rejected), loop)
            try:
                sending.result(DEAD_LETTER_SECONDS)
            finally:
                sending.cancel()
            failpoint("after-dead-letter")

        began = self._clock()
        entries = [self._read(record) for record in delivery.records]
        recorded = self._store.record(Batch(delivery.spans, entries), reject)
        loop.call_soon_threadsafe(self._count, recorded, entries, began, self._clock())
        return recorded

    def _read(self, record: Record) -> Entry:
        # A record of the oldest format has no time; it was appended before now, which is all that matters.
        appended_ms = record.timestamp if record.timestamp >= 0 else int(self._clock() * 1000)
        outcome = decode(record.headers, record.value)
        if not isinstance(outcome, Rejection):
            outcome = admit(outcome, appended_ms, self._settings.allowed_sources)
        return Entry(record.topic, record.partition, record.offset, appended_ms, record.headers, record.value, outcome)

    async def _bury(self, rejected: Sequence[Rejected]) -> None:
        await self._produce(
            self._settings.dead_letters_topic,
            [(dead_letter_key(entry), entry.value, dead_letter_headers(entry, why)) for entry, why in rejected],
        )

    async def _signal(self, changes: Sequence[Change]) -> None:
        await self._produce(
            self._settings.programmes_topic,
            [
                (name.encode(), msgspec.json.encode(Signal(revision, appended_ms)), [])
                for name, revision, appended_ms in changes
            ],
        )

    def _count(self, recorded: Recorded, entries: Sequence[Entry], began: float, committed: float) -> None:
        metrics = self._metrics
        metrics.batch_seconds.observe(committed - began)
        metrics.batch_events.observe(len(entries))
        for outcome, some in (("accepted", recorded.accepted), ("duplicate", recorded.duplicates)):
            for event_type, count in Counter(entry.outcome.type for entry in some).items():
                metrics.events.labels(outcome, event_type).inc(count)
        known = [*recorded.accepted, *recorded.duplicates]
        heard: dict[str, int] = {}
        for entry in known:
            source = entry.outcome.source or ""
            heard[source] = max(entry.appended_ms, heard.get(source, entry.appended_ms))
        for source, appended_ms in heard.items():
            metrics.heard(source, appended_ms / 1000)
        for oddity, count in Counter(oddity for entry in known for oddity in _oddities_of(entry)).items():
            metrics.tolerated.labels(oddity.value).inc(count)
        for entry, why in recorded.rejected:
            metrics.events.labels("rejected", why.type).inc()
            metrics.rejected.labels(why.reason.value).inc()
            self._rejections.note(dead_letter_key(entry).decode(), why.reason.value, why.detail)
        if not recorded.stale:
            refused = {(entry.topic, entry.partition, entry.offset) for entry, _ in recorded.rejected}
            metrics.judged(
                (entry.outcome.source, (entry.topic, entry.partition, entry.offset) in refused) for entry in entries
            )
        metrics.event_delay.observe_all(committed - entry.appended_ms / 1000 for entry in recorded.accepted)


def _oddities_of(entry: Entry) -> Sequence[Oddity]:
    return () if isinstance(entry.outcome, Rejection) else entry.outcome.oddities


def dead_letter_key(entry: Entry) -> bytes:
    """Return where a record came from: a repeat replaces itself in the compacted topic."""
    return f"{entry.topic}:{entry.partition}:{entry.offset}".encode()


def dead_letter_headers(entry: Entry, why: Rejection) -> list[tuple[str, bytes | None]]:
    """Return the original headers and ours: contract, section 3."""
    ours = {
        "milepost-reason": why.reason.value,
        "milepost-detail": why.detail,
        "milepost-topic": entry.topic,
        "milepost-partition": str(entry.partition),
        "milepost-offset": str(entry.offset),
    }
    if why.source:
        ours["milepost-source"] = why.source
    # A replayed dead letter that fails again may carry ours already: the newest say what is true.
    kept = [(name, value) for name, value in entry.headers if name not in ours and name != "milepost-source"]
    return [*kept, *((name, text.encode("utf-8", "replace")) for name, text in ours.items())]


def _where(delivery: Delivery) -> str:
    return ", ".join(f"{span.topic}:{span.partition}:{span.start}-{span.end - 1}" for span in delivery.spans)
