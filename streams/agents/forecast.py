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
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import islice
from typing import Final, cast

import msgspec
from aiokafka.partitioner import murmur2
from faust import Stream
from faust.types import TP, StreamT

from models.database.projector import ForecastResult, Projector
from models.database.recorder import Recorder
from models.database.slip_causes import SlipCauseReader
from models.settings import Settings
from streams.agents.record import Signal
from streams.clock import Clock
from streams.kafka.transport import BatchSource, FetchedBatch
from streams.metrics.pipeline import Metrics
from streams.metrics.store import MetricsStore, RenderedProgramme
from streams.outbox import OutboxPublisher
from streams.retry import RevokedError, retry_until_done, sleep_while

logger = logging.getLogger("milepost.forecast")

#: How many programmes are loaded at once: bounds memory when thousands changed. More where they are small: up to what
#: takes so many seconds, for which all others wait. What is signalled has the turn for as long.
_PROGRAMMES_PER_CHUNK: Final = 10
_MAX_PROGRAMMES_PER_CHUNK: Final = 500
_CHUNK_SECONDS: Final = 0.2
#: On a machine that is busy with other things, a chunk may take so many times as long: each costs the same whatever it
#: holds, and if it held less and less, nothing would come of the little processor time there is.
_MAX_SLOWDOWN: Final = 4
#: How many programmes may wait that are not exposed yet. The sweep finds others.
_MAX_NEWCOMERS: Final = 20_000
#: The pause between recalculations while there is a backlog, as a multiple of the processor time of the last one: a
#: backlog changes every programme with every batch, and recalculating competes with recording for the GIL. Not of the
#: time on the clock: on a busy machine, that would keep a small programme waiting for half a minute.
_BACKLOG_PAUSE_FACTOR: Final = 19
#: How old a schedule may become, at most, for the sake of a backlog of events.
MAX_BACKLOG_PAUSE_SECONDS: Final = 60.0
#: How soon the end of the backlog is noticed.
_BACKLOG_CHECK_SECONDS: Final = 0.2
#: The same pause of programmes that nobody sees yet, and of the sweep, while many events are recorded: a new programme
#: takes several times as long to calculate as to record, and behind it wait the events of those that are seen.
_OTHERS_PAUSE_FACTOR: Final = 3


#: Under a steady flow, what changes meanwhile is recalculated once: a recalculation of what was signalled twice or more
#: is followed by a pause of so many times its processor time, but not beyond so long after its beginning. On a machine
#: without time to spare, what changed has waited long enough by then.
_FLOW_PAUSE_FACTOR: Final = 2
_FLOW_PERIOD_SECONDS: Final = 0.1


class _ChunkSize:
    """How many programmes to take at once: as many as others can wait for.

    Each use has its own: large programmes that are signalled must not have thousands of small new ones taken singly.
    """

    def __init__(self) -> None:
        self.count = _PROGRAMMES_PER_CHUNK

    def adapt(self, seconds: float, processor_seconds: float, count: int) -> None:
        """Note that so many programmes took so long, by the clock and of processor time."""
        size = int(count * _CHUNK_SECONDS / max(seconds / _MAX_SLOWDOWN, processor_seconds, 0.001))
        self.count = min(max(size, _PROGRAMMES_PER_CHUNK // 2), 2 * self.count, _MAX_PROGRAMMES_PER_CHUNK)


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
    is_recording_many: Callable[[], bool]
    executor: Executor = field(default_factory=partial(ThreadPoolExecutor, 2, "forecast"))
    _assigned_partitions: frozenset[int] = field(default=frozenset(), init=False)
    #: The agent and the sweep take turns, so that neither recalculates what the other is about to.
    _recalculation_lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    #: Of new programmes and the sweep one at a time asks for a turn: what is signalled waits for no more than that.
    _others_lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    #: Until when they have no turn while many events are recorded.
    _others_paused_until: float = field(default=0.0, init=False)
    #: Of which partitions the projector has programmes in its cache.
    _retained_partitions: frozenset[int] = field(default=frozenset(), init=False)
    #: Programmes that are not exposed yet, with the append times of their events.
    _newcomers: dict[str, list[int]] = field(default_factory=dict, init=False)
    _has_newcomers: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _signalled_size: _ChunkSize = field(default_factory=_ChunkSize, init=False)
    _newcomers_size: _ChunkSize = field(default_factory=_ChunkSize, init=False)
    _sweep_size: _ChunkSize = field(default_factory=_ChunkSize, init=False)
    #: Until when nothing is recalculated while there is a backlog.
    _paused_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._projector, self._slip_causes = Projector(self.recorder.engine), SlipCauseReader(self.recorder.engine)

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
        try:
            async with asyncio.TaskGroup() as tasks:
                newcomers = tasks.create_task(self._process_newcomers())
                # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's
                # `ack`.
                async for event in cast("Stream[FetchedBatch]", stream).noack().events():
                    await self.process_batch(event.value)
                    event.ack()
                newcomers.cancel()
        except BaseExceptionGroup as error:
            # As it was raised: one bug ends it.
            raise error.exceptions[0] from None

    async def process_batch(self, batch: FetchedBatch) -> None:
        """Recalculate the programmes that a batch of signals names; many new ones are left to `_process_newcomers`."""
        append_times: dict[str, list[int]] = {}
        for record in batch.records:
            name = (record.key or b"").decode("utf-8", "replace")
            try:
                append_times.setdefault(name, []).append(_decode_signal(record.value or b"").appended_ms)
            except msgspec.DecodeError as error:
                logger.warning("%s:%s:%s is no signal: %s", record.topic, record.partition, record.offset, error)
        has_flow = len(batch.records) > len(append_times)
        rendered = self.metrics_store.programme_names
        new = append_times.keys() - rendered
        if len(new) > _PROGRAMMES_PER_CHUNK:
            # They would keep those that are exposed waiting. The sweep finds what has no place here.
            for name in [*new][: _MAX_NEWCOMERS - len(self._newcomers)]:
                self._newcomers.setdefault(name, []).extend(append_times[name])
            for name in new:
                del append_times[name]
            self._has_newcomers.set()
        is_active = partial(self.source.is_current, batch)
        try:
            while self._is_paused():
                await sleep_while(_BACKLOG_CHECK_SECONDS, is_active)
            started_at = self.clock.now()
            processor_seconds = await retry_until_done(
                "recalculating changed programmes",
                lambda: self._recalculate([*append_times], self._signalled_size, is_signalled=True),
                is_active,
            )
            self._observe_delays(append_times)
            batch.is_done = True
            if has_flow:
                # The next batch is created when this one is acknowledged, of all signals that have come by then.
                left = started_at + _FLOW_PERIOD_SECONDS - self.clock.now()
                await sleep_while(min(_FLOW_PAUSE_FACTOR * processor_seconds, left), is_active)
        except RevokedError:
            return

    async def _process_newcomers(self) -> None:
        """Recalculate the programmes that are not exposed yet, a few at a time, in the order of their signals."""
        while True:
            await self._has_newcomers.wait()
            self._has_newcomers.clear()
            while self._newcomers:
                names = [*islice(self._newcomers, self._newcomers_size.count)]
                append_times = {name: self._newcomers.pop(name) for name in names}
                with suppress(RevokedError):
                    await retry_until_done(
                        "recalculating new programmes",
                        partial(self._recalculate, names, self._newcomers_size),
                        lambda names=names: any(map(self.is_responsible_for, names)),  # type: ignore[misc]
                    )
                    self._observe_delays(append_times)

    def _observe_delays(self, append_times: Mapping[str, Sequence[int]]) -> None:
        now, rendered = self.clock.now(), self.metrics_store.programme_names
        self.metrics.forecast_delay.observe_all(
            Counter(now - time_ms / 1000 for name in append_times.keys() & rendered for time_ms in append_times[name])
        )

    def _is_paused(self) -> bool:
        return self.is_catching_up() and self.clock.now() < self._paused_until

    async def sweep(self) -> None:
        """Recalculate every programme of this worker that is out of date, and drop those that no longer exist."""
        started_at, rendered = self.clock.now(), frozenset(self.metrics_store.programme_names)
        loop = asyncio.get_running_loop()
        revisions, outdated = await loop.run_in_executor(self.executor, self._find_outdated)
        # A programme that was rendered only since then may be newer than the answer.
        deleted = rendered - revisions.keys()
        self.metrics_store.retain(lambda name: name not in deleted)
        if self._is_paused():
            # The pause is for what is rendered already; a new programme does not wait for it.
            await self._recalculate([name for name in outdated if name not in rendered], self._sweep_size)
            return
        await self._recalculate(outdated, self._sweep_size)
        self.metrics.forecasts_current.set(started_at)

    def _find_outdated(self) -> tuple[dict[str, int], list[str]]:
        """Return the revision of every programme, and this worker's programmes that are out of date.

        Not on the event loop: of very many programmes, it would hold up all else for a second.
        """
        revisions = self.recorder.read_revisions()
        assigned = {name: revision for name, revision in revisions.items() if self.is_responsible_for(name)}
        return revisions, self.metrics_store.outdated_programmes(assigned, self.clock.today())

    async def _recalculate(self, programmes: Sequence[str], size: _ChunkSize, *, is_signalled: bool = False) -> float:
        """Recalculate programmes off the event loop, a few at a time; others take their turn in between.

        Returns the processor time that it took, in seconds.
        """
        now, seconds, start = self.clock.now, 0.0, 0
        while start < len(programmes):
            async with self._turn(is_signalled=is_signalled):
                turn_ends = now() + (_CHUNK_SECONDS if is_signalled else 0)
                while start < len(programmes):
                    count = size.count
                    chunk = [*filter(self.is_responsible_for, programmes[start : start + count])]
                    start += count
                    if chunk:
                        processor_seconds = await self._recalculate_chunk(chunk, size)
                        seconds += processor_seconds
                        if not is_signalled:
                            self._others_paused_until = now() + _OTHERS_PAUSE_FACTOR * processor_seconds
                    if now() >= turn_ends:
                        break
        if is_signalled and programmes:
            pause = min(_BACKLOG_PAUSE_FACTOR * seconds, MAX_BACKLOG_PAUSE_SECONDS)
            self._paused_until = max(self._paused_until, now() + pause)
        return seconds

    @asynccontextmanager
    async def _turn(self, *, is_signalled: bool) -> AsyncIterator[None]:
        """Have the turn to recalculate until the block ends; what is not signalled gives way to recording before."""
        async with AsyncExitStack() as stack:
            if not is_signalled:
                await stack.enter_async_context(self._others_lock)
                # The pause ends early when nothing is left to give way to.
                with suppress(RevokedError):
                    await sleep_while(self._others_paused_until - self.clock.now(), self.is_recording_many)
            await stack.enter_async_context(self._recalculation_lock)
            yield

    async def _recalculate_chunk(self, chunk: Sequence[str], size: _ChunkSize) -> float:
        """Recalculate and expose some programmes; return the processor time that it took, in seconds."""
        started_at = self.clock.now()
        results, rendered, processor_seconds = await asyncio.get_running_loop().run_in_executor(
            self.executor, self._recalculate_and_render, chunk, self.clock.today(), int(started_at * 1000)
        )
        # One may have gone to another worker meanwhile.
        self.metrics_store.put(*(item for item in rendered if self.is_responsible_for(item.name)))
        took = self.clock.now() - started_at
        self.metrics.forecast_seconds.observe(took)
        self.outbox.wake({result.programme: result.newest_cause for result in results if result.has_unpublished})
        size.adapt(took, processor_seconds, len(chunk))
        return processor_seconds

    def _recalculate_and_render(
        self, programmes: Sequence[str], today: date, now_ms: int
    ) -> tuple[list[ForecastResult], list[RenderedProgramme], float]:
        """Return the results, what is rendered of them, and the processor time of both."""
        began = time.thread_time()
        if self._retained_partitions != self._assigned_partitions:
            self._retained_partitions = self._assigned_partitions
            self._projector.retain(self.is_responsible_for)
        results = self._projector.recalculate(programmes, today, now_ms)
        for result in results:
            for key in result.unexplained:
                logger.error("%s moved, and no event moves it: `milepost rebuild --diff` shows why", "/".join(key))
        causes = self._slip_causes.read(results)
        rendered = [self.metrics_store.render(result, causes) for result in results]
        return results, self.metrics_store.fit(rendered), time.thread_time() - began
