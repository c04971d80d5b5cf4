"""Fast writes into PostgreSQL: COPY, libpq pipeline mode, and array parameters.

COPY streaming and pipeline mode (PostgreSQL's manual, section 32.5) send statements without waiting for their results,
so Python works while the database does. Arrays are encoded here, because the driver's own encoder for lists inspects
every element and costs more than all other Python work of a batch.
"""

import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from models.database.tables import JsonText, json_text, ledger


def is_postgresql(connection: sa.Connection) -> bool:
    """Return whether the database is PostgreSQL; if not, it is SQLite."""
    return connection.dialect.name == "postgresql"


def _psycopg_connection(connection: sa.Connection) -> psycopg.Connection:
    return cast("psycopg.Connection", connection.connection.driver_connection)


@contextmanager
def _translate_errors(connection: sa.Connection, statement: str) -> Iterator[None]:
    # SQLAlchemy raises `DBAPIError` only for statements that it executes itself.
    try:
        yield
    except psycopg.Error as error:
        is_lost = connection.dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=is_lost, dialect=connection.dialect
        ) from error


@contextmanager
def libpq_pipeline(connection: sa.Connection) -> Iterator[Callable[[], None]]:
    """Send the statements of the block without waiting for their results; errors are raised when the block ends.

    Yields a function that flushes the statements: after it the database works by itself. The block must not read
    results or row counts. SQLite executes each statement at once.
    """
    if not is_postgresql(connection):
        yield lambda: None
        return
    driver = _psycopg_connection(connection)

    def flush() -> None:
        # The driver sends as much as the socket takes, and the rest with the next statement.
        writable = select.poll()
        writable.register(driver.pgconn.socket, select.POLLOUT)
        while driver.pgconn.flush():
            writable.poll()

    with _translate_errors(connection, "statements in a pipeline"), driver.pipeline():
        yield flush


def array_parameter(name: str, element_type: TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """Return an array parameter, whose value is a list of values of the element type."""
    return sa.cast(sa.bindparam(name, type_=_ArrayLiteral(element_type)), sa.ARRAY(element_type))


class _ArrayLiteral(sa.TypeDecorator[Any]):
    """A list of values as an array literal (PostgreSQL's manual, section 8.15.2)."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, element_type: TypeEngine[Any]) -> None:
        super().__init__()
        self._element_type = element_type

    def process_bind_param(self, value: Any | None, dialect: sa.Dialect) -> str:  # noqa: ARG002, ANN401 - SQLAlchemy's signature
        """Encode a list."""
        return "{" + ",".join(_encode_elements(self._element_type, value or ())) + "}"


def _encode_elements(element_type: TypeEngine[Any], values: Sequence[Any]) -> Iterable[str]:
    if isinstance(element_type, sa.BigInteger | sa.Boolean | sa.Date | sa.Integer):
        # Python's `str` of these needs no quotes.
        return ["NULL" if value is None else str(value) for value in values]
    if isinstance(element_type, sa.LargeBinary):
        return ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]
    if isinstance(element_type, JsonText):
        values = [json_text(value) for value in values]
    # One search over all values, because hardly any needs escaping.
    joined = "".join(filter(None, values))
    if '"' in joined or "\\" in joined:
        values = [value and value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return ["NULL" if value is None else f'"{value}"' for value in values]


#: The columns of a ledger row, in the order in which its values are written.
LEDGER_COLUMNS: Final = (
    *("source", "id", "retracted", "type", "programme", "project", "instant", "retracts", "revision", "digest"),
    *("topic", "partition", "offset", "appended_ms", "headers", "payload"),
)
_QUOTED_COLUMNS: Final = ", ".join(f'"{name}"' for name in LEDGER_COLUMNS)
_COPY_STATEMENT: Final = f"COPY {ledger.name} ({_QUOTED_COLUMNS}) FROM STDIN (FORMAT binary)"
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_FIELD_COUNT: Final = len(LEDGER_COLUMNS).to_bytes(2, "big")
_COPY_NULL: Final = b"\xff\xff\xff\xff"
_COPY_TRUE: Final = b"\0\0\0\1\1"
_COPY_FALSE: Final = b"\0\0\0\1\0"
_TOMBSTONE_FIELDS: Final = _COPY_TRUE + _COPY_NULL * (len(LEDGER_COLUMNS) - 3)
_pack_length: Final = Struct(">i").pack
_pack_revision_and_digest: Final = Struct(">iqi16s").pack
_pack_origin: Final = Struct(">iiiqiq").pack


@contextmanager
def copy_events(connection: sa.Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Insert new ledger rows by COPY; the server works while the block runs and is done when it ends.

    COPY has no ON CONFLICT: raises `DBAPIError` for a key that exists.
    """
    encoded_rows = map(_encode_copy_row, rows)
    with (
        _translate_errors(connection, _COPY_STATEMENT),
        _psycopg_connection(connection).cursor() as cursor,
        cursor.copy(_COPY_STATEMENT.encode()) as copy,
    ):
        copy.write(_COPY_HEADER)
        # Enough rows to fill a packet, few enough that the server starts early.
        while chunk := b"".join(islice(encoded_rows, 100)):
            copy.write(chunk)
        copy.write(_COPY_TRAILER)
        yield


def _encode_copy_row(row: Sequence[Any]) -> bytes:
    """Return a row in COPY's binary format (PostgreSQL's manual, COPY, "Binary Format").

    Written out field by field, because it runs for every event.
    """
    source, event_id, retracted, event_type, programme, project, instant, retracts, revision, digest, *origin = row
    event_id = event_id.encode()
    key = (_FIELD_COUNT, _copy_text_cached(source), _pack_length(len(event_id)), event_id)
    if digest is None:
        return b"".join((*key, _TOMBSTONE_FIELDS))
    topic, partition, offset, appended_ms, headers, payload = origin
    instant = instant.encode()
    return b"".join(
        (
            *key,
            _COPY_TRUE if retracted else _COPY_FALSE,
            _copy_text_cached(event_type),
            _copy_text_cached(programme),
            _copy_text_cached(project),
            _pack_length(len(instant)),
            instant,
            _COPY_NULL if retracts is None else _length_prefixed(retracts.encode()),
            _pack_revision_and_digest(8, revision, len(digest), digest),
            _copy_text_cached(topic),
            _pack_origin(4, partition, 8, offset, 8, appended_ms),
            _COPY_NULL if headers is None else _length_prefixed(headers),
            _pack_length(len(payload)),
            payload,
        )
    )


@lru_cache(maxsize=16_384)
def _copy_text_cached(text: str) -> bytes:
    return _length_prefixed(text.encode())


def _length_prefixed(field: bytes) -> bytes:
    return _pack_length(len(field)) + field
