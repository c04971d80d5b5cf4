"""A worker that makes no progress ends itself, so that its supervisor starts another.

Progress is numbers by name: the position of a partition that has unread records, the count of a rebalance under way,
the heartbeats of the event loop. A number that stays the same for too long is a stall. Time counts only from one
observation to the next, and only so much of it: observations are made while Kafka and the database both answer, and a
process that was stopped as a whole is not to blame for the time that it lost.

Positions and rebalances are observed by `streams.monitoring.lag`, which has a consumer of its own; the event loop is
watched from a thread.
"""

import asyncio
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streams.monitoring.health import Health
from streams.monitoring.thread_stacks import format_thread_stacks

logger = logging.getLogger("milepost.watchdog")

#: The exit status of a worker that made no progress.
EX_STALLED: Final = 70
#: How long logging the stacks may take.
TRACEBACK_TIMEOUT_SECONDS: Final = 5.0
_EVENT_LOOP: Final = "the event loop"

#: What has to make progress: a number by name, another one whenever it did.
Progress = Mapping[str, int]
#: The last number of each, and for how many seconds it has been the same.
StallTimes = Mapping[str, tuple[int, float]]


def advance(stall_times: StallTimes, progress: Progress, elapsed: float) -> StallTimes:
    """Return the stall times after an observation, so many seconds after the one before."""
    return {
        name: (
            number,
            stall_times[name][1] + elapsed if name in stall_times and stall_times[name][0] == number else 0.0,
        )
        for name, number in progress.items()
    }


def describe_stall(stall_times: StallTimes, limit: float) -> str | None:
    """Return in one line what made no progress for the limit in seconds; None when everything did."""
    names = sorted(name for name, (_, seconds) in stall_times.items() if seconds >= limit)
    return f"{', '.join(names)} did not move for {limit:g} s" if names else None


class Watchdog:
    """Makes `/live` fail when something makes no progress, and then ends the process."""

    def __init__(
        self,
        health: Health,
        limit: float,
        *,
        max_elapsed: float,
        event_loops: Callable[[], Iterable[asyncio.AbstractEventLoop]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the limit in seconds, how many of them one observation counts at most, and the loops to dump."""
        self._health, self._limit, self._clock, self._event_loops = health, limit, clock, event_loops
        # A stall takes more than two observations, however far apart they are.
        self._max_elapsed = min(max_elapsed, limit / 3)
        self._check_interval = min(1.0, limit / 4)
        self._stall_times: StallTimes = {}
        self._observed_at = clock()
        self._heartbeats = 0
        self._stopped = threading.Event()

    def observe(self, progress: Progress) -> None:
        """Take what has to make progress; nothing when that is unknown, or Kafka or the database is down."""
        now = self._clock()
        self._stall_times = advance(self._stall_times, progress, min(now - self._observed_at, self._max_elapsed))
        self._observed_at = now
        if (reason := describe_stall(self._stall_times, self._limit)) is not None:
            self._health.stall_reason = reason

    def reset(self) -> None:
        """Count from 0: an attempt ended, if only with a transient error, and a worker that retries does not stall."""
        self._stall_times = {}

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start to watch an event loop from a thread."""
        threading.Thread(target=self._watch, args=[loop], name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching: the worker stops, which has a deadline of its own."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        stall_times: StallTimes = {}
        observed_at = self._clock()
        while not self._stopped.is_set():
            try:
                loop.call_soon_threadsafe(self._heartbeat)
            except RuntimeError:
                return  # the loop is closed: the worker has stopped
            if self._stopped.wait(self._check_interval):
                return
            now = self._clock()
            elapsed = min(now - observed_at, 2 * self._check_interval)
            stall_times = advance(stall_times, {_EVENT_LOOP: self._heartbeats}, elapsed)
            observed_at = now
            if self._health.stall_reason is None:
                self._health.stall_reason = describe_stall(stall_times, self._limit)
            elif not self._stopped.is_set():
                # `/live` has failed for one round by now.
                self._terminate(self._health.stall_reason)

    def _heartbeat(self) -> None:
        self._heartbeats += 1

    def _terminate(self, reason: str) -> None:
        # What hangs may hold the log's lock: the process ends in any case.
        timer = threading.Timer(TRACEBACK_TIMEOUT_SECONDS, os._exit, [EX_STALLED])
        timer.daemon = True
        timer.start()
        logger.critical(
            "the worker is stuck: %s; it ends, and the positions in the database say where to go on\n%s\n%s",
            reason,
            self._format_tasks(),
            format_thread_stacks(),
        )
        os._exit(EX_STALLED)

    def _format_tasks(self) -> str:
        stacks = io.StringIO()
        for loop in self._event_loops():
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=stacks)
        return stacks.getvalue()
