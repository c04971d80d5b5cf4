"""Runs a service without Faust in this process until it is asked to stop."""

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import uvloop
from prometheus_client import disable_created_metrics

from streams.stop_deadline import create_stop_deadline
from streams.web.connections import raise_file_limit
from streams.web.server import listener_url

#: Starts a service, which stops at the end of the block. It gives a task that ends by a bug alone, if it has one.
RunningService = Callable[[], AbstractAsyncContextManager[asyncio.Task[None] | None]]


def run_until_stopped(
    run_service: RunningService, sockets: Sequence[socket.socket], stop_seconds: float, logger: logging.Logger
) -> None:
    """Run a service, called within the event loop, until SIGINT or SIGTERM; it has so long to stop.

    The sockets are those on which it serves. Raises what the start of the service raises, and the bug that ends it.
    """
    raise_file_limit()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot
    deadline = create_stop_deadline(stop_seconds)
    try:
        uvloop.run(_run_until_stopped(run_service, sockets, deadline, logger))
    finally:
        deadline.cancel()


async def _run_until_stopped(
    run_service: RunningService, sockets: Sequence[socket.socket], deadline: threading.Timer, logger: logging.Logger
) -> None:
    stop_requested = asyncio.Event()

    def start_deadline() -> None:
        if deadline.ident is None:
            deadline.start()

    def request_stop() -> None:
        start_deadline()
        stop_requested.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, request_stop)
    async with run_service() as watching:
        # What is loaded by now stays in memory: the collector need not look at it again.
        gc.freeze()
        if sockets:
            logger.info("serving on %s", " and ".join(map(listener_url, sockets)))
        stopping = asyncio.create_task(stop_requested.wait())
        await asyncio.wait(filter(None, (stopping, watching)), return_when=asyncio.FIRST_COMPLETED)
        start_deadline()
        stopping.cancel()
        if watching is not None and watching.done():
            watching.result()  # raises: it ends by a bug alone
