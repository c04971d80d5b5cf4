"""Runs the application in this process until it is asked to stop, or crashes.

Faust's own worker is for its command line: it redirects output, discovers modules, spins a spinner and takes a second
to close the loop. This one starts, waits and stops, within a deadline of its own: Faust's graceful stop waits without
bound for the work in progress, which may wait for a database that is down. Ending hard is safe, because the positions
say where to go on.
"""

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import uvloop
from aiokafka.errors import KafkaConnectionError
from mode import Service, ServiceT
from prometheus_client import disable_created_metrics

from models.database.engine import DatabaseError, dispose_engine
from models.database.recorder import Recorder
from models.errors import MilepostError
from models.settings import Settings
from models.text import one_line
from streams.app import create_app
from streams.outages import KAFKA, OUTAGES
from streams.stop_deadline import create_stop_deadline
from streams.web.connections import raise_file_limit
from streams.web.probes import AddRoutes
from streams.web.server import listener_url

logger = logging.getLogger("milepost.worker")

#: From glibc's malloc.h.
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3


class RootService(Service):
    """The parent of all services: a crash of any is a crash of this."""

    def __init__(self, services: Sequence[ServiceT]) -> None:
        super().__init__()
        self._services = services
        for service in services:
            service.beacon.reattach(self.beacon)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Return the services, in the order in which they start."""
        return self._services

    async def wait_for_crash(self) -> None:
        """Return when a service has crashed."""
        await self._crashed.wait()


def limit_malloc_heaps() -> None:
    """Limit glibc to one heap, and have it return large blocks: a quarter less memory after a backlog.

    By default every thread has a heap, but the threads of a worker free what others allocated.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 64 * 1024)


def run_worker_process(
    settings: Settings,
    recorder: Recorder,
    sockets: Sequence[socket.socket],
    add_routes: AddRoutes | None = None,
    warnings: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run a worker, with further routes on its web server, and warnings at `/ready`; return its exit status.

    Raises `MilepostError` when an operator has to act before a worker can go on.
    """
    limit_malloc_heaps()
    raise_file_limit()
    # A `_created` series beside every counter doubles the page, and Prometheus 2 does not read it.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot
    deadline = create_stop_deadline(settings.stop_seconds)
    try:
        return uvloop.run(_run_until_stopped(settings, recorder, sockets, deadline, add_routes, warnings))
    finally:
        deadline.cancel()


async def _run_until_stopped(  # noqa: PLR0913 - as `create_app`, and the deadline
    settings: Settings,
    recorder: Recorder,
    sockets: Sequence[socket.socket],
    deadline: threading.Timer,
    add_routes: AddRoutes | None,
    warnings: Mapping[str, str],
) -> int:
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    errors: list[MilepostError] = []

    def request_stop() -> None:
        components.watchdog.stop()
        if not stop_requested.is_set():
            deadline.start()
        stop_requested.set()

    def stop_with_error(error: MilepostError) -> None:
        errors.append(error)
        request_stop()

    components = create_app(settings, recorder, sockets, stop_with_error, add_routes, warnings)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, request_stop)
    components.app.in_worker = True
    root = RootService([*components.services, components.app])
    # What is loaded by now stays in memory: the collector need not look at it again.
    gc.freeze()
    components.watchdog.start(loop)
    starting = asyncio.ensure_future(root.start())
    waiting = [asyncio.ensure_future(stop_requested.wait()), asyncio.ensure_future(root.wait_for_crash())]
    try:
        await asyncio.wait([starting, *waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.exception() and not any(task.done() for task in waiting):
            logger.info("serving on %s", " and ".join(map(listener_url, sockets)))
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        reason = root.crash_reason or (starting.exception() if starting.done() else None)
    finally:
        for task in (starting, *waiting):
            task.cancel()
    request_stop()
    if (error := _error_of_crash(settings, reason)) is not None:
        errors.append(error)
    elif reason is not None:
        logger.critical(
            "the worker stops because of a bug; the positions in the database say where to go on", exc_info=reason
        )
    await root.stop()
    dispose_engine(recorder.engine)
    if errors:
        raise errors[0]
    return 0 if reason is None else 1


def _error_of_crash(settings: Settings, reason: BaseException | None) -> MilepostError | None:
    """Return the error on which an operator can act; None for a bug, and without a crash."""
    if isinstance(reason, KafkaConnectionError):
        # A client finds no broker at its start, although the checks before did.
        detail = OUTAGES.detail(KAFKA) or one_line(reason)
        return MilepostError(f"Kafka at {settings.kafka} cannot be reached: {detail}")
    return reason if isinstance(reason, DatabaseError) else None
