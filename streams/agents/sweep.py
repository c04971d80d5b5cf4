"""The `forecast` agent: a programme that changed is drawn anew, shown in `/metrics/milestones`, and told of.

1. A backlog of signals collapses to one drawing a programme: `projector` reads, schedules, writes what differs.
2. What was drawn is rendered and put on the shelf.
3. If its history has changes that are not published yet, `streams.outbox` is told so.

A programme belongs to the worker that has its partition of `programmes`, whatever key its events came under, so its
series stand on one worker. Signals are hints: a *sweep* on every assignment and every half minute finds what changed
without one (a worker that died between commit and signal), and what is of yesterday.
"""

import asyncio
import gc
from contextlib import suppress
from typing import Any

from mode import Service

from streams.agents.forecast import Forecaster, logger
from streams.monitoring.health import Health
from streams.retry import GivenUpError, until_done


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
        self._health.assigned = frozenset(assigned)
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
            if not self._health.drawn:
                self._health.drawn = True
                # What was drawn stays: the collector need not look at all of it again and again.
                gc.freeze()
