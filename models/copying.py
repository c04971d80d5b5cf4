"""New rows into a PostgreSQL table by COPY in binary: the fastest way in there is.

COPY knows no ON CONFLICT, so it is for rows that are known to be new.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final, cast

import psycopg
from sqlalchemy import BigInteger, Boolean, Connection, Integer, LargeBinary, Table, Text
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError

#: What a binary copy begins and ends with: PostgreSQL's manual, COPY, "Binary Format".
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_INT2, _INT4 = Struct(">h").pack, Struct(">i").pack
_SIZED_INT4, _SIZED_INT8, _SIZED_BOOL = Struct(">ii").pack, Struct(">iq").pack, Struct(">i?").pack


def copy_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that name the same columns; raises `DBAPIError` as a statement would, for a key that is there too."""
    names = tuple(rows[0])
    columns = [_encoder(table, name)([row[name] for row in rows]) for name in names]
    fields = chain.from_iterable(zip(repeat(_INT2(len(names))), *columns, strict=False))
    statement = _statement(table, names)
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write(b"".join((_HEAD, *fields, _TAIL)))
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


@lru_cache(maxsize=8)
def _statement(table: Table, names: Sequence[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"COPY {table.name} ({quoted}) FROM STDIN (FORMAT BINARY)"


def _encoder(table: Table, name: str) -> Callable[[Sequence[Any]], Sequence[bytes]]:
    kind = table.c[name].type
    for known, encode in _ENCODERS.items():
        if isinstance(kind, known):
            return encode
    raise TypeError(f"{table.name}.{name} is of a type that is not copied: {kind!r}")


def _texts(values: Sequence[str | None]) -> Sequence[bytes]:
    return _binaries([None if value is None else value.encode() for value in values])


def _binaries(values: Sequence[bytes | None]) -> Sequence[bytes]:
    return [_NULL if value is None else _INT4(len(value)) + value for value in values]


def _integers(values: Sequence[int | None]) -> Sequence[bytes]:
    return [_NULL if value is None else _SIZED_INT4(4, value) for value in values]


def _big_integers(values: Sequence[int | None]) -> Sequence[bytes]:
    return [_NULL if value is None else _SIZED_INT8(8, value) for value in values]


def _booleans(values: Sequence[bool | None]) -> Sequence[bytes]:
    return [_NULL if value is None else _SIZED_BOOL(1, value) for value in values]


#: In this order: a BigInteger is an Integer, too.
_ENCODERS: Final[Mapping[type, Callable[[Sequence[Any]], Sequence[bytes]]]] = {
    BigInteger: _big_integers,
    Integer: _integers,
    Boolean: _booleans,
    LargeBinary: _binaries,
    Text: _texts,
}
