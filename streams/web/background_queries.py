"""Queries that take longer than anybody waits for a page: all that was ever said of a large programme.

They run one after another in a thread of their own, and together take at most half a core beside recording. Who asks
waits a moment, and is then told to ask again: the calculation goes on, and what comes of it is kept for that.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from models.database.engine import is_unreachable
from models.text import one_line
from streams.web.errors import TooManyRequests
from streams.web.picture_limit import Deadline, WorkBudget

logger = logging.getLogger("milepost.web")

#: After this time a calculation is given up.
MAX_SECONDS: Final = 60.0
#: How long who asks waits for the answer.
PATIENCE_SECONDS: Final = 1.5
#: Calculations that may wait for their turn.
_MAX_WAITING: Final = 8
_RETRY_SECONDS: Final = 5
_TOO_LONG: Final = f"This takes longer than {MAX_SECONDS:.0f} seconds, and was given up."
_BUSY: Final = "Too many long histories are asked for just now; ask again in a minute."

T = TypeVar("T")


class StillCalculating(TooManyRequests):
    """The answer is not there yet; the text says what to do."""

    def __init__(self) -> None:
        # Who was told has waited already.
        super().__init__(
            text="This is being calculated from all that was ever said of the programme, which takes a while."
            f" Ask again in {_RETRY_SECONDS} seconds.",
            pause_seconds=0.0,
            retry_seconds=_RETRY_SECONDS,
        )


class BackgroundQueries:
    """Calculates what takes long, once for all who ask for the same."""

    def __init__(self, threads: str, clock: Callable[[], float]) -> None:
        self._executor, self._clock = ThreadPoolExecutor(1, threads), clock
        self._budget, self._turn = WorkBudget(clock), asyncio.Lock()
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def close(self) -> None:
        """Stop the thread."""
        for task in self._tasks.values():
            task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, key: Hashable, work: Callable[[Deadline], T], keep: Callable[[T], None]) -> T:
        """Return what a function returns, which is called with its deadline in the thread; `keep` takes it as well.

        Calls with the same key share one calculation. Raises `StillCalculating` when that takes longer than a moment,
        and `TooManyRequests` when too many others wait.
        """
        if (task := self._tasks.get(key)) is None:
            if len(self._tasks) > _MAX_WAITING:
                raise TooManyRequests(text=_BUSY)
            task = self._tasks[key] = asyncio.create_task(self._calculate(work, keep))
            task.add_done_callback(lambda done: self._end(key, done))
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not done:
            raise StillCalculating
        result: T = task.result()
        return result

    async def _calculate(self, work: Callable[[Deadline], T], keep: Callable[[T], None]) -> T:
        async with self._turn:
            while (seconds := self._budget.wait_seconds()) > 0:  # noqa: ASYNC110 - it waits for time to pass
                await asyncio.sleep(seconds)
            started = self._clock()
            try:
                deadline = Deadline(started + MAX_SECONDS, self._clock, _TOO_LONG)
                result = await asyncio.get_running_loop().run_in_executor(self._executor, work, deadline)
            finally:
                self._budget.spend(self._clock() - started)
        keep(result)
        return result

    def _end(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever asked may have been told to come back. An outage is logged by what asks again and again.
            level = logging.DEBUG if is_unreachable(error) else logging.WARNING
            reason = error.text if isinstance(error, TooManyRequests) else one_line(error)
            logger.log(level, "what takes long could not be calculated: %s", reason)
