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
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
from faust import Stream
from faust.types import EventT, StreamT
from sqlalchemy.exc import SQLAlchemyError

from models.database.ledger import Entry, Rejected
from models.database.recorder import Batch, Change, Recorded, Store
from models.domain.cloudevents import decode
from models.domain.events import Event, Oddity, Rejection, admit
from models.failpoints import failpoint
from models.settings import Settings
from streams.kafka.consumer_thread import Record
from streams.kafka.producer import Produce
from streams.kafka.transport import Delivery
from streams.metrics.pipeline import Metrics
from streams.monitoring.health import Health
from streams.retry import GivenUpError, passes, until_done

logger = logging.getLogger("milepost.record")

#: How many are said one by one, in so many seconds.
FIRST: Final = 20
WINDOW_SECONDS: Final = 60.0


class RejectionLog:
    """Says what was rejected, and does not repeat itself for ever."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """Give what calls a function after so many seconds."""
        self._later = later
        self._said = 0
        self._unsaid: Counter[str] = Counter()

    def note(self, key: str, reason: str, detail: str) -> None:
        """Take in a rejected event."""
        if not self._said:
            self._later(WINDOW_SECONDS, self._sum_up)
        if self._said < FIRST:
            self._said += 1
            logger.warning("rejected %s: %s: %s", key, reason, detail)
        else:
            self._unsaid[reason] += 1

    def _sum_up(self) -> None:
        if self._unsaid:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._unsaid.most_common())
            logger.warning(
                "rejected %d more events within %.0f s: %s; `milepost dead-letters list` shows them",
                self._unsaid.total(),
                WINDOW_SECONDS,
                reasons,
            )
        self._said = 0
        self._unsaid.clear()


#: How long the dead-letters topic may take to acknowledge while a transaction waits for it.
DEAD_LETTER_SECONDS: Final = 10.0
#: How long after a delivery of a backlog there is still one: not every one of them is told by its size.
_BACKLOG_SECONDS: Final = 1.0


class Signal(msgspec.Struct, frozen=True):
    """What is said on `programmes`: this programme changed."""

    revision: int
    appended_ms: int


class _Outcome(NamedTuple):
    """What came of a delivery, and when it was begun and committed, by the worker's clock."""

    recorded: Recorded
    entries: Sequence[Entry]
    began: float
    committed: float


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
        admit_next: Callable[[Delivery], None],
        read_again: Callable[[], None],
        sweep: Callable[[], None],
        alive: Callable[[], None],
    ) -> None:
        self._store, self._metrics, self._health, self._settings = store, metrics, health, settings
        self._produce, self._executor, self._clock = produce, executor, clock
        self._is_ours, self._admit_next, self._read_again = is_ours, admit_next, read_again
        self._sweep, self._alive = sweep, alive
        #: Until when there is taken to be a backlog.
        self._catches_up_until = -math.inf
        #: The newest delivery there is, until it is decoded; and one that was decoded before its turn came.
        self._upcoming: Delivery | None = None
        self._ahead: tuple[Delivery, Sequence[Entry]] | None = None
        self._rejections = RejectionLog(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))

    @property
    def is_catching_up(self) -> bool:
        """Whether there is a backlog: a delivery of one is in hand, or was a moment ago."""
        return self._clock() < self._catches_up_until

    def expect(self, delivery: Delivery) -> None:
        """Know of a delivery before its turn comes."""
        if delivery.topic == self._settings.events_topic:
            self._upcoming = delivery

    async def agent(self, stream: StreamT[Delivery]) -> None:
        """Record every delivery of a stream; what came of one is told while the next is recorded."""
        try:
            async with asyncio.TaskGroup() as telling:
                # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's
                # `ack`.
                async for event in cast("Stream[Delivery]", stream).noack().events():
                    if event.value.is_backlog:
                        self._catches_up_until = math.inf
                    outcome = await self._record(event.value)
                    self._admit_next(event.value)
                    if event.value.is_backlog:
                        self._catches_up_until = self._clock() + _BACKLOG_SECONDS
                    telling.create_task(self._finish(event, outcome))
        except BaseExceptionGroup as error:
            # As it was raised: one bug ends it.
            raise error.exceptions[0] from None

    async def _record(self, delivery: Delivery) -> _Outcome | None:
        """Write one delivery; None: it is no longer ours, and others do what is left of it."""
        loop = asyncio.get_running_loop()
        tries = 0

        async def write() -> _Outcome:
            nonlocal tries
            tries += 1
            try:
                outcome = await loop.run_in_executor(self._executor, self._write, delivery, loop)
            except Exception as error:
                if passes(error):
                    self._alive()
                    if isinstance(error, SQLAlchemyError):
                        self._health.database_answers = False
                raise
            self._health.database_answers = True
            return outcome

        try:
            outcome = await until_done(f"recording {_where(delivery)}", write, lambda: self._is_ours(delivery))
        except GivenUpError:
            _log_given_up(delivery)
            return None
        if tries > 1:
            # A try whose connection broke in its commit may have been one: recorded, and nobody told.
            self._sweep()
        if outcome.recorded.stale:
            logger.warning("the database's positions lie before %s; reading again from there", _where(delivery))
            self._read_again()
        return outcome

    async def _finish(self, event: EventT[Any], outcome: _Outcome | None) -> None:
        """Tell what came of a delivery, and have done with it."""
        delivery = cast("Delivery", event.value)
        if outcome is not None:
            self._count(outcome)

            async def tell() -> None:
                await self._signal(outcome.recorded.changes)
                failpoint("after-signal")

            try:
                await until_done("telling which programmes changed", tell, lambda: self._is_ours(delivery))
                delivery.done = not outcome.recorded.stale
            except GivenUpError:
                _log_given_up(delivery)
        event.ack()

    def _write(self, delivery: Delivery, loop: asyncio.AbstractEventLoop) -> _Outcome:
        """Decode and commit, in a thread of its own."""

        def reject(rejected: Sequence[Rejected]) -> None:
            sending = asyncio.run_coroutine_threadsafe(self._bury(rejected), loop)
            try:
                sending.result(DEAD_LETTER_SECONDS)
            finally:
                sending.cancel()
            failpoint("after-dead-letter")

        def read_ahead() -> None:
            upcoming = self._upcoming
            if upcoming is not None and upcoming is not delivery:
                self._ahead = upcoming, self._read_all(upcoming)

        began = self._clock()
        entries = self._entries_of(delivery)
        recorded = self._store.record(Batch(delivery.spans, entries), reject, read_ahead)
        return _Outcome(recorded, entries, began, self._clock())

    def _entries_of(self, delivery: Delivery) -> Sequence[Entry]:
        ahead, self._ahead = self._ahead, None
        # One that is written once more is read once more: nothing is kept of it.
        return ahead[1] if ahead is not None and ahead[0] is delivery else self._read_all(delivery)

    def _read_all(self, delivery: Delivery) -> Sequence[Entry]:
        if self._upcoming is delivery:
            self._upcoming = None
        return [self._read(record) for record in delivery.records]

    def _read(self, record: Record) -> Entry:
        # A record of the oldest format has no time; it was appended before now, which is all that matters.
        appended_ms = record.timestamp if record.timestamp >= 0 else int(self._clock() * 1000)
        outcome = decode(record.headers, record.value)
        if isinstance(outcome, Event):
            outcome = admit(outcome, appended_ms, self._settings.allowed_sources)
        digest = outcome.digest() if isinstance(outcome, Event) else None
        place = record.topic, record.partition, record.offset
        return Entry(*place, appended_ms, record.headers, record.value, outcome, digest)

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

    def _count(self, outcome: _Outcome) -> None:
        metrics, (recorded, entries, began, committed) = self._metrics, outcome
        metrics.batch_seconds.observe(committed - began)
        metrics.batch_events.observe(len(entries))
        types: Counter[tuple[str, str]] = Counter()
        tolerated: Counter[Oddity] = Counter()
        heard: dict[str, int] = {}
        delays: Counter[float] = Counter()
        for said, some in (("accepted", recorded.accepted), ("duplicate", recorded.duplicates)):
            # What was appended together is alike in all that is counted, as a rule.
            for (appended_ms, source, event_type, oddities), count in Counter(map(_alike, some)).items():
                types[said, event_type] += count
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
            metrics.heard(source, appended_ms / 1000)
        for entry, why in recorded.rejected:
            metrics.events.labels("rejected", why.type).inc()
            metrics.rejected.labels(why.reason.value).inc()
            self._rejections.note(dead_letter_key(entry).decode(), why.reason.value, why.detail)
        if not recorded.stale:
            refused = {entry[:3] for entry, _ in recorded.rejected}
            places = (entry[:3] in refused for entry in entries) if refused else repeat(object=False)
            metrics.judged(zip(map(_source, entries), places, strict=False))


_source: Final = attrgetter("outcome.source")
#: What there is to count of an event that is known.
_alike: Final = attrgetter("appended_ms", "outcome.source", "outcome.data.TYPE", "outcome.oddities")


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


def _log_given_up(delivery: Delivery) -> None:
    logger.info("%s is no longer ours; whoever has it now reads it again", _where(delivery))


def _where(delivery: Delivery) -> str:
    return ", ".join(f"{span.topic}:{span.partition}:{span.start}-{span.end - 1}" for span in delivery.spans)
