"""Limits the answers that show another picture than the present, which cost much and repeat seldom.

Two are calculated at once, each for five seconds at most, in threads of their own. Both together have a budget of work:
some seconds at once for a person who looks around, and half a core for whoever asks for ever new days. So these take
neither the threads of the present pages nor the core of recording.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from streams.web.errors import TooManyRequests
from streams.web.guard import ConcurrencyLimit

MAX_PICTURES: Final = 2
MAX_SECONDS: Final = 5.0
#: Requests that may wait for their turn, and how long each does.
_MAX_WAITING: Final = 8
_MAX_WAIT_SECONDS: Final = 2.0
#: After which a client is refused: however often each of a crowd asks, few of them are answered at once.
_PAUSE_SECONDS: Final = 3.0
#: Seconds of work that may be done at once, and for each second that passes.
_BURST_SECONDS: Final = 2.0
_WORK_SHARE: Final = 0.5
_BUSY: Final = "Other days are asked for too often just now; the present is there at once."
_TOO_LONG: Final = f"This takes longer than {MAX_SECONDS:.0f} seconds, and was given up."

T = TypeVar("T")


class Deadline(NamedTuple):
    """Until when something may take."""

    at: float
    clock: Callable[[], float]
    #: What the client is told after it.
    text: str

    @property
    def seconds_left(self) -> float:
        """The time until the deadline."""
        return self.at - self.clock()

    def check(self) -> None:
        """Raise `TooManyRequests` after the deadline."""
        if self.seconds_left <= 0:
            raise TooManyRequests(text=self.text)


class Turn(NamedTuple):
    """The permission to calculate a picture until a deadline."""

    executor: ThreadPoolExecutor
    deadline: Deadline


#: Of the request that is being answered; None for the present picture.
current_turn: ContextVar[Turn | None] = ContextVar("current_turn", default=None)


class WorkBudget:
    """Seconds of work that may be done: a few at once, then a share of the time that passes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._spent, self._spent_at = clock, 0.0, clock()

    def spend(self, seconds: float) -> None:
        """Count work that was done."""
        self._spent, self._spent_at = self._unpaid() + seconds, self._clock()

    def wait_seconds(self) -> float:
        """Return how long to wait before more work may be done; not positive: none."""
        return (self._unpaid() - _BURST_SECONDS) / _WORK_SHARE

    def _unpaid(self) -> float:
        return max(0.0, self._spent - (self._clock() - self._spent_at) * _WORK_SHARE)


class PictureLimit:
    """Calculates pictures, a few at once and each for a few seconds."""

    def __init__(self, threads: str, clock: Callable[[], float]) -> None:
        self._executor, self._clock = ThreadPoolExecutor(MAX_PICTURES, threads), clock
        self._turns, self._budget = asyncio.Semaphore(MAX_PICTURES), WorkBudget(clock)
        self._waiting = ConcurrencyLimit(_MAX_WAITING, _BUSY)

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, answer: Callable[[], Awaitable[T]]) -> T:
        """Return an answer; raises `TooManyRequests` when it takes too long, or too many are asked for."""
        try:
            with self._waiting:
                async with asyncio.timeout(_MAX_WAIT_SECONDS):
                    await self._acquire_turn()
        except (TimeoutError, TooManyRequests):
            raise TooManyRequests(text=_BUSY, pause_seconds=_PAUSE_SECONDS) from None
        # A thread cannot be stopped: the turn ends when its work does, even if nobody waits for the answer any more.
        task = asyncio.ensure_future(self._take_turn(answer))
        done, _ = await asyncio.wait([task], timeout=MAX_SECONDS)
        if not done:
            task.add_done_callback(_forget_error)
            raise TooManyRequests(text=_TOO_LONG)
        return task.result()

    async def _acquire_turn(self) -> None:
        await self._turns.acquire()
        try:
            while (seconds := self._budget.wait_seconds()) > 0:  # noqa: ASYNC110 - it waits for time to pass
                await asyncio.sleep(seconds)
        except BaseException:
            self._turns.release()
            raise

    async def _take_turn(self, answer: Callable[[], Awaitable[T]]) -> T:
        started = self._clock()
        current_turn.set(Turn(self._executor, Deadline(started + MAX_SECONDS, self._clock, _TOO_LONG)))
        try:
            return await answer()
        finally:
            self._budget.spend(self._clock() - started)
            self._turns.release()


def _forget_error(task: asyncio.Future[T]) -> None:
    # The client was told already.
    if not task.cancelled():
        task.exception()
