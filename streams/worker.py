"""Run the application in this process until it is told to stop, or crashes.

Faust's own worker is for its command line: it redirects output, discovers modules, spins a spinner and takes a
second to close the loop. This one starts, waits and stops, and keeps a deadline of its own: Faust's graceful stop
waits without bound for what is in hand, and what is in hand may wait for a database that is away. Ending hard is
safe, because the positions say where to go on.
"""

import asyncio
import ctypes
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final

import uvloop
from mode import Service, ServiceT
from prometheus_client import disable_created_metrics

from models.database.engine import DatabaseError
from models.database.recorder import Recorder
from models.errors import MilepostError
from models.settings import Settings
from streams.app import create_app
from streams.web.server import AddRoutes

logger = logging.getLogger("milepost.worker")

#: The exit status of a worker that did not stop within its deadline.
EX_DEADLINE: Final = 75
#: From glibc's malloc.h.
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
#: How many objects more than before make the collector look, and how many looks at the young make one at the older.
#: (Python: 700, 10, 10.) A batch makes tens of thousands that go by themselves; looking at them again and again takes
#: a quarter of a worker's time.
GC_THRESHOLDS: Final = (50_000, 20, 50)


class RootService(Service):
    """What everything else hangs below: a crash anywhere is a crash here."""

    def __init__(self, services: Iterable[ServiceT], **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._services = list(services)
        super().__init__(**options)
        for part in self._services:
            part.beacon.reattach(self.beacon)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Return what is started with this, in order."""
        return self._services

    async def wait_for_crash(self) -> None:
        """Return when a part has crashed."""
        await self._crashed.wait()


class ShutdownDeadline:
    """Ends this process when it is still stopping after so many seconds, saying what every thread was doing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """Begin to count, unless it does already."""
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._terminate)
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """Count no more: it has stopped."""
        if self._timer is not None:
            self._timer.cancel()

    def _terminate(self) -> None:
        sys.stderr.write(f"milepost: not stopped within {self._seconds} s, ending; nothing is lost\n")
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EX_DEADLINE)


def limit_malloc_heaps() -> None:
    """Have glibc keep one heap and give large blocks back: a quarter less memory after a backlog.

    Its default is a heap for each thread, and the threads here hand each other what they allocate.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 64 * 1024)


def run_worker_process(
    settings: Settings, recorder: Recorder, server_socket: socket.socket, add_routes: AddRoutes | None = None
) -> int:
    """Run a worker, with further pages on its web service; return its exit status.

    Raises `MilepostError` when the worker had to stop because of something that only an operator can put right.
    """
    limit_malloc_heaps()
    gc.set_threshold(*GC_THRESHOLDS)
    # A `_created` series beside every counter doubles the page and says nothing Prometheus 2 reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot
    deadline = ShutdownDeadline(settings.stop_seconds)
    try:
        return uvloop.run(_run_until_stopped(settings, recorder, server_socket, deadline, add_routes))
    finally:
        deadline.disarm()


async def _run_until_stopped(
    settings: Settings,
    recorder: Recorder,
    server_socket: socket.socket,
    deadline: ShutdownDeadline,
    add_routes: AddRoutes | None,
) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    refusals: list[str] = []

    def request_stop() -> None:
        milepost.watchdog.stop()
        deadline.arm()
        told.set()

    def stop_with_error(message: str) -> None:
        refusals.append(message)
        request_stop()

    milepost = create_app(settings, recorder, server_socket, stop_with_error, add_routes)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, request_stop)
    milepost.app.in_worker = True
    root = RootService([*milepost.services, milepost.app], loop=loop)
    # What is loaded by now stays: the collector need not look at it again.
    gc.freeze()
    milepost.watchdog.start(loop)
    starting = asyncio.ensure_future(root.start())
    waiting = [asyncio.ensure_future(told.wait()), asyncio.ensure_future(root.wait_for_crash())]
    try:
        await asyncio.wait([starting, *waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.exception() and not any(task.done() for task in waiting):
            logger.info("serving on http://%s:%s", *server_socket.getsockname()[:2])
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        reason = root.crash_reason or (starting.exception() if starting.done() else None)
    finally:
        for task in (starting, *waiting):
            task.cancel()
    milepost.watchdog.stop()
    deadline.arm()
    if isinstance(reason, DatabaseError):
        refusals.append(str(reason))
    elif reason is not None:
        logger.critical(
            "the worker stops because of a bug; the positions in the database say where to go on", exc_info=reason
        )
    await root.stop()
    recorder.engine.dispose()
    if refusals:
        raise MilepostError(refusals[0])
    return 0 if reason is None else 1
