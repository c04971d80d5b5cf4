"""The transactional outbox: publishes the rows of the history that are not published yet to the topic `changes`.

A forecast change is committed with its history row before anything is published, and the row is marked as published
only after the broker acknowledged it. If a worker dies in between, whoever recalculates the programme next publishes
the row. Publishing runs beside the recalculation, so that the milestones' pages never wait for it, and the changes of
several recalculations are sent together.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mode import Service
from sqlalchemy import Engine

from models.database.engine import read_transaction, write_transaction
from models.database.forecasts import mark_published, read_unpublished
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.forecast_changes import HistoryRow, encode_changes
from models.failpoints import hit_failpoint
from streams.kafka.producer import OutgoingRecord, Produce
from streams.retry import RevokedError, retry_until_done

#: How many rows are read and published at once: bounds memory when a backlog changed tens of thousands.
_ROWS_PER_PUBLISH: Final = 1000
#: The shortest time between two rounds: under a steady flow, publishing each change by itself would cost as much as
#: calculating it.
PUBLISH_INTERVAL_SECONDS: Final = 0.1


class OutboxPublisher(Service):
    """Publishes changes at least once, and those of a programme in order."""

    def __init__(self, engine: Engine, topic: str, produce: Produce) -> None:
        super().__init__()
        self._engine, self._topic, self._produce = engine, topic, produce
        self._executor = ThreadPoolExecutor(1, "outbox")
        self._pending: set[str] = set()
        self._wakeup = asyncio.Event()

    def wake(self, programmes: Iterable[str]) -> None:
        """Have the changes of some programmes published soon."""
        self._pending.update(programmes)
        if self._pending:
            self._wakeup.set()

    @Service.task
    async def _publish_forever(self) -> None:
        while not self.should_stop:
            await self._wakeup.wait()
            self._wakeup.clear()
            names, self._pending = sorted(self._pending), set()
            try:
                await retry_until_done("publishing changes", lambda: self._publish(names), lambda: not self.should_stop)  # noqa: B023 - awaited here and now
            except RevokedError:
                return
            await self.sleep(PUBLISH_INTERVAL_SECONDS)

    async def _publish(self, programmes: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        while rows := await loop.run_in_executor(self._executor, self._read_unpublished, programmes):
            events: list[OutgoingRecord] = [
                (row.programme.encode(), event, [*STRUCTURED_HEADERS]) for row in rows for event in encode_changes(row)
            ]
            hit_failpoint("before-publish")
            await self._produce(self._topic, events)
            hit_failpoint("after-publish")
            await loop.run_in_executor(self._executor, self._mark_published, rows)

    def _read_unpublished(self, programmes: Sequence[str]) -> list[HistoryRow]:
        with read_transaction(self._engine) as connection:
            return read_unpublished(connection, programmes, _ROWS_PER_PUBLISH)

    def _mark_published(self, rows: Sequence[HistoryRow]) -> None:
        with write_transaction(self._engine) as connection:
            mark_published(connection, {row.programme: row.number for row in rows})
