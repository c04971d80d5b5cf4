"""`milepost worker`: checks what can be checked before anything starts, then runs the worker."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

from sqlalchemy import Engine

from consumers.client import KafkaUnreachableError
from consumers.rights import Role, require_rights
from deploy.file_lock import FileLockedError, lock_file, write_holder
from deploy.listeners import bind_listeners
from deploy.topics import UnevenTopicsError, check_topics, read_topic_id
from models.configured_engine import make_configured_engine
from models.database.engine import LOCK_TIMEOUT_MS, check_schema
from models.database.recorder import Recorder
from models.database.rights import require_table_rights
from models.errors import MilepostError, PartitionsChangedError
from models.failpoints import arm_failpoint, parse_failpoint
from models.settings import Settings

logger = logging.getLogger("milepost.worker")

#: How often to look whether the topics have equally many partitions again.
_TOPICS_POLL_SECONDS = 1.0


def run_worker(settings: Settings) -> int:
    """Run a worker until it is asked to stop; return its exit status.

    When partitions were added to the topics, the process starts anew, as its command line says. Raises `MilepostError`
    when a check fails, before anything starts.
    """
    status = run_worker_once(settings)
    if status is None:
        start_anew()
    return status


def start_anew() -> NoReturn:
    """Replace this process by the same program with the same arguments; nothing of this process goes on."""
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - no shell is wanted


def run_worker_once(settings: Settings) -> int | None:
    """Run a worker until it is asked to stop, and return its exit status; None when partitions were added meanwhile.

    Raises `MilepostError` when a check fails, before anything starts.
    """
    try:
        return _run_once(settings)
    except PartitionsChangedError as error:
        logger.warning("%s: starting anew", error)
    _wait_for_even_topics(settings)
    return None


def _run_once(settings: Settings) -> int:
    if settings.failpoint:
        logger.warning("failpoint %s is set: this worker is under test", settings.failpoint)
    arm_failpoint(parse_failpoint(settings.failpoint))
    engine = make_configured_engine(settings, lock_timeout_ms(settings))
    check_schema(engine)
    require_table_rights(engine)
    with lock_sqlite_for_worker(engine), bind_listeners(settings) as sockets:
        require_rights(settings, Role.WORKER)
        # The topics decide how many partitions there are; the setting only says how many to create.
        partitions, warnings = check_topics(settings)
        for promise in warnings:
            logger.warning("%s", promise)
        settings = settings.model_copy(update={"partitions": partitions[settings.events_topic]})
        recorder = Recorder(engine)
        if (topic_id := read_topic_id(settings)) is not None:
            recorder.remember_topic_id(settings.events_topic, topic_id)
        # Faust takes a third of the start-up time; the checks above report without waiting for it.
        from consumers.dead_letters import read_newest_dead_letters  # noqa: PLC0415
        from streams.web.board import create_board  # noqa: PLC0415
        from streams.web.pipeline_status import LocalPipelineReader  # noqa: PLC0415
        from streams.worker import run_worker_process  # noqa: PLC0415

        reader = partial(LocalPipelineReader, read_newest=partial(read_newest_dead_letters, settings))
        board = create_board(settings, _utc_today, reader)
        details = {f"{promise.topic} {promise.setting}": promise.problem for promise in warnings}
        return run_worker_process(settings, recorder, sockets, board, details)


def _wait_for_even_topics(settings: Settings) -> None:
    """Wait until the topics that belong together have equally many partitions; log what has to be done, once."""
    logged = ""
    while True:
        try:
            check_topics(settings)
        except (UnevenTopicsError, KafkaUnreachableError) as error:
            if str(error) != logged:
                logged = str(error)
                logger.warning("%s", logged)
            time.sleep(_TOPICS_POLL_SECONDS)
        else:
            return


def lock_timeout_ms(settings: Settings) -> int:
    """Return how long a statement may wait for a lock: less than the watchdog allows, as waiting is not being stuck."""
    return min(LOCK_TIMEOUT_MS, round(settings.stuck_seconds * 1000 / 2))


def _utc_today() -> date:
    return datetime.now(UTC).date()  # noqa: TID251 - the clock of the board


@contextmanager
def lock_sqlite_for_worker(engine: Engine) -> Iterator[None]:
    """Keep a second worker off a SQLite file, which has one writer. The lock ends with the process."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        yield
        return
    try:
        lock = lock_file(Path(f"{database}.worker"))
    except FileLockedError as error:
        raise MilepostError(
            f"{database} already has a worker (pid {error.holder or 'unknown'}): SQLite serves one;"
            " stop it, or use PostgreSQL for more"
        ) from None
    with lock:
        write_holder(lock, str(os.getpid()))
        yield
