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

from models.database.projector import Drawn, Forecasts
from models.database.recorder import Store
from models.settings import Settings
from streams.agents.record import Signal
from streams.kafka.transport import Delivery
from streams.metrics.pipeline import Metrics
from streams.metrics.store import Shelf, Shown
from streams.retry import GivenUpError, until_done, wait_while

logger = logging.getLogger("milepost.forecast")

#: How many programmes are read at once: bounds memory when thousands changed.
_AT_ONCE: Final = 10
#: How long what was drawn rests while there is a backlog, as a multiple of what drawing it took: a backlog changes
#: every programme with every batch, and who draws and who records take the interpreter from each other.
_REST: Final = 19
#: How old a picture may become, at most, for the sake of a backlog of events.
LONGEST_REST_SECONDS: Final = 60.0
#: How soon it is noticed that the backlog is over.
_LOOKS_AGAIN_SECONDS: Final = 0.2

T = TypeVar("T")

_read_signal = msgspec.json.Decoder(Signal).decode


def partition_of(programme: str, partitions: int) -> int:
    """Return the partition of `programmes` that a programme's signals go to: Kafka's default partitioner."""
    hashed: int = murmur2(programme.encode())
    return (hashed & 0x7FFFFFFF) % partitions


class Forecaster:
    """What the agent does with signals, and what it sweeps."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        store: Store,
        metrics: Metrics,
        shelf: Shelf,
        settings: Settings,
        executor: Executor,
        *,
        clock: Callable[[], float],
        today: Callable[[], date],
        is_ours: Callable[[Delivery], bool],
        is_catching_up: Callable[[], bool],
        tell: Callable[[Sequence[str]], None],
    ) -> None:
        self._store, self._forecasts = store, Forecasts(store.engine)
        self._metrics, self._shelf, self._settings = metrics, shelf, settings
        self._executor, self._clock, self._today = executor, clock, today
        self._is_ours, self._is_catching_up, self._tell = is_ours, is_catching_up, tell
        self._owned: frozenset[int] = frozenset()
        # The agent and the sweep take turns, so that neither draws what the other is about to.
        self._drawing = asyncio.Lock()
        #: Until when what is shown may stay as it is while a backlog is recorded.
        self._rests_until = 0.0

    def owns(self, programme: str) -> bool:
        """Return whether a programme's partition is assigned to this worker."""
        return partition_of(programme, self._settings.partitions) in self._owned

    def own(self, assigned: Iterable[TP]) -> None:
        """Take over the programmes of the assigned partitions, and take down all others."""
        topic = self._settings.programmes_topic
        self._owned = frozenset(tp.partition for tp in assigned if tp.topic == topic)
        self._metrics.assignments.inc()
        self._shelf.keep(self.owns)

    async def agent(self, stream: StreamT[Delivery]) -> None:
        """Draw what the signals of a stream name."""
        # Acknowledged by hand: Faust's compiled streams write into its own book-keeping, past the transport's `ack`.
        async for event in cast("Stream[Delivery]", stream).noack().events():
            await self.take(event.value)
            event.ack()

    async def take(self, delivery: Delivery) -> None:
        """Draw the programmes that a delivery of signals names."""
        appended: dict[str, list[int]] = {}
        for record in delivery.records:
            name = (record.key or b"").decode("utf-8", "replace")
            try:
                appended.setdefault(name, []).append(_read_signal(record.value or b"").appended_ms)
            except msgspec.DecodeError as error:
                logger.warning("%s:%s:%s is no signal: %s", record.topic, record.partition, record.offset, error)

        def is_ours() -> bool:
            return self._is_ours(delivery)

        try:
            while self._is_resting():
                await wait_while(_LOOKS_AGAIN_SECONDS, is_ours)
            await until_done("drawing what changed", lambda: self._draw(list(appended)), is_ours)
        except GivenUpError:
            return
        now = self._clock()
        shown = self._shelf.names
        self._metrics.forecast_delay.observe_all(
            Counter(now - moment / 1000 for name in appended.keys() & shown for moment in appended[name])
        )
        delivery.done = True

    def _is_resting(self) -> bool:
        return self._is_catching_up() and self._clock() < self._rests_until

    async def sweep(self) -> None:
        """Draw every programme of ours that is not shown as it is today, and take down those that are no longer."""
        began, shown = self._clock(), self._shelf.names
        revisions = await self._run(self._store.revisions)
        # One that is shown only since then may be newer than the answer.
        gone = shown - revisions.keys()
        self._shelf.keep(lambda name: name not in gone)
        ours = {name: revision for name, revision in revisions.items() if self.owns(name)}
        behind = self._shelf.behind(ours, self._today())
        if self._is_resting():
            # What is shown rests; what is not shown yet is not to wait for it.
            await self._draw([name for name in behind if name not in shown])
            return
        await self._draw(behind)
        self._metrics.forecasts_current.set(began)

    async def _draw(self, names: Sequence[str]) -> None:
        """Draw programmes, off the event loop, a few at a time."""
        async with self._drawing:
            first = self._clock()
            for start in range(0, len(names), _AT_ONCE):
                chunk = [name for name in names[start : start + _AT_ONCE] if self.owns(name)]
                if not chunk:
                    continue
                began = self._clock()
                done = await self._run(self._draw_now, chunk, self._today(), int(began * 1000))
                for drawn, shown in done:
                    if self.owns(drawn.programme):  # it may have gone to another worker meanwhile
                        self._shelf.put(drawn.programme, shown)
                self._metrics.forecast_seconds.observe(self._clock() - began)
                self._tell([drawn.programme for drawn, _ in done if drawn.is_untold])
            now = self._clock()
            # What is drawn while others rest, or a look that found nothing to draw, does not wake them.
            self._rests_until = max(self._rests_until, now + min(_REST * (now - first), LONGEST_REST_SECONDS))

    def _draw_now(self, names: Sequence[str], day: date, now_ms: int) -> list[tuple[Drawn, Shown]]:
        self._forecasts.forget(self.owns)
        done = self._forecasts.draw(names, day, now_ms)
        for drawn in done:
            for key in drawn.unexplained:
                logger.error("%s moved, and no event moves it: `milepost rebuild --diff` shows why", "/".join(key))
        return [(drawn, self._shelf.render(drawn)) for drawn in done]

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)
