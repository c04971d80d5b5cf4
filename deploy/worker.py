"""`milepost worker`: check what can be checked before anything starts, then run."""

import fcntl
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from deploy.topics import check_topics, read_topic_id
from models.database.engine import LOCK_TIMEOUT_MS, DatabaseError, check_schema, make_engine
from models.database.recorder import Recorder
from models.errors import MilepostError
from models.failpoints import arm_failpoint, parse_failpoint
from models.settings import Settings

logger = logging.getLogger("milepost.worker")

_LISTEN_BACKLOG: Final = 128


class WorkerError(MilepostError):
    """A worker that cannot start; the message is one line: what, where, what to do."""


def run_worker(settings: Settings) -> int:
    """Run a worker until it is told to stop; return its exit status.

    Raises `WorkerError`, and what the checks raise, before anything is started.
    """
    set_up_logging()
    if settings.failpoint:
        logger.warning("failpoint %s is set: this worker is under test", settings.failpoint)
    arm_failpoint(parse_failpoint(settings.failpoint))
    engine = make_engine(settings.database, lock_timeout_ms(settings))
    check_schema(engine)
    with lock_sqlite_for_worker(engine), bind_web_socket(settings) as listening:
        # The topics decide how many partitions there are; the setting only says how many to make.
        there = settings.model_copy(update={"partitions": check_topics(settings)[settings.events_topic]})
        store = Recorder(engine)
        if (topic_id := read_topic_id(settings)) is not None:
            store.remember_topic_id(settings.events_topic, topic_id)
        # Faust takes a third of the start; what cannot start should say so first.
        from consumers.dead_letters import read_newest_dead_letters  # noqa: PLC0415
        from streams.web.board import create_board  # noqa: PLC0415
        from streams.worker import FatalError, run_worker_process  # noqa: PLC0415

        try:
            return run_worker_process(
                there, store, listening, create_board(there, _utc_today, partial(read_newest_dead_letters, there))
            )
        except FatalError as refused:
            raise WorkerError(str(refused)) from None


def lock_timeout_ms(settings: Settings) -> int:
    """Return how long a statement may wait for a lock: a worker that waits is not stuck, and must not seem so."""
    return min(LOCK_TIMEOUT_MS, round(settings.stuck_seconds * 1000 / 2))


def _utc_today() -> date:
    return datetime.now(UTC).date()  # noqa: TID251 - the edge: here the clock comes in


class RepeatedMessageFilter(logging.Filter):
    """Lets a message of a library pass once in a while: an outage makes aiokafka say the same ten times a second."""

    def __init__(self, interval_seconds: float = 30.0) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._last_logged: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to say it: always what is ours, of libraries what was not said lately."""
        if record.exc_info and isinstance(record.exc_info[1], DatabaseError):
            return False  # said in one line, as the worker ends
        if record.name.startswith("milepost") or record.exc_info:
            return True
        said = record.name, str(record.msg)
        if record.created - self._last_logged.get(said, -self._interval_seconds) < self._interval_seconds:
            return False
        self._last_logged[said] = record.created
        return True


def set_up_logging() -> None:
    """Log to standard error unless told elsewhere: ours from INFO, what libraries say from WARNING, sparingly."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)-8s %(name)s: %(message)s"
    )
    logging.getLogger("milepost").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        if not any(isinstance(there, RepeatedMessageFilter) for there in handler.filters):
            handler.addFilter(RepeatedMessageFilter())


@contextmanager
def bind_web_socket(settings: Settings) -> Iterator[socket.socket]:
    """Bind the web service's port, so that a taken one is told before anything starts."""
    host, port = settings.web_address
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address, family=family, backlog=_LISTEN_BACKLOG)
    except OSError as error:
        raise WorkerError(
            f"cannot serve on {settings.web}: {error.strerror}; choose another with MILEPOST_WEB or --web"
        ) from None
    with listening:
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
        yield listening


@contextmanager
def lock_sqlite_for_worker(engine: Engine) -> Iterator[None]:
    """Keep a second worker off a SQLite file: it has one writer. The lock goes with the process."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        yield
        return
    lock = Path(database).with_name(Path(database).name + ".worker")
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.seek(0)
            raise WorkerError(
                f"{database} already has a worker (pid {held.read().strip() or 'unknown'}): SQLite serves one;"
                " stop it, or use PostgreSQL for more"
            ) from None
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield
