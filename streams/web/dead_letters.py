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

KEPT_SECONDS: Final = 10.0
#: How far back from the end of the topic is looked.
OFFSETS: Final = 200
#: Returns what so many offsets at the end of the topic hold, the newest first.
ReadNewest = Callable[[int], Sequence[DeadLetter]]


class Letters(NamedTuple):
    """What the end of the topic of dead letters holds, the newest first."""

    letters: Sequence[DeadLetter]
    #: Why they cannot be told, in one sentence; empty when they can.
    unknown: str = ""


class LetterBox:
    """Reads them."""

    def __init__(self, read_newest: ReadNewest, clock: Callable[[], float] = time.monotonic) -> None:
        self._read_newest, self._clock = read_newest, clock
        self._executor = ThreadPoolExecutor(1, "letters")
        self._found, self._read_at = Letters(()), float("-inf")
        self._reading = asyncio.Lock()

    def close(self) -> None:
        """Read no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def newest(self) -> Letters:
        """Return them."""
        async with self._reading:
            if self._clock() - self._read_at >= KEPT_SECONDS:
                self._found = await asyncio.get_running_loop().run_in_executor(self._executor, self._read)
                self._read_at = self._clock()
        return self._found

    def _read(self) -> Letters:
        try:
            return Letters(self._read_newest(OFFSETS))
        except MilepostError as error:
            return Letters((), str(error))
