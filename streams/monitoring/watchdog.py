"""A worker that is stuck ends itself, so that whoever runs it starts another.

What ought to move is seen as numbers by name: the position of a partition that has something to read, the count of a
rebalance under way, the beats of the event loop. One that stays the same for too long is stuck. Time counts only from
one look to the next, and only so much of it: a look is taken while Kafka and the database both answer, and a process
that was stopped as a whole is not to blame for the time it lost.

Positions and rebalances are looked at by `lag`, which asks apart from the consumer that fetches; the loop
is watched from a thread.
"""

import asyncio
import faulthandler
import io
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streams.monitoring.health import Health

logger = logging.getLogger("milepost.watchdog")

#: The exit status of a worker that was stuck.
EX_STUCK: Final = 70
#: How long saying what everything was doing may take.
LAST_WORDS_SECONDS: Final = 5.0
_LOOP: Final = "the event loop"

#: What ought to move: a number by name, another one whenever it moved.
Sight = Mapping[str, int]
#: The last number of everything that ought to move, and for how many seconds it has been the same.
Stand = Mapping[str, tuple[int, float]]


def after(stand: Stand, sight: Sight, seconds: float) -> Stand:
    """Return how things stand after a look, so many seconds after the one before."""
    return {
        name: (number, stand[name][1] + seconds if name in stand and stand[name][0] == number else 0.0)
        for name, number in sight.items()
    }


def stuck(stand: Stand, limit: float) -> str | None:
    """Return what has not moved for the limit in seconds, in one line; None when everything did."""
    names = sorted(name for name, (_, seconds) in stand.items() if seconds >= limit)
    return f"{', '.join(names)} did not move for {limit:g} s" if names else None


class Watchdog:
    """Told what ought to move; makes `/live` fail, and then ends the process, when something did not."""

    def __init__(
        self,
        health: Health,
        limit: float,
        *,
        longest: float,
        clock: Callable[[], float],
        loops: Callable[[], Iterable[asyncio.AbstractEventLoop]],
    ) -> None:
        """Give the limit in seconds, and how many of them one look counts at most."""
        self._health, self._limit, self._clock, self._loops = health, limit, clock, loops
        # More than two looks are needed for a verdict, however far apart they are.
        self._longest = min(longest, limit / 3)
        self._every = min(1.0, limit / 4)
        self._stand: Stand = {}
        self._looked = clock()
        self._beats = 0
        self._ended = threading.Event()

    def look(self, sight: Sight) -> None:
        """Take in what ought to move; nothing, when that cannot be told or somebody else is away."""
        now = self._clock()
        self._stand = after(self._stand, sight, min(now - self._looked, self._longest))
        self._looked = now
        if (reason := stuck(self._stand, self._limit)) is not None:
            self._health.stuck = reason

    def alive(self) -> None:
        """Note that a try ended, if only with an error that passes: who waits for others is not stuck."""
        self._stand = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch a loop, from a thread."""
        threading.Thread(target=self._watch, args=[loop], name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more: the worker is stopping, and has a deadline for that."""
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        stand: Stand = {}
        looked = self._clock()
        while not self._ended.is_set():
            try:
                loop.call_soon_threadsafe(self._beat)
            except RuntimeError:
                return  # the loop is closed: the worker has stopped
            if self._ended.wait(self._every):
                return
            now = self._clock()
            stand = after(stand, {_LOOP: self._beats}, min(now - looked, 2 * self._every))
            looked = now
            if self._health.stuck is None:
                self._health.stuck = stuck(stand, self._limit)
            elif not self._ended.is_set():
                # `/live` has said so for one round by now.
                self._end(self._health.stuck)

    def _beat(self) -> None:
        self._beats += 1

    def _end(self, reason: str) -> None:
        # What hangs may hold the log itself: it ends in any case.
        last = threading.Timer(LAST_WORDS_SECONDS, os._exit, [EX_STUCK])
        last.daemon = True
        last.start()
        logger.critical(
            "the worker is stuck: %s; it ends, and the positions in the database say where to go on\n%s",
            reason,
            self._tasks(),
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EX_STUCK)

    def _tasks(self) -> str:
        said = io.StringIO()
        for loop in self._loops():
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=said)
        return said.getvalue()
