"""Fast writes into PostgreSQL: COPY, libpq pipeline mode, and array parameters.

COPY streaming and pipeline mode (PostgreSQL's manual, section 32.5) send statements without waiting for their results,
so Python works while the database does. Arrays are encoded here, because the driver's own encoder for lists inspects
every element: it takes several times as long.
"""

import select
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


_TYPE_NAMES: Final[Mapping[type[TypeEngine[Any]], str]] = {
    sa.BigInteger: "int8",
    sa.Boolean: "bool",
    sa.Integer: "int4",
    sa.LargeBinary: "bytea",
    sa.Text: "text",
}
#: The columns of a ledger row, in the order in which its values are written.
LEDGER_COLUMNS: Final = (
    *("source", "id", "retracted", "type", "programme", "project", "instant", "retracts", "revision", "digest"),
    *("topic", "partition", "offset", "appended_ms", "headers", "payload"),
)
_QUOTED_COLUMNS: Final = ", ".join(f'"{name}"' for name in LEDGER_COLUMNS)
_COPY_STATEMENT: Final = f"COPY {ledger.name} ({_QUOTED_COLUMNS}) FROM STDIN (FORMAT binary)"
#: PostgreSQL's names of the columns' types: the binary format converts nothing.
_COPY_TYPES: Final = [_TYPE_NAMES[type(ledger.c[name].type)] for name in LEDGER_COLUMNS]


@contextmanager
def copy_events(connection: sa.Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Insert new ledger rows by COPY; the server works while the block runs and is done when it ends.

    The driver holds the last 32 KB back until then. A row has the values of `LEDGER_COLUMNS`. COPY has no ON CONFLICT:
    raises `DBAPIError` for a key that exists.
    """
    with (
        _translate_errors(connection, _COPY_STATEMENT),
        _psycopg_connection(connection).cursor() as cursor,
        cursor.copy(_COPY_STATEMENT.encode()) as copy,
    ):
        copy.set_types(_COPY_TYPES)
        for row in rows:
            copy.write_row(row)
        yield
