"""The transactional outbox: publishes the rows of the history that are not published yet to the topic `changes`.

A forecast change is committed with its history row before anything is published, and the row is marked as published
only after the broker acknowledged it. If a worker dies in between, whoever recalculates the programme next publishes
the row. Publishing runs beside the recalculation, so that the milestones' pages never wait for it, and the changes of
several recalculations are sent together.

Changes by events of long ago wait until no more of them come, and are merged (`models.database.past_steps`): whoever
loads a past tells how each milestone stands, not each step of its past.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple

from mode import Service
from sqlalchemy import Engine

from models.database.engine import read_transaction, write_transaction
from models.database.forecasts import mark_published, read_unpublished
from models.database.past_steps import is_past, merge_past_steps
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.forecast_changes import HistoryRow, encode_changes
from models.domain.timestamps import Stamp
from models.failpoints import hit_failpoint
from streams.clock import Clock
from streams.kafka.producer import OutgoingRecord, Produce
from streams.retry import RevokedError, retry_until_done
from streams.watched_service import WatchedService

#: How many rows are read and published at once: bounds memory when a backlog changed tens of thousands.
_ROWS_PER_PUBLISH: Final = 1000
#: The shortest time between two rounds: under a steady flow, publishing each change by itself would cost as much as
#: calculating it.
PUBLISH_INTERVAL_SECONDS: Final = 0.1
#: For so long nothing more of a past came when it is told; and so long after its beginning it is told in any case.
PAST_QUIET_SECONDS: Final = 5.0
PAST_MAX_SECONDS: Final = 60.0


class _Hold(NamedTuple):
    """When the first and the last of a programme's changes that are not told yet were noticed."""

    began: float
    last: float

    @property
    def due(self) -> float:
        return min(self.last + PAST_QUIET_SECONDS, self.began + PAST_MAX_SECONDS)


class OutboxPublisher(WatchedService):
    """Publishes changes at least once, and those of a programme in order."""

    def __init__(self, engine: Engine, topic: str, produce: Produce, clock: Clock) -> None:
        super().__init__()
        self._engine, self._topic, self._produce, self._clock = engine, topic, produce, clock
        self._executor = ThreadPoolExecutor(1, "outbox")
        #: Programmes to publish now.
        self._pending: set[str] = set()
        #: Those of which a past is being loaded.
        self._held: dict[str, _Hold] = {}
        #: Those of either that may have steps to merge.
        self._to_merge: set[str] = set()
        self._wakeup = asyncio.Event()

    def wake(self, newest_causes: Mapping[str, Stamp | None]) -> None:
        """Have the changes of some programmes published soon, or as soon as the past of which they are is loaded.

        With each programme comes the newest event behind its new changes; None: there are only old ones.
        """
        now = self._clock.now()
        for name, cause in newest_causes.items():
            held = self._held.get(name)
            has_past = cause is not None and is_past(cause, round(now * 1000))
            if has_past or cause is None:
                self._to_merge.add(name)
            if has_past and name not in self._pending:
                self._held[name] = _Hold(now if held is None else held.began, now)
            elif cause is not None or held is None:
                self._held.pop(name, None)
                self._pending.add(name)
        self._wakeup.set()

    @Service.task
    async def _publish_forever(self) -> None:
        while not self.should_stop:
            next_due = min((hold.due for hold in self._held.values()), default=None)
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._wakeup.wait(), None if next_due is None else max(next_due - self._clock.now(), 0.0)
                )
            self._wakeup.clear()
            names, merged = self._take_due()
            if not names:
                continue
            try:
                await retry_until_done(
                    "publishing changes",
                    lambda: self._publish(names, merged),  # noqa: B023 - awaited here and now
                    lambda: not self.should_stop,
                )
            except RevokedError:
                return
            await self.sleep(PUBLISH_INTERVAL_SECONDS)

    def _take_due(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the programmes to publish now, and those of them whose steps are to be merged before."""
        now = self._clock.now()
        for name in [name for name, hold in self._held.items() if hold.due <= now]:
            del self._held[name]
            self._pending.add(name)
        names, self._pending = self._pending, set()
        merged = self._to_merge & names
        self._to_merge -= merged
        return sorted(names), sorted(merged)

    async def _publish(self, programmes: Sequence[str], merged: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        for name in merged:
            await loop.run_in_executor(self._executor, self._merge_past_steps, name)
        while rows := await loop.run_in_executor(self._executor, self._read_unpublished, programmes):
            events: list[OutgoingRecord] = [
                (row.programme.encode(), event, [*STRUCTURED_HEADERS]) for row in rows for event in encode_changes(row)
            ]
            hit_failpoint("before-publish")
            await self._produce(self._topic, events)
            hit_failpoint("after-publish")
            await loop.run_in_executor(self._executor, self._mark_published, rows)

    def _merge_past_steps(self, programme: str) -> None:
        with write_transaction(self._engine) as connection:
            merge_past_steps(connection, programme)

    def _read_unpublished(self, programmes: Sequence[str]) -> list[HistoryRow]:
        with read_transaction(self._engine) as connection:
            return read_unpublished(connection, programmes, _ROWS_PER_PUBLISH)

    def _mark_published(self, rows: Sequence[HistoryRow]) -> None:
        with write_transaction(self._engine) as connection:
            mark_published(connection, {row.programme: row.number for row in rows})
