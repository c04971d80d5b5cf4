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

from models.database.engine import reading, writing
from models.database.forecasts import note_published, read_untold
from models.domain.forecast_changes import HEADERS, Noted, changes
from models.failpoints import failpoint
from streams.kafka.producer import Produce
from streams.retry import GivenUpError, until_done

#: How many rows are read and published at once: bounds memory when a backlog moved tens of thousands.
_AT_ONCE: Final = 1000
#: How long a change may wait for others to be told with it: under a steady flow, telling each by itself would cost
#: as much as drawing it.
REST_SECONDS: Final = 0.1

T = TypeVar("T")


class Teller(Service):
    """Publishes changes, at least once and each programme's in order."""

    def __init__(self, engine: Engine, topic: str, produce: Produce, executor: Executor, **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._engine, self._topic, self._produce, self._executor = engine, topic, produce, executor
        self._untold: set[str] = set()
        self._stirred = asyncio.Event()
        super().__init__(**options)

    def tell(self, programmes: Iterable[str]) -> None:
        """Have the changes of some programmes published soon."""
        self._untold.update(programmes)
        if self._untold:
            self._stirred.set()

    @Service.task
    async def _tell_again_and_again(self) -> None:
        while not self.should_stop:
            await self._stirred.wait()
            self._stirred.clear()
            names, self._untold = sorted(self._untold), set()
            try:
                await until_done("publishing changes", lambda: self._publish(names), lambda: not self.should_stop)  # noqa: B023 - awaited here and now
            except GivenUpError:
                return
            await self.sleep(REST_SECONDS)

    async def _publish(self, names: Sequence[str]) -> None:
        while noted := await self._run(self._read, names):
            events = [(row.programme.encode(), event, list(HEADERS)) for row in noted for event in changes(row)]
            failpoint("before-telling")
            await self._produce(self._topic, events)
            failpoint("after-telling")
            await self._run(self._note, noted)

    def _read(self, names: Sequence[str]) -> list[Noted]:
        with reading(self._engine) as connection:
            return read_untold(connection, names, _AT_ONCE)

    def _note(self, noted: Sequence[Noted]) -> None:
        with writing(self._engine) as connection:
            note_published(connection, {row.programme: row.number for row in noted})

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)
