"""The `forecast` agent: a programme that changed is drawn anew, shown in `/metrics/milestones`, and told of.

1. A backlog of signals collapses to one drawing a programme: `projector` reads, schedules, writes what differs.
2. What was drawn is rendered and put on the shelf.
3. If its history has changes that are not published yet, `streams.outbox` is told so.

A programme belongs to the worker that has its partition of `programmes`, whatever key its events came under, so its
series stand on one worker. Signals are hints: a *sweep* on every assignment and every half minute finds what changed
without one (a worker that died between commit and signal), and what is of yesterday.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from datetime import date
from typing import Final, TypeVar, cast

import msgspec
from aiokafka.partitioner import murmur2
from faust import Stream
from faust.types import TP, StreamT

from models.database.projector import ForecastResult, Projector
from models.database.recorder import Recorder
from models.settings import Settings
from streams.agents.record import Signal
from streams.kafka.transport import FetchedBatch
from streams.metrics.pipeline import Metrics
from streams.metrics.store import MetricsStore, RenderedProgramme
from streams.retry import RevokedError, retry_until_done, sleep_while

logger = logging.getLogger("milepost.forecast")

#: How many programmes are read at once: bounds memory when thousands changed.
_PROGRAMMES_PER_CHUNK: Final = 10
#: How long what was drawn rests while there is a backlog, as a multiple of what drawing it took: a backlog changes
#: every programme with every batch, and who draws and who records take the interpreter from each other.
_BACKLOG_PAUSE_FACTOR: Final = 19
#: How old a picture may become, at most, for the sake of a backlog of events.
MAX_BACKLOG_PAUSE_SECONDS: Final = 60.0
#: How soon it is noticed that the backlog is over.
_BACKLOG_CHECK_SECONDS: Final = 0.2

T = TypeVar("T")

_decode_signal = msgspec.json.Decoder(Signal).decode


def partition_of(programme: str, partition_count: int) -> int:
    """Return the partition of `programmes` that a programme's signals go to: Kafka's default partitioner."""
    hashed: int = murmur2(programme.encode())
    return (hashed & 0x7FFFFFFF) % partition_count


class ForecastAgent:
    """What the agent does with signals, and what it sweeps."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        recorder: Recorder,
        metrics: Metrics,
        metrics_store: MetricsStore,
        settings: Settings,
        executor: Executor,
        *,
        clock: Callable[[], float],
        today: Callable[[], date],
        is_assigned: Callable[[FetchedBatch], bool],
        is_catching_up: Callable[[], bool],
        wake_outbox: Callable[[Sequence[str]], None],
    ) -> None:
        self._recorder, self._projector = recorder, Projector(recorder.engine)
        self._metrics, self._metrics_store, self._settings = metrics, metrics_store, settings
        self._executor, self._clock, self._today = executor, clock, today
        self._is_assigned, self._is_catching_up, self._wake_outbox = is_assigned, is_catching_up, wake_outbox
        self._assigned_partitions: frozenset[int] = frozenset()
        # The agent and the sweep take turns, so that neither draws what the other is about to.
        self._recalculation_lock = asyncio.Lock()
        #: Until when what is shown may stay as it is while a backlog is recorded.
        self._paused_until = 0.0

    def is_responsible_for(self, programme: str) -> bool:
        """Return whether a programme's partition is assigned to this worker."""
        return partition_of(programme, self._settings.partitions) in self._assigned_partitions

    def assign(self, partitions: Iterable[TP]) -> None:
        """Take over the programmes of the assigned partitions, and take down all others."""
        topic = self._settings.programmes_topic
        self._assigned_partitions = frozenset(tp.partition for tp in partitions if tp.topic == topic)
        self._metrics.assignments.inc()
        self._metrics_store.retain(self.is_responsible_for)

    async def process_stream(self, stream: StreamT[FetchedBatch]) -> None:
        """Draw what the signals of a stream name."""
        # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's `ack`.
        async for event in cast("Stream[FetchedBatch]", stream).noack().events():
            await self.process_batch(event.value)
            event.ack()

    async def process_batch(self, batch: FetchedBatch) -> None:
        """Draw the programmes that a delivery of signals names."""
        appended: dict[str, list[int]] = {}
        for record in batch.records:
            name = (record.key or b"").decode("utf-8", "replace")
            try:
                appended.setdefault(name, []).append(_decode_signal(record.value or b"").appended_ms)
            except msgspec.DecodeError as error:
                logger.warning("%s:%s:%s is no signal: %s", record.topic, record.partition, record.offset, error)

        def is_active() -> bool:
            return self._is_assigned(batch)

        try:
            while self._is_paused():
                await sleep_while(_BACKLOG_CHECK_SECONDS, is_active)
            await retry_until_done("drawing what changed", lambda: self._recalculate(list(appended)), is_active)
        except RevokedError:
            return
        now = self._clock()
        shown = self._metrics_store.programme_names
        self._metrics.forecast_delay.observe_all(
            Counter(now - moment / 1000 for name in appended.keys() & shown for moment in appended[name])
        )
        batch.is_done = True

    def _is_paused(self) -> bool:
        return self._is_catching_up() and self._clock() < self._paused_until

    async def sweep(self) -> None:
        """Draw every programme of ours that is not shown as it is today, and take down those that are no longer."""
        began, shown = self._clock(), self._metrics_store.programme_names
        revisions = await self._run_in_executor(self._recorder.read_revisions)
        # One that is shown only since then may be newer than the answer.
        gone = shown - revisions.keys()
        self._metrics_store.retain(lambda name: name not in gone)
        ours = {name: revision for name, revision in revisions.items() if self.is_responsible_for(name)}
        behind = self._metrics_store.outdated_programmes(ours, self._today())
        if self._is_paused():
            # What is shown rests; what is not shown yet is not to wait for it.
            await self._recalculate([name for name in behind if name not in shown])
            return
        await self._recalculate(behind)
        self._metrics.forecasts_current.set(began)

    async def _recalculate(self, programmes: Sequence[str]) -> None:
        """Draw programmes, off the event loop, a few at a time."""
        async with self._recalculation_lock:
            first = self._clock()
            for start in range(0, len(programmes), _PROGRAMMES_PER_CHUNK):
                chunk = [
                    name for name in programmes[start : start + _PROGRAMMES_PER_CHUNK] if self.is_responsible_for(name)
                ]
                if not chunk:
                    continue
                began = self._clock()
                done = await self._run_in_executor(
                    self._recalculate_and_render, chunk, self._today(), int(began * 1000)
                )
                for drawn, shown in done:
                    if self.is_responsible_for(drawn.programme):  # it may have gone to another worker meanwhile
                        self._metrics_store.put(drawn.programme, shown)
                self._metrics.forecast_seconds.observe(self._clock() - began)
                self._wake_outbox([drawn.programme for drawn, _ in done if drawn.has_unpublished])
            now = self._clock()
            # What is drawn while others rest, or a look that found nothing to draw, does not wake them.
            self._paused_until = max(
                self._paused_until, now + min(_BACKLOG_PAUSE_FACTOR * (now - first), MAX_BACKLOG_PAUSE_SECONDS)
            )

    def _recalculate_and_render(
        self, programmes: Sequence[str], today: date, now_ms: int
    ) -> list[tuple[ForecastResult, RenderedProgramme]]:
        self._projector.retain(self.is_responsible_for)
        done = self._projector.recalculate(programmes, today, now_ms)
        for drawn in done:
            for key in drawn.unexplained:
                logger.error("%s moved, and no event moves it: `milepost rebuild --diff` shows why", "/".join(key))
        return [(drawn, self._metrics_store.render(drawn)) for drawn in done]

    async def _run_in_executor(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
