"""Ends a process that was asked to stop and does not: ending hard is safe, because the database holds all state."""

import logging
import os
import threading
from typing import Final

from streams.monitoring.thread_stacks import format_thread_stacks

logger = logging.getLogger("milepost.stop")

#: The exit status of a process that did not stop within its deadline.
EX_DEADLINE: Final = 75
#: How long logging the stacks may take.
LOGGING_TIMEOUT_SECONDS: Final = 2.0


def create_stop_deadline(seconds: float) -> threading.Timer:
    """Return a timer that ends the process, so many seconds after its start."""
    deadline = threading.Timer(seconds, _terminate, [seconds])
    deadline.daemon = True
    return deadline


def _terminate(seconds: float) -> None:
    # What hangs may hold the log's lock: the process ends in any case.
    timer = threading.Timer(LOGGING_TIMEOUT_SECONDS, os._exit, [EX_DEADLINE])
    timer.daemon = True
    timer.start()
    logger.critical("not stopped within %s s, ending; nothing is lost\n%s", seconds, format_thread_stacks())
    os._exit(EX_DEADLINE)
