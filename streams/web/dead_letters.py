"""The newest dead letters for those who look: read at most every ten seconds, in a thread of their own.

Only the end of the topic is read, so that a flood of rejected events costs a page no more than a few of them do.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from models.domain.dead_letters import DeadLetter
from models.errors import MilepostError

DEAD_LETTERS_TTL_SECONDS: Final = 10.0
#: How far back from the end of the topic is looked.
MAX_OFFSETS_READ: Final = 200
#: Returns what so many offsets at the end of the topic hold, the newest first.
ReadNewest = Callable[[int], Sequence[DeadLetter]]


class NewestDeadLetters(NamedTuple):
    """What the end of the topic of dead letters holds, the newest first."""

    dead_letters: Sequence[DeadLetter]
    #: Why they cannot be told, in one sentence; empty when they can.
    error: str = ""


class DeadLetterCache:
    """Reads them."""

    def __init__(self, read_newest: ReadNewest, clock: Callable[[], float] = time.monotonic) -> None:
        self._read_newest, self._clock = read_newest, clock
        self._executor = ThreadPoolExecutor(1, "dead-letters")
        self._cached, self._read_at = NewestDeadLetters(()), float("-inf")
        self._read_lock = asyncio.Lock()

    def close(self) -> None:
        """Read no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def newest(self) -> NewestDeadLetters:
        """Return them."""
        async with self._read_lock:
            if self._clock() - self._read_at >= DEAD_LETTERS_TTL_SECONDS:
                self._cached = await asyncio.get_running_loop().run_in_executor(self._executor, self._read)
                self._read_at = self._clock()
        return self._cached

    def _read(self) -> NewestDeadLetters:
        try:
            return NewestDeadLetters(self._read_newest(MAX_OFFSETS_READ))
        except MilepostError as error:
            return NewestDeadLetters((), str(error))
