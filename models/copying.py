"""New rows into the ledger of a PostgreSQL by COPY: the fastest way in there is.

COPY knows no ON CONFLICT, so it is for events that are known to be new.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import psycopg
from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError

from models.tables import ledger

_COLUMNS: Final = (
    *("source", "id", "retracted", "type", "programme", "project", "instant", "retracts", "revision", "digest"),
    *("topic", "partition", "offset", "appended_ms", "headers", "payload"),
)
_QUOTED: Final = ", ".join(f'"{name}"' for name in _COLUMNS)
_COPY: Final = f"COPY {ledger.name} ({_QUOTED}) FROM STDIN"
_NULL: Final = "\\N"
_A_PLACE: Final = "\t".join(["", "t", *[_NULL] * (len(_COLUMNS) - 3)]) + "\n"


def copy_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the ledger; raises `DBAPIError` as a statement would, for a name that is there too."""
    lines = "".join(map(_line, rows)).encode()
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY.encode()) as copy:
            copy.write(lines)
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            _COPY, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


def _line(row: Mapping[str, Any]) -> str:
    """Return a row in COPY's text format (PostgreSQL's manual, COPY, "Text Format").

    Written out field by field, because this is done for every event. No name may hold a control character, so a
    backslash is all there is to escape.
    """
    source, event_id, digest = _escaped(row["source"]), _escaped(row["id"]), row["digest"]
    if digest is None:
        return f"{source}\t{event_id}{_A_PLACE}"
    retracts = _NULL if row["retracts"] is None else _escaped(row["retracts"])
    headers = _NULL if row["headers"] is None else f"\\\\x{row['headers'].hex()}"
    return (
        f"{source}\t{event_id}\t{'t' if row['retracted'] else 'f'}\t{row['type']}\t{row['programme']}\t{row['project']}"
        f"\t{row['instant']}\t{retracts}\t{row['revision']}\t\\\\x{digest.hex()}"
        f"\t{row['topic']}\t{row['partition']}\t{row['offset']}\t{row['appended_ms']}"
        f"\t{headers}\t\\\\x{row['payload'].hex()}\n"
    )


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\")
