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
EX_STALLED: Final = 70
#: How long saying what everything was doing may take.
TRACEBACK_TIMEOUT_SECONDS: Final = 5.0
_EVENT_LOOP: Final = "the event loop"

#: What ought to move: a number by name, another one whenever it moved.
Progress = Mapping[str, int]
#: The last number of everything that ought to move, and for how many seconds it has been the same.
StallTimes = Mapping[str, tuple[int, float]]


def advance(stall_times: StallTimes, progress: Progress, elapsed: float) -> StallTimes:
    """Return how things stand after a look, so many seconds after the one before."""
    return {
        name: (
            number,
            stall_times[name][1] + elapsed if name in stall_times and stall_times[name][0] == number else 0.0,
        )
        for name, number in progress.items()
    }


def describe_stall(stall_times: StallTimes, limit: float) -> str | None:
    """Return what has not moved for the limit in seconds, in one line; None when everything did."""
    names = sorted(name for name, (_, seconds) in stall_times.items() if seconds >= limit)
    return f"{', '.join(names)} did not move for {limit:g} s" if names else None


class Watchdog:
    """Told what ought to move; makes `/live` fail, and then ends the process, when something did not."""

    def __init__(
        self,
        health: Health,
        limit: float,
        *,
        max_elapsed: float,
        clock: Callable[[], float],
        event_loops: Callable[[], Iterable[asyncio.AbstractEventLoop]],
    ) -> None:
        """Give the limit in seconds, and how many of them one look counts at most."""
        self._health, self._limit, self._clock, self._event_loops = health, limit, clock, event_loops
        # More than two looks are needed for a verdict, however far apart they are.
        self._max_elapsed = min(max_elapsed, limit / 3)
        self._check_interval = min(1.0, limit / 4)
        self._stall_times: StallTimes = {}
        self._observed_at = clock()
        self._heartbeats = 0
        self._stopped = threading.Event()

    def observe(self, progress: Progress) -> None:
        """Take in what ought to move; nothing, when that cannot be told or somebody else is away."""
        now = self._clock()
        self._stall_times = advance(self._stall_times, progress, min(now - self._observed_at, self._max_elapsed))
        self._observed_at = now
        if (reason := describe_stall(self._stall_times, self._limit)) is not None:
            self._health.stall_reason = reason

    def reset(self) -> None:
        """Note that a try ended, if only with an error that passes: who waits for others is not stuck."""
        self._stall_times = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch a loop, from a thread."""
        threading.Thread(target=self._watch, args=[loop], name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more: the worker is stopping, and has a deadline for that."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        stand: StallTimes = {}
        looked = self._clock()
        while not self._stopped.is_set():
            try:
                loop.call_soon_threadsafe(self._heartbeat)
            except RuntimeError:
                return  # the loop is closed: the worker has stopped
            if self._stopped.wait(self._check_interval):
                return
            now = self._clock()
            stand = advance(stand, {_EVENT_LOOP: self._heartbeats}, min(now - looked, 2 * self._check_interval))
            looked = now
            if self._health.stall_reason is None:
                self._health.stall_reason = describe_stall(stand, self._limit)
            elif not self._stopped.is_set():
                # `/live` has said so for one round by now.
                self._terminate(self._health.stall_reason)

    def _heartbeat(self) -> None:
        self._heartbeats += 1

    def _terminate(self, reason: str) -> None:
        # What hangs may hold the log itself: it ends in any case.
        last = threading.Timer(TRACEBACK_TIMEOUT_SECONDS, os._exit, [EX_STALLED])
        last.daemon = True
        last.start()
        logger.critical(
            "the worker is stuck: %s; it ends, and the positions in the database say where to go on\n%s",
            reason,
            self._format_tasks(),
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EX_STALLED)

    def _format_tasks(self) -> str:
        said = io.StringIO()
        for loop in self._event_loops():
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=said)
        return said.getvalue()
