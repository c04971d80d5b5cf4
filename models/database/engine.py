"""Connections and transactions, the classification of database errors, and the check of the schema."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from models.database import tables
from models.database.postgresql_engine import Credentials, make_postgresql_engine, parse_postgresql_url
from models.errors import ConcurrentWriteError, MilepostError

#: How long a statement waits for a lock before it fails as transient, so that a lock never hangs unnoticed.
LOCK_TIMEOUT_MS: Final = 30_000


class DatabaseError(MilepostError):
    """The database cannot be used as it is."""


class ErrorKind(Enum):
    """What a database error means for the current batch."""

    #: Retry the same batch.
    TRANSIENT = auto()
    #: The database refuses the data: find the record.
    PERMANENT = auto()
    #: A bug or a broken schema: stop.
    BUG = auto()


#: SQLSTATE classes and codes: connection, transaction rollback (deadlock, serialization), resources (disk, memory,
#: connections), operator intervention, system error, lock not available, read-only.
_TRANSIENT_SQLSTATES: Final = ("08", "40", "53", "57", "58", "55P03", "55006", "25006", "25P03", "25P04", "XX000")
#: Data exception, integrity, program limits (a row too large), an error raised by a trigger.
_PERMANENT_SQLSTATES: Final = ("22", "23", "54", "P0001")

#: Connection, the server stops, and not started yet.
_UNREACHABLE_SQLSTATES: Final = ("08", "57P01", "57P02", "57P03")

#: The role may not do this, or may use no schema.
MISSING_RIGHT_SQLSTATES: Final = frozenset({"42501", "3F000"})


def classify_error(error: BaseException) -> ErrorKind:
    """Return what an error means, by its SQLSTATE or SQLite error code."""
    if isinstance(error, PoolTimeoutError | ConcurrentWriteError):
        return ErrorKind.TRANSIENT
    if not isinstance(error, DBAPIError):
        return ErrorKind.BUG
    original, sqlstate = error.orig, getattr(error.orig, "sqlstate", None)
    if isinstance(original, sqlite3.Error):
        # SQLITE_ERROR is a wrong statement or a missing table; locked, busy, full, read-only, I/O have their own codes.
        code = getattr(original, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        is_transient = isinstance(original, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR
        is_permanent = isinstance(original, sqlite3.IntegrityError | sqlite3.DataError)
    elif sqlstate is None:
        # Without a SQLSTATE the server never answered: no connection, or a broken one.
        is_transient = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
        # psycopg refuses some values before they reach the server (a NUL character in text, a lone surrogate).
        is_permanent = type(original).__name__ == "DataError"
    else:
        is_transient = sqlstate.startswith(_TRANSIENT_SQLSTATES)
        is_permanent = sqlstate.startswith(_PERMANENT_SQLSTATES)
    if is_transient:
        return ErrorKind.TRANSIENT
    return ErrorKind.PERMANENT if is_permanent else ErrorKind.BUG


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error says that the database server does not answer: no SQLite file ever does."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:
        return classify_error(error) is ErrorKind.TRANSIENT
    return bool(sqlstate.startswith(_UNREACHABLE_SQLSTATES))


#: The parameters that SQLite has in a URL; all but the first two only with `uri=true`, as SQLite itself reads them.
_SQLITE_PARAMETERS: Final = ("timeout", "uri", "cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs")
#: Arguments of the driver that no text can be.
_PSYCOPG_ARGUMENTS: Final = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"})
#: What the parser takes for the end of a password.
_ESCAPING: Final = "write @ : / # ? and % in a password as %40 %3A %2F %23 %3F and %25"


def _parse_url(url: str) -> URL:
    try:
        parsed = parse_postgresql_url(url)
    except ArgumentError:
        raise DatabaseError(
            "MILEPOST_DATABASE is no SQLAlchemy URL; use e.g. sqlite:///milepost.db or postgresql://user@host/name"
        ) from None
    except ValueError:
        # Not told as it stands: what seems to be a port may be a part of a password.
        raise DatabaseError(f"MILEPOST_DATABASE: the port is no number; {_ESCAPING}") from None
    if parsed.get_backend_name() != "sqlite" and (
        set("@/#?") & set(parsed.host or "") or "@" in (parsed.database or "")
    ):
        raise DatabaseError(f"MILEPOST_DATABASE: there is an @ too many, or no host; {_ESCAPING}")
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise DatabaseError(f"MILEPOST_DATABASE: {parsed.drivername} is neither sqlite nor postgresql")
    _check_parameters(parsed)
    return parsed


def _check_parameters(url: URL) -> None:
    """Raise `DatabaseError` for what the libraries would take for something else, or leave out with a warning."""
    known = _SQLITE_PARAMETERS if "uri" in url.query else _SQLITE_PARAMETERS[:2]
    if url.get_backend_name() != "sqlite":
        unknown = sorted(_PSYCOPG_ARGUMENTS & set(url.query))
    elif url.host or url.port or url.username or url.password:
        raise DatabaseError(
            "MILEPOST_DATABASE: SQLite has no host: write sqlite:///file.db or sqlite:////folder/file.db"
        )
    else:
        unknown = [name for name, value in url.query.items() if name not in known or not isinstance(value, str)]
    if unknown:
        raise DatabaseError(f"MILEPOST_DATABASE: the parameter {unknown[0][:64]!r} cannot stand there, or not twice")


def make_engine(
    url: str,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    *,
    is_prepared: bool = True,
    read_credentials: Callable[[], Credentials] | None = None,
) -> Engine:
    """Return an engine that has opened nothing yet. Raises `DatabaseError` for a URL that cannot work.

    The keywords are for PostgreSQL: whether the server keeps prepared statements, and user and password of each new
    connection.
    """
    parsed = _parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _make_sqlite_engine(parsed, lock_timeout_ms)
        return make_postgresql_engine(
            parsed, lock_timeout_ms, is_prepared=is_prepared, read_credentials=read_credentials
        )
    except (ArgumentError, ValueError):
        # Not told as it stands: the library's text holds the URL.
        raise DatabaseError("MILEPOST_DATABASE: host, port or a parameter is not as the database takes it") from None


def dispose_engine(engine: Engine) -> None:
    """Close the connections of an engine: the unused now, and those that threads still use when they return them."""
    event.listen(engine.pool, "checkin", close_returned)
    engine.dispose()


def close_returned(_connection: object, record: ConnectionPoolEntry) -> None:
    """Close a connection that is returned: a listener for the `checkin` of a pool that is disposed of."""
    record.invalidate()


def _enable_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a file to WAL. Another process may be doing the same, and SQLite does not wait for this lock itself.

    A file that may only be read keeps its journal mode.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_READONLY:
                return
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for PostgreSQL, for a database in memory, and for a SQLite URI."""
    url = engine.url
    is_file = (
        url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"} and "uri" not in url.query
    )
    return Path(url.database or "") if is_file else None


def _require_same_file(engine: Engine, file: Path) -> None:
    """Raise `DatabaseError` when the file is missing, or was removed or replaced: writes to it would be lost silently.

    SQLite would create a missing file. Only `models.database.migrate` may: whoever reads creates nothing.
    """
    first_inode: dict[Path, tuple[int, int]] = {}

    def check_inode(*_: object) -> None:
        try:
            status = file.stat()
        except FileNotFoundError:
            if not first_inode:
                raise DatabaseError(f"there is no database at {file}: run `milepost init`") from None
            change = "removed"
        except OSError as error:
            raise DatabaseError(f"database {redacted_url(engine)} cannot be opened: {error.strerror}") from None
        else:
            inode = status.st_dev, status.st_ino
            if first_inode.setdefault(file, inode) == inode:
                return
            change = "replaced"
        raise DatabaseError(
            f"database {redacted_url(engine)} was {change} while it was in use: run `milepost init`, then start again"
        )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        check_inode()
        # SQLite reads a WAL database with the help of a file beside it, which a folder that may only be read does not
        # take. Without a log (`-wal`) nobody writes, and the file can be read as one that does not change.
        if not os.access(file.parent, os.W_OK) and not file.with_name(f"{file.name}-wal").exists():
            arguments[:] = [f"{file.absolute().as_uri()}?immutable=1"]
            options["uri"] = True

    event.listen(engine, "checkout", check_inode)


def _make_sqlite_engine(url: URL, lock_timeout_ms: int) -> Engine:
    engine = create_engine(url, connect_args={"timeout": lock_timeout_ms / 1000})
    if (file := sqlite_file(engine)) is not None:
        _require_same_file(engine, file)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
        connection.isolation_level = None  # `_on_begin` sends BEGIN
        cursor = connection.cursor()
        _enable_wal(cursor)
        # With WAL, NORMAL loses at most the last transactions in a power cut, each whole and with its positions:
        # their records are read from Kafka again.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A transaction that starts as a reader cannot wait for another writer; IMMEDIATE can.
        is_write = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


@contextmanager
def _check_schema_on_bug(engine: Engine) -> Iterator[None]:
    """Raise `DatabaseError` when a statement failed because tables are missing or of another schema."""
    try:
        yield
    except DBAPIError as error:
        if classify_error(error) is ErrorKind.BUG:
            check_schema(engine)
        raise


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction for writing; commits at the end of the block, rolls back when the block raises."""
    with (
        _check_schema_on_bug(engine),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a read-only transaction in which all queries see one snapshot."""
    with _check_schema_on_bug(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def redacted_url(engine: Engine) -> str:
    """Return the URL of the database without passwords, wherever they stand in it."""
    # libpq takes `password` and `sslpassword` as parameters too.
    shown = {name: "***" if "password" in name.lower() else value for name, value in engine.url.query.items()}
    return engine.url.set(query=shown).render_as_string(hide_password=True)


def check_schema(engine: Engine) -> None:
    """Raise `DatabaseError` unless the database answers and has the schema of this program."""
    database = f"database {redacted_url(engine)}"
    expected, revision = tables.SCHEMA_REVISION, None
    try:
        with engine.connect() as connection:
            existing = set(inspect(connection).get_table_names())
            if "alembic_version" in existing:
                revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
            may_use_a_schema = engine.dialect.name != "postgresql" or connection.scalar(text("SELECT current_schema()"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in MISSING_RIGHT_SQLSTATES:
            raise DatabaseError(
                f"{database} may not be read by role {engine.url.username}: {driver_message(error)}; grant SELECT on"
                " the tables"
            ) from None
        raise DatabaseError(f"{database} does not answer: {driver_message(error)}") from None
    if not may_use_a_schema:
        problem = f"has no schema that role {engine.url.username} may use: grant USAGE on the schema of the tables"
    elif revision is None:
        problem = "has no tables yet: run `milepost init`"
    elif revision < expected:
        problem = f"has schema {revision}, this program needs {expected}: run `milepost init`"
    elif revision > expected:
        problem = f"has schema {revision}, newer than {expected} which this program knows: update milepost"
    elif missing := sorted(tables.metadata.tables.keys() - existing):
        problem = (
            f"has schema {revision} and no table {', '.join(missing)}: restore a backup, or make an empty database and"
            " run `milepost init`; a worker then reads the topic again"
        )
    else:
        return
    raise DatabaseError(f"{database} {problem}")


def driver_message(error: DBAPIError) -> str:
    """Return the first line of the driver's message; where several hosts were tried, what each of them said."""
    lines = [line.strip() for line in str(error.orig).splitlines() if line.strip()]
    attempts = [line.partition(": connection failed: ")[2] for line in lines if line.startswith("- host: ")]
    return "; ".join(attempts) or next(iter(lines), type(error).__name__)
