"""How long a worker that stops still waits for Kafka: an outage must not hold up its end.

Nothing is lost by that. The positions in the database say where to go on, what is not published is published by the
worker that takes over, and the group notices after its session timeout that this one is gone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

#: For everything that is under way when the stop begins, and for the last commit of offsets.
STOP_TIMEOUT_SECONDS: Final = 1.0
#: For leaving the group, however late that is: without it, partitions are read by nobody until the session ends.
LEAVE_TIMEOUT_SECONDS: Final = 0.5
#: Before a task that goes on after it was cancelled is cancelled again.
_CANCEL_SECONDS: Final = 0.1


class StopTimeouts:
    """Ends what waits for Kafka soon after the stop began."""

    def __init__(self) -> None:
        self._waiting = set[asyncio.Timeout]()
        self._deadline: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the worker stops."""
        return self._deadline is not None

    def begin(self) -> None:
        """Begin to count; in the loop of what waits within `limit`."""
        self._deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for timeout in self._waiting:
            timeout.reschedule(asyncio.get_running_loop().time() + STOP_TIMEOUT_SECONDS)

    def seconds_left(self) -> float:
        """Return for how long something may wait; `STOP_TIMEOUT_SECONDS` while nothing stops."""
        return STOP_TIMEOUT_SECONDS if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` when the block still runs at the end of the time; without limit until the stop."""
        async with asyncio.timeout(self.seconds_left() if self.has_begun else None) as timeout:
            self._waiting.add(timeout)
            try:
                yield
            finally:
                self._waiting.discard(timeout)


async def cancel_until_done(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they have ended; how they end no longer matters.

    Those of aiokafka may take one cancellation for that of what they wait for, and go on.
    """
    ending = [*tasks]
    while running := [task for task in ending if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_SECONDS)
    for task in ending:
        # An error that nobody has asked for would be logged.
        if not task.cancelled():
            task.exception()
