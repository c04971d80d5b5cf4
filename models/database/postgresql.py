"""What PostgreSQL is told without waiting for its answer: what is done until it has answered takes no time.

Two ways are used. `COPY` is worked on while rows still come (`stream_rows`), and in libpq's pipeline mode
(PostgreSQL's manual, section 32.5) a statement is begun when it has arrived, whoever waits for it.
"""
# Columns of values as PostgreSQL arrays, written as text: one parameter for any number of rows.
#
# The driver's own way to send a list asks about every element's type and searches it with a regular expression;
# that costs more than everything else a batch needs in Python.
# New rows into the ledger of a PostgreSQL by COPY: the fastest way in there is.
#
# COPY knows no ON CONFLICT, so it is for events that are known to be new. And it is the one statement that PostgreSQL
# works on while it is still being told: what is done here meanwhile takes no time.

import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any, Final, cast

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Date,
    Dialect,
    Integer,
    LargeBinary,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from models.database.tables import JsonText, json_text, ledger


def psycopg_connection(connection: Connection) -> psycopg.Connection:
    """Return the driver's own connection to a PostgreSQL."""
    return cast("psycopg.Connection", connection.connection.driver_connection)


@contextmanager
def translate_errors(connection: Connection, statement: str) -> Iterator[None]:
    """Raise what the driver raises in the block as `DBAPIError`, as SQLAlchemy does for what it executes itself."""
    try:
        yield
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


@contextmanager
def libpq_pipeline(connection: Connection) -> Iterator[Callable[[], None]]:
    """Only send the statements of the block; they are done when it ends, and what is wrong with them is raised then.

    Yields what is to be called when the last of them is on its way: from then on the database works by itself. Nothing
    may be asked of a statement's result, not even how many rows it was. SQLite is done with each at once.
    """
    if connection.dialect.name != "postgresql":
        yield lambda: None
        return
    driver = psycopg_connection(connection)

    def flush() -> None:
        # The driver sends as much as the server takes at once, and the rest with the next statement.
        writable = select.poll()
        writable.register(driver.pgconn.socket, select.POLLOUT)
        while driver.pgconn.flush():
            writable.poll()

    with translate_errors(connection, "statements in a pipeline"), driver.pipeline():
        yield flush


#: Types whose values as Python writes them need no quotes in an array.
_UNQUOTED_TYPES: Final = (BigInteger, Boolean, Date, Integer)


def array_parameter(name: str, element_type: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return the array of so named a parameter, to be executed with a list of values of an element's type."""
    return sql_cast(bindparam(name, type_=_ArrayLiteral(element_type)), ARRAY(element_type))


class _ArrayLiteral(TypeDecorator[Any]):
    """A list of values as the text that PostgreSQL reads an array from (its manual, section 8.15.2)."""

    impl = Text
    cache_ok = True

    def __init__(self, element_type: TypeEngine[Any]) -> None:
        super().__init__()
        self._encode_elements = _element_encoder(element_type)

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str:  # noqa: ARG002, ANN401 - SQLAlchemy's signature
        """Encode."""
        return "{" + ",".join(self._encode_elements(value or ())) + "}"


def _element_encoder(element_type: TypeEngine[Any]) -> Callable[[Sequence[Any]], Iterable[str]]:
    if isinstance(element_type, JsonText):
        return _quoted_json
    if isinstance(element_type, LargeBinary):
        return _quoted_binary
    return _unquoted if isinstance(element_type, _UNQUOTED_TYPES) else _quoted_text


def _quoted_text(values: Sequence[str | None]) -> Iterable[str]:
    # Looked for in all of them at once, because there is hardly ever anything to escape.
    together = "".join(filter(None, values))
    if '"' in together or "\\" in together:
        values = [value and value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return ["NULL" if value is None else f'"{value}"' for value in values]


def _quoted_json(values: Sequence[Any]) -> Iterable[str]:
    return _quoted_text([json_text(value) for value in values])


def _quoted_binary(values: Sequence[bytes | None]) -> Iterable[str]:
    return ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]


def _unquoted(values: Sequence[object]) -> Iterable[str]:
    return ["NULL" if value is None else str(value) for value in values]


#: The values of a row, in this order.
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
_TOMBSTONE_NULL_FIELDS: Final = _COPY_NULL * (len(LEDGER_COLUMNS) - 3)
_pack_length: Final = Struct(">i").pack
_pack_revision_and_digest: Final = Struct(">iqi16s").pack
_pack_origin: Final = Struct(">iiiqiq").pack
#: Rows that are sent at once: enough to be worth a packet, few enough that the server begins soon.
_ROWS_PER_WRITE: Final = 100


@contextmanager
def copy_events(connection: Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Insert rows of the ledger; the server is at it while the block runs, and done when it ends.

    Raises `DBAPIError` as a statement would, for a name that is there too.
    """
    records = map(_encode_copy_row, rows)
    with (
        translate_errors(connection, _COPY_STATEMENT),
        psycopg_connection(connection).cursor() as cursor,
        cursor.copy(_COPY_STATEMENT.encode()) as copy,
    ):
        copy.write(_COPY_HEADER)
        while some := b"".join(islice(records, _ROWS_PER_WRITE)):
            copy.write(some)
        copy.write(_COPY_TRAILER)
        yield


def _encode_copy_row(row: Sequence[Any]) -> bytes:
    """Return a row in COPY's binary format (PostgreSQL's manual, COPY, "Binary Format").

    Written out field by field, because this is done for every event.
    """
    source, event_id, retracted, event_type, programme, project, instant, retracts, revision, digest, *place = row
    event_id = event_id.encode()
    if digest is None:
        return b"".join(
            (
                _FIELD_COUNT,
                _copy_text_cached(source),
                _pack_length(len(event_id)),
                event_id,
                _COPY_TRUE,
                _TOMBSTONE_NULL_FIELDS,
            )
        )
    topic, partition, offset, appended_ms, headers, payload = place
    instant = instant.encode()
    return b"".join(
        (
            _FIELD_COUNT,
            _copy_text_cached(source),
            _pack_length(len(event_id)),
            event_id,
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
