"""The sweep: on every assignment and at an interval, finds the programmes that changed without a signal."""

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Any

from mode import Service

from streams.agents.forecast import ForecastAgent
from streams.monitoring.health import Health
from streams.retry import RevokedError, retry_until_done
from streams.watched_service import WatchedService

logger = logging.getLogger("milepost.forecast")


class Sweeper(WatchedService):
    """Has the forecast agent sweep on every assignment, when `requested` is set, and after every interval."""

    def __init__(
        self, forecast_agent: ForecastAgent, health: Health, requested: asyncio.Event, interval: float
    ) -> None:
        super().__init__()
        self._forecast_agent, self._health, self._requested, self._interval = (
            forecast_agent,
            health,
            requested,
            interval,
        )

    async def on_assigned(self, *args: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Take over the assigned partitions, and sweep at once."""
        _app, assigned = args
        self._forecast_agent.assign(assigned)
        logger.info("%d partitions are assigned to this worker", len(assigned))
        self._health.has_joined, self._health.has_initial_forecasts = True, False
        self._health.assigned_partitions = frozenset(assigned)
        self._requested.set()

    @Service.task
    async def _sweep_forever(self) -> None:
        while not self.should_stop:
            self._requested.clear()
            if self._health.has_joined:
                await self._sweep_once()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), self._interval)

    async def _sweep_once(self) -> None:
        def is_active() -> bool:
            return not self.should_stop and not self._requested.is_set()

        with suppress(RevokedError):
            await retry_until_done("sweeping the programmes", self._forecast_agent.sweep, is_active)
            if not self._health.has_initial_forecasts:
                self._health.has_initial_forecasts = True
                # The schedules stay in memory: the collector need not look at all of them again and again.
                gc.freeze()
