"""How the database is reached, which of its errors pass, and whether its schema is ours."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, String, column, create_engine, event, inspect, make_url, select, table
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.database import tables
from models.errors import ConcurrentWriteError, MilepostError

#: How long a statement may wait for a lock before it fails as transient, so that nothing hangs unseen.
LOCK_TIMEOUT_MS: Final = 30_000
CONNECT_TIMEOUT_S: Final = 5

_FILE_CHANGED_MESSAGE: Final = "database {where} {what} while it was in use: run `milepost init`, then start again"

_ALEMBIC_VERSION = table("alembic_version", column("version_num", String))


class DatabaseError(MilepostError):
    """The database cannot be used as it is; the message is one line: what, where, what to do."""


class ErrorKind(Enum):
    """What an error of the database means for the batch in hand."""

    #: It passes: try the same batch again.
    TRANSIENT = auto()
    #: The data is refused: find the record that is.
    PERMANENT = auto()
    #: A bug or a broken schema: stop.
    BUG = auto()


#: SQLSTATE classes and codes that pass: connection, transaction rollback (deadlock, serialization), resources
#: (disk, memory, connections), operator intervention, system error, lock not available, read-only.
_TRANSIENT_SQLSTATES: Final = ("08", "40", "53", "57", "58", "55P03", "55006", "25006", "25P03", "25P04", "XX000")
#: Data exception, integrity, program limits (a row too large), and what a trigger raises.
_PERMANENT_SQLSTATES: Final = ("22", "23", "54", "P0001")


def classify_error(error: BaseException) -> ErrorKind:
    """Return what to do about an error."""
    if isinstance(error, PoolTimeoutError | ConcurrentWriteError):
        return ErrorKind.TRANSIENT
    if not isinstance(error, DBAPIError):
        return ErrorKind.BUG
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return _classify_sqlite_error(original)
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate is None:
        # Without a state the server never answered: no connection, or it broke.
        passing = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
        return ErrorKind.TRANSIENT if passing else _classify_without_sqlstate(original)
    if sqlstate.startswith(_TRANSIENT_SQLSTATES):
        return ErrorKind.TRANSIENT
    return ErrorKind.PERMANENT if sqlstate.startswith(_PERMANENT_SQLSTATES) else ErrorKind.BUG


def _classify_without_sqlstate(original: BaseException | None) -> ErrorKind:
    # psycopg refuses some values itself, before they reach the server (a NUL character in text, a lone surrogate).
    return ErrorKind.PERMANENT if type(original).__name__ == "DataError" else ErrorKind.BUG


def _classify_sqlite_error(error: sqlite3.Error) -> ErrorKind:
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return ErrorKind.PERMANENT
    if isinstance(error, sqlite3.OperationalError):
        # The plain error is a wrong statement or a missing table; locked, busy, full, read-only, I/O have their own.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return ErrorKind.BUG if code == sqlite3.SQLITE_ERROR else ErrorKind.TRANSIENT
    return ErrorKind.BUG


def parse_database_url(url: str) -> URL:
    """Return a database URL with the drivers Milepost brings; raises `DatabaseError` for others."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(
            "MILEPOST_DATABASE is no SQLAlchemy URL; say e.g. sqlite:///milepost.db or postgresql://user@host/name"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise DatabaseError(f"MILEPOST_DATABASE: {parsed.drivername} is neither sqlite nor postgresql")
    return parsed


def make_engine(url: str, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> Engine:
    """Return an engine; nothing is opened yet. Raises `DatabaseError` for a URL that cannot work."""
    parsed = parse_database_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _make_sqlite_engine(parsed, lock_timeout_ms)
        options = f"-c lock_timeout={lock_timeout_ms} -c timezone=UTC"
        return create_engine(
            parsed,
            pool_size=5,
            pool_pre_ping=True,
            # What keeps workers apart are the locks of `recorder`: a stricter default of the database would only
            # have them throw away each other's batches.
            isolation_level="READ COMMITTED",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "milepost",
                "options": options,
                # A peer that vanished without a word is noticed in 10 + 3 x 3 s, not after hours.
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
    except NoSuchModuleError as error:
        raise DatabaseError(f"MILEPOST_DATABASE: {error}") from None


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """Give an engine, and dispose of it at the end; raises `DatabaseError` as `make_engine` does."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _enable_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a file to WAL, as soon as nobody else is just doing that: SQLite does not wait for this lock by itself."""
    patience = time.monotonic() + LOCK_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


def _detect_replaced_file(engine: Engine) -> None:
    """Refuse to go on with a file that is gone from its place, or with another in its place.

    An open file that was removed takes writes as before, and nobody will ever read them.
    """
    database = engine.url.database
    if not database or database == ":memory:" or "uri" in engine.url.query:
        return
    opened: list[tuple[int, int]] = []

    @event.listens_for(engine, "checkout")
    def _check_inode(_connection: object, _record: object, _proxy: object) -> None:
        try:
            found = Path(database).stat()
        except FileNotFoundError:
            raise DatabaseError(_FILE_CHANGED_MESSAGE.format(where=redacted_url(engine), what="was removed")) from None
        there = found.st_dev, found.st_ino
        if not opened:
            opened.append(there)
        if opened != [there]:
            raise DatabaseError(_FILE_CHANGED_MESSAGE.format(where=redacted_url(engine), what="was replaced"))


def _make_sqlite_engine(url: URL, lock_timeout_ms: int) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": lock_timeout_ms / 1000})
    _detect_replaced_file(engine)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
        connection.isolation_level = None  # BEGIN is ours: see below
        cursor = connection.cursor()
        _enable_wal(cursor)
        # With WAL, NORMAL loses at most the last transactions in a power cut, whole, with their positions:
        # they are read from Kafka again.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A writer that starts as a reader cannot wait for another writer; IMMEDIATE can.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _check_schema_on_bug(engine: Engine) -> Iterator[None]:
    """Say in one line when a statement failed because the tables are not there (any more), or are another program's."""
    try:
        yield
    except DBAPIError as error:
        if classify_error(error) is ErrorKind.BUG:
            check_schema(engine)
        raise


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes; it commits when the block ends and rolls back when it raises."""
    with (
        _check_schema_on_bug(engine),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction in which every query sees the same moment."""
    with _check_schema_on_bug(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def redacted_url(engine: Engine) -> str:
    """Return the database's address without its password."""
    return engine.url.render_as_string(hide_password=True)


def check_schema(engine: Engine) -> None:
    """Raise `DatabaseError` unless the database is reachable and its schema is the one this program knows."""
    try:
        with engine.connect() as connection:
            found = None
            there = set(inspect(connection).get_table_names())
            if _ALEMBIC_VERSION.name in there:
                found = connection.scalar(select(_ALEMBIC_VERSION.c.version_num))
    except DBAPIError as error:
        raise DatabaseError(f"database {redacted_url(engine)} does not answer: {driver_message(error)}") from None
    if found is None:
        raise DatabaseError(f"database {redacted_url(engine)} has no tables yet: run `milepost init`")
    if found < tables.SCHEMA_REVISION:
        raise DatabaseError(
            f"database {redacted_url(engine)} has schema {found}, this program needs"
            f" {tables.SCHEMA_REVISION}: run `milepost init`"
        )
    if found > tables.SCHEMA_REVISION:
        raise DatabaseError(
            f"database {redacted_url(engine)} has schema {found}, newer than {tables.SCHEMA_REVISION}"
            " which this program knows:"
            " update milepost"
        )
    if lost := sorted(tables.metadata.tables.keys() - there):
        raise DatabaseError(
            f"database {redacted_url(engine)} has schema {found} and no table {', '.join(lost)}: restore a"
            " backup, or make an"
            " empty database and run `milepost init`; a worker then reads the topic again"
        )


def driver_message(error: DBAPIError) -> str:
    """Return what the driver said, on one line."""
    return next((line.strip() for line in str(error.orig).splitlines() if line.strip()), type(error).__name__)
