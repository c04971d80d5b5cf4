"""The `forecast` agent: a programme that changed is drawn anew and shown in `/metrics/milestones`.

A backlog of signals collapses to one pass a programme. A programme belongs to the worker that has its partition of
`programmes`, whatever key its events came under, so its series stand on one worker. Signals are hints: a *sweep*
on every assignment and every half minute finds what changed without one (a worker that died between commit and
signal), and what is of yesterday.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import date
from typing import Any, Final, cast

import msgspec
from aiokafka.partitioner import murmur2
from faust import Stream
from faust.types import TP, StreamT
from mode import Service

from models.milestones import Facts
from models.schedule import picture
from models.store import Store
from streams.exposition import Rendered, render
from streams.health import Health
from streams.metrics import Metrics
from streams.patience import GivenUpError, until_done, wait_while
from streams.record import Signal
from streams.shelf import Shelf
from streams.transport import Delivery

logger = logging.getLogger("milepost.forecast")

#: How many programmes are read at once: bounds memory when thousands changed.
_AT_ONCE: Final = 10
#: How old a picture may become, at most, for the sake of a backlog of events.
LONGEST_REST_SECONDS: Final = 5.0

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
        topic: str,
        executor: Executor,
        *,
        partitions: int,
        clock: Callable[[], float],
        today: Callable[[], date],
        is_ours: Callable[[Delivery], bool],
        is_catching_up: Callable[[], bool],
    ) -> None:
        self._store, self._metrics, self._shelf, self._topic = store, metrics, shelf, topic
        self._executor, self._partitions, self._clock, self._today = executor, partitions, clock, today
        self._is_ours, self._is_catching_up = is_ours, is_catching_up
        self._owned: frozenset[int] = frozenset()
        self._drawing = asyncio.Lock()
        self._last_draw_seconds = 0.0

    def owns(self, programme: str) -> bool:
        """Return whether a programme's partition is assigned to this worker."""
        return partition_of(programme, self._partitions) in self._owned

    def own(self, assigned: Iterable[TP]) -> None:
        """Take over the programmes of the assigned partitions, and take down all others."""
        self._owned = frozenset(tp.partition for tp in assigned if tp.topic == self._topic)
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
            if self._is_catching_up():
                # A backlog changes every programme with every batch: draw a tenth of the time, record the rest.
                await wait_while(min(9 * self._last_draw_seconds, LONGEST_REST_SECONDS), is_ours)
            began = self._clock()
            await until_done("drawing what changed", lambda: self._draw(list(appended)), is_ours)
            self._last_draw_seconds = self._clock() - began
        except GivenUpError:
            return
        now = self._clock()
        shown = self._shelf.names
        self._metrics.forecast_delay.observe_all(
            now - moment / 1000 for name, moments in appended.items() if name in shown for moment in moments
        )
        delivery.done = True

    async def sweep(self) -> None:
        """Draw every programme of ours that is not shown as it is today."""
        loop = asyncio.get_running_loop()
        revisions = await loop.run_in_executor(self._executor, self._store.revisions)
        ours = {name: revision for name, revision in revisions.items() if self.owns(name)}
        await self._draw(self._shelf.behind(ours, self._today()))

    async def _draw(self, names: Sequence[str]) -> None:
        """Draw programmes, off the event loop, a few at a time."""
        loop = asyncio.get_running_loop()
        async with self._drawing:
            for start in range(0, len(names), _AT_ONCE):
                chunk = [name for name in names[start : start + _AT_ONCE] if self.owns(name)]
                if not chunk:
                    continue
                began, day = self._clock(), self._today()
                facts, revisions = await loop.run_in_executor(self._executor, self._store.facts, chunk)
                for name, of_one in split(facts, revisions):
                    room = self._shelf.room_for(name)
                    rendered = await loop.run_in_executor(self._executor, _render, name, of_one, day, room)
                    if self.owns(name):  # it may have gone to another worker meanwhile
                        self._shelf.put(name, revisions[name], day, rendered)
                self._metrics.forecast_seconds.observe(self._clock() - began)


def _render(name: str, facts: Facts, day: date, room: int) -> Rendered:
    return render(name, facts, picture(facts, day), room)


class Sweeper(Service):
    """Looks, on every assignment and every so often, for programmes that changed without a signal."""

    def __init__(self, forecaster: Forecaster, health: Health, *, every: float, **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._forecaster, self._health, self._every = forecaster, health, every
        self._now = asyncio.Event()
        super().__init__(**options)

    async def on_assigned(self, *args: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Take over what was assigned, and look at once."""
        _app, assigned = args
        self._forecaster.own(assigned)
        logger.info("%d partitions are assigned to this worker", len(assigned))
        self._health.joined, self._health.drawn = True, False
        self.soon()

    def soon(self) -> None:
        """Look as soon as it can be done."""
        self._now.set()

    @Service.task
    async def _sweep_again_and_again(self) -> None:
        while not self.should_stop:
            self._now.clear()
            if self._health.joined:
                await self._sweep()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._every)

    async def _sweep(self) -> None:
        def is_ours() -> bool:
            return not self.should_stop and not self._now.is_set()

        with suppress(GivenUpError):
            await until_done("sweeping the programmes", self._forecaster.sweep, is_ours)
            self._health.drawn = True


def split(facts: Facts, names: Iterable[str]) -> Iterator[tuple[str, Facts]]:
    """Split the facts of several programmes into those of each."""
    of: dict[str, Facts] = {name: Facts() for name in names}
    for name, programme in facts.programmes.items():
        of[name].programmes[name] = programme
    for project, known in facts.projects.items():
        of[project.programme].projects[project] = known
    for site in facts.sites:
        of[site.programme].sites.add(site)
    for milestone, claims in facts.milestones.items():
        of[milestone.programme].milestones[milestone] = claims
    for dependency, said in facts.dependencies.items():
        of[dependency.programme].dependencies[dependency] = said
    yield from of.items()
