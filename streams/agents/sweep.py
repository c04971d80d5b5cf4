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

from streams.agents.forecast import ForecastAgent, logger
from streams.monitoring.health import Health
from streams.retry import RevokedError, retry_until_done


class Sweeper(Service):
    """Looks, on every assignment and every so often, for programmes that changed without a signal."""

    def __init__(self, forecast_agent: ForecastAgent, health: Health, *, interval: float, **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._forecast_agent, self._health, self._interval = forecast_agent, health, interval
        self._sweep_requested = asyncio.Event()
        super().__init__(**options)

    async def on_assigned(self, *args: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Take over what was assigned, and look at once."""
        _app, assigned = args
        self._forecast_agent.assign(assigned)
        logger.info("%d partitions are assigned to this worker", len(assigned))
        self._health.has_joined, self._health.has_initial_forecasts = True, False
        self._health.assigned_partitions = frozenset(assigned)
        self.request_sweep()

    def request_sweep(self) -> None:
        """Look as soon as it can be done."""
        self._sweep_requested.set()

    @Service.task
    async def _sweep_forever(self) -> None:
        while not self.should_stop:
            self._sweep_requested.clear()
            if self._health.has_joined:
                await self._sweep_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sweep_requested.wait(), self._interval)

    async def _sweep_once(self) -> None:
        def is_active() -> bool:
            return not self.should_stop and not self._sweep_requested.is_set()

        with suppress(RevokedError):
            await retry_until_done("sweeping the programmes", self._forecast_agent.sweep, is_active)
            if not self._health.has_initial_forecasts:
                self._health.has_initial_forecasts = True
                # What was drawn stays: the collector need not look at all of it again and again.
                gc.freeze()
