"""Serves the board alone in this process until it is asked to stop: no Kafka, no Faust."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import Engine

from models.settings import Settings
from streams.clock import Clock
from streams.metrics.board import BoardMetrics
from streams.monitoring.database import MONITOR_THREADS, DatabaseMonitor
from streams.process import run_until_stopped
from streams.web.board import create_board
from streams.web.probes import Probes
from streams.web.read_model import READ_MODEL_THREADS
from streams.web.remote_pipeline import HttpPipelineReader
from streams.web.web_servers import create_web_servers

logger = logging.getLogger("milepost.board")

#: How the names of the threads begin that read the database for this process.
QUERY_THREADS: Final = (READ_MODEL_THREADS, MONITOR_THREADS)
_QUERY_END_SECONDS: Final = 0.3


def run_board_process(settings: Settings, engine: Engine, sockets: Sequence[socket.socket]) -> None:
    """Serve the board on bound sockets until SIGINT or SIGTERM. The caller has checked the database.

    The engine is for the readiness alone: pages have one of their own.
    """
    run_until_stopped(lambda: _serve(settings, engine, sockets), sockets, settings.stop_seconds, logger)
    _end_without_hanging_queries()


def _end_without_hanging_queries() -> None:
    """End the process where a query hangs in a thread: Python would wait for it at the exit, and nobody needs it."""
    queries = [thread for thread in threading.enumerate() if thread.name.startswith(QUERY_THREADS)]
    for thread in queries:
        thread.join(_QUERY_END_SECONDS)
    if any(thread.is_alive() for thread in queries):
        logger.info("stopped, while a query waits for the database")
        logging.shutdown()
        os._exit(0)


@asynccontextmanager
async def _serve(
    settings: Settings, engine: Engine, sockets: Sequence[socket.socket]
) -> AsyncIterator[asyncio.Task[None]]:
    metrics, monitor = BoardMetrics(), DatabaseMonitor(engine)
    probes = Probes(metrics.registry, dict, monitor.readiness_problems)
    board = create_board(settings, Clock().today, lambda _probes: HttpPipelineReader(settings.workers))
    servers = create_web_servers(settings.board_hosts, sockets, probes, metrics.count_http_error, board)
    monitoring = asyncio.create_task(monitor.run())
    try:
        for server in servers:
            await server.start()
        yield monitoring
    finally:
        monitoring.cancel()
        for server in servers:
            await server.stop()
