"""The `forecast` agent: recalculates the programmes that changed, and renders them for `/metrics/milestones`.

1. The signals of a batch collapse to one recalculation of each programme: `projector` loads the claims, computes the
   schedule, and writes the rows that differ.
2. The programme is rendered and put into the metrics store.
3. If its history has changes that are not published yet, `streams.outbox` is woken.

A programme belongs to the worker that has its partition of `programmes`, whatever key its events had, so that one
worker exposes all its series. Signals are hints: a *sweep* on every assignment and every half minute finds the
programmes that changed without one (a worker that died between commit and signal), and those calculated yesterday.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Final, cast

import msgspec
from aiokafka.partitioner import murmur2
from faust import Stream
from faust.types import TP, StreamT

from models.database.projector import ForecastResult, Projector
from models.database.recorder import Recorder
from models.settings import Settings
from streams.agents.record import Signal
from streams.clock import Clock
from streams.kafka.transport import BatchSource, FetchedBatch
from streams.metrics.pipeline import Metrics
from streams.metrics.store import MetricsStore, RenderedProgramme
from streams.outbox import OutboxPublisher
from streams.retry import RevokedError, retry_until_done, sleep_while

logger = logging.getLogger("milepost.forecast")

#: How many programmes are loaded at once: bounds memory when thousands changed.
_PROGRAMMES_PER_CHUNK: Final = 10
#: The pause between recalculations while there is a backlog, as a multiple of the time that the last one took: a
#: backlog changes every programme with every batch, and recalculating competes with recording for the GIL.
_BACKLOG_PAUSE_FACTOR: Final = 19
#: How old a schedule may become, at most, for the sake of a backlog of events.
MAX_BACKLOG_PAUSE_SECONDS: Final = 60.0
#: How soon the end of the backlog is noticed.
_BACKLOG_CHECK_SECONDS: Final = 0.2

_decode_signal = msgspec.json.Decoder(Signal).decode


def partition_of(programme: str, partition_count: int) -> int:
    """Return the partition of `programmes` that a programme's signals go to: Kafka's default partitioner."""
    hashed: int = murmur2(programme.encode())
    return (hashed & 0x7FFFFFFF) % partition_count


@dataclass(eq=False, kw_only=True)
class ForecastAgent:
    """Recalculates and renders the programmes of this worker."""

    recorder: Recorder
    metrics: Metrics
    metrics_store: MetricsStore
    settings: Settings
    clock: Clock
    source: BatchSource
    outbox: OutboxPublisher
    is_catching_up: Callable[[], bool]
    executor: Executor = field(default_factory=partial(ThreadPoolExecutor, 2, "forecast"))
    _assigned_partitions: frozenset[int] = field(default=frozenset(), init=False)
    #: The agent and the sweep take turns, so that neither recalculates what the other is about to.
    _recalculation_lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    #: Until when nothing is recalculated while there is a backlog.
    _paused_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._projector = Projector(self.recorder.engine)

    def is_responsible_for(self, programme: str) -> bool:
        """Return whether a programme's partition is assigned to this worker."""
        return partition_of(programme, self.settings.partitions) in self._assigned_partitions

    def assign(self, partitions: Iterable[TP]) -> None:
        """Take over the programmes of the assigned partitions, and drop all others."""
        topic = self.settings.programmes_topic
        self._assigned_partitions = frozenset(tp.partition for tp in partitions if tp.topic == topic)
        self.metrics.assignments.inc()
        self.metrics_store.retain(self.is_responsible_for)

    async def process_stream(self, stream: StreamT[FetchedBatch]) -> None:
        """Recalculate the programmes that the signals of a stream name."""
        # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's `ack`.
        async for event in cast("Stream[FetchedBatch]", stream).noack().events():
            await self.process_batch(event.value)
            event.ack()

    async def process_batch(self, batch: FetchedBatch) -> None:
        """Recalculate the programmes that a batch of signals names."""
        append_times: dict[str, list[int]] = {}
        for record in batch.records:
            name = (record.key or b"").decode("utf-8", "replace")
            try:
                append_times.setdefault(name, []).append(_decode_signal(record.value or b"").appended_ms)
            except msgspec.DecodeError as error:
                logger.warning("%s:%s:%s is no signal: %s", record.topic, record.partition, record.offset, error)
        is_active = partial(self.source.is_current, batch)
        try:
            while self._is_paused():
                await sleep_while(_BACKLOG_CHECK_SECONDS, is_active)
            await retry_until_done(
                "recalculating changed programmes", lambda: self._recalculate(list(append_times)), is_active
            )
        except RevokedError:
            return
        now, rendered = self.clock.now(), self.metrics_store.programme_names
        self.metrics.forecast_delay.observe_all(
            Counter(now - time_ms / 1000 for name in append_times.keys() & rendered for time_ms in append_times[name])
        )
        batch.is_done = True

    def _is_paused(self) -> bool:
        return self.is_catching_up() and self.clock.now() < self._paused_until

    async def sweep(self) -> None:
        """Recalculate every programme of this worker that is out of date, and drop those that no longer exist."""
        started_at, rendered = self.clock.now(), self.metrics_store.programme_names
        loop = asyncio.get_running_loop()
        revisions = await loop.run_in_executor(self.executor, self.recorder.read_revisions)
        # A programme that was rendered only since then may be newer than the answer.
        deleted = rendered - revisions.keys()
        self.metrics_store.retain(lambda name: name not in deleted)
        assigned = {name: revision for name, revision in revisions.items() if self.is_responsible_for(name)}
        outdated = self.metrics_store.outdated_programmes(assigned, self.clock.today())
        if self._is_paused():
            # The pause is for what is rendered already; a new programme does not wait for it.
            await self._recalculate([name for name in outdated if name not in rendered])
            return
        await self._recalculate(outdated)
        self.metrics.forecasts_current.set(started_at)

    async def _recalculate(self, programmes: Sequence[str]) -> None:
        """Recalculate programmes off the event loop, a few at a time."""
        loop, now = asyncio.get_running_loop(), self.clock.now
        async with self._recalculation_lock:
            first_started_at = now()
            for start in range(0, len(programmes), _PROGRAMMES_PER_CHUNK):
                chunk = [*filter(self.is_responsible_for, programmes[start : start + _PROGRAMMES_PER_CHUNK])]
                if not chunk:
                    continue
                started_at = now()
                results = await loop.run_in_executor(
                    self.executor, self._recalculate_and_render, chunk, self.clock.today(), int(started_at * 1000)
                )
                # One may have gone to another worker meanwhile.
                self.metrics_store.put(*(show for result, show in results if self.is_responsible_for(result.programme)))
                self.metrics.forecast_seconds.observe(now() - started_at)
                self.outbox.wake([result.programme for result, _ in results if result.has_unpublished])
            # Recalculating new programmes during a pause, or a sweep that found nothing, does not end the pause.
            ended_at = now()
            pause = min(_BACKLOG_PAUSE_FACTOR * (ended_at - first_started_at), MAX_BACKLOG_PAUSE_SECONDS)
            self._paused_until = max(self._paused_until, ended_at + pause)

    def _recalculate_and_render(
        self, programmes: Sequence[str], today: date, now_ms: int
    ) -> list[tuple[ForecastResult, RenderedProgramme]]:
        self._projector.retain(self.is_responsible_for)
        results = self._projector.recalculate(programmes, today, now_ms)
        for result in results:
            for key in result.unexplained:
                logger.error("%s moved, and no event moves it: `milepost rebuild --diff` shows why", "/".join(key))
        return [(result, self.metrics_store.render(result)) for result in results]
