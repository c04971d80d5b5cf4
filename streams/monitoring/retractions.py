"""Counts the retractions whose event is not there, which may be a mistake of their publishers."""

import asyncio
from contextlib import suppress
from typing import Final

from mode import Service
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError, read_transaction
from models.database.retractions import count_unmatched_retractions
from streams.metrics.pipeline import Metrics
from streams.watched_service import WatchedService

_POLL_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 2.0


class RetractionMonitor(WatchedService):
    """Sets `milepost_retractions_unmatched`, which is the same on every worker."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        super().__init__()
        self._engine, self._metrics = engine, metrics
        self._counting: asyncio.Future[int] | None = None

    @Service.task
    async def _poll_forever(self) -> None:
        while not self.should_stop:
            # The lag monitor reports a database that is away, and stops the worker for one that cannot be used.
            with suppress(SQLAlchemyError, DatabaseError):
                self._counting = asyncio.get_running_loop().run_in_executor(None, self._count)
                self._metrics.retractions_unmatched.set(await asyncio.shield(self._counting))
            await self.sleep(_POLL_SECONDS)

    async def on_stop(self) -> None:
        """Wait for a count that is under way: its connection is to be returned before the engine is disposed of."""
        if self._counting is not None:
            await asyncio.wait([self._counting], timeout=_STOP_SECONDS)

    def _count(self) -> int:
        with read_transaction(self._engine) as connection:
            return count_unmatched_retractions(connection)
