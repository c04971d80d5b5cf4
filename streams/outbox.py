"""Telling changes: what the history of programmes has that was not published goes to the topic `changes`.

The history is in the database before anything is told, and says what was told only once the broker has it: a worker
that dies between the two leaves the telling to whoever draws the programme next. It is done beside drawing, so that
nobody who looks at the milestones waits for it, and what several drawings moved is published at once.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from mode import Service
from sqlalchemy import Engine

from models.database.engine import read_transaction, write_transaction
from models.database.forecasts import mark_published, read_unpublished
from models.domain.cloudevents import STRUCTURED_HEADERS
from models.domain.forecast_changes import HistoryRow, encode_changes
from models.failpoints import hit_failpoint
from streams.kafka.producer import OutgoingRecord, Produce
from streams.retry import RevokedError, retry_until_done

#: How many rows are read and published at once: bounds memory when a backlog moved tens of thousands.
_ROWS_PER_PUBLISH: Final = 1000
#: How long a change may wait for others to be told with it: under a steady flow, telling each by itself would cost
#: as much as drawing it.
PUBLISH_INTERVAL_SECONDS: Final = 0.1

T = TypeVar("T")


class OutboxPublisher(Service):
    """Publishes changes, at least once and each programme's in order."""

    def __init__(self, engine: Engine, topic: str, produce: Produce, executor: Executor, **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._engine, self._topic, self._produce, self._executor = engine, topic, produce, executor
        self._pending: set[str] = set()
        self._wakeup = asyncio.Event()
        super().__init__(**options)

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
        while noted := await self._run_in_executor(self._read_unpublished, programmes):
            events: list[OutgoingRecord] = [
                (row.programme.encode(), event, [*STRUCTURED_HEADERS]) for row in noted for event in encode_changes(row)
            ]
            hit_failpoint("before-telling")
            await self._produce(self._topic, events)
            hit_failpoint("after-telling")
            await self._run_in_executor(self._mark_published, noted)

    def _read_unpublished(self, programmes: Sequence[str]) -> list[HistoryRow]:
        with read_transaction(self._engine) as connection:
            return read_unpublished(connection, programmes, _ROWS_PER_PUBLISH)

    def _mark_published(self, rows: Sequence[HistoryRow]) -> None:
        with write_transaction(self._engine) as connection:
            mark_published(connection, {row.programme: row.number for row in rows})

    async def _run_in_executor(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
