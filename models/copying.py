"""New rows into the ledger of a PostgreSQL by COPY: the fastest way in there is.

COPY knows no ON CONFLICT, so it is for events that are known to be new. And it is the one statement that PostgreSQL
works on while it is still being told: what is done here meanwhile takes no time.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any, Final

from sqlalchemy import Connection

from models.sending import driver_of, raising_as_statements_do
from models.tables import ledger

#: The values of a row, in this order.
COLUMNS: Final = (
    *("source", "id", "retracted", "type", "programme", "project", "instant", "retracts", "revision", "digest"),
    *("topic", "partition", "offset", "appended_ms", "headers", "payload"),
)
_QUOTED: Final = ", ".join(f'"{name}"' for name in COLUMNS)
_COPY: Final = f"COPY {ledger.name} ({_QUOTED}) FROM STDIN (FORMAT binary)"
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_FIELDS: Final = len(COLUMNS).to_bytes(2, "big")
_NULL: Final = b"\xff\xff\xff\xff"
_TRUE: Final = b"\0\0\0\1\1"
_FALSE: Final = b"\0\0\0\1\0"
_NOTHING_ELSE: Final = _NULL * (len(COLUMNS) - 3)
_size: Final = Struct(">i").pack
_revision_and_digest: Final = Struct(">iqi16s").pack
_place: Final = Struct(">iiiqiq").pack
#: Rows that are sent at once: enough to be worth a packet, few enough that the server begins soon.
_AT_ONCE: Final = 100


@contextmanager
def copying_events(connection: Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Insert rows of the ledger; the server is at it while the block runs, and done when it ends.

    Raises `DBAPIError` as a statement would, for a name that is there too.
    """
    records = map(_record, rows)
    with (
        raising_as_statements_do(connection, _COPY),
        driver_of(connection).cursor() as cursor,
        cursor.copy(_COPY.encode()) as copy,
    ):
        copy.write(_HEAD)
        while some := b"".join(islice(records, _AT_ONCE)):
            copy.write(some)
        copy.write(_END)
        yield


def _record(row: Sequence[Any]) -> bytes:
    """Return a row in COPY's binary format (PostgreSQL's manual, COPY, "Binary Format").

    Written out field by field, because this is done for every event.
    """
    source, event_id, retracted, event_type, programme, project, instant, retracts, revision, digest, *place = row
    event_id = event_id.encode()
    if digest is None:
        return b"".join((_FIELDS, _repeated(source), _size(len(event_id)), event_id, _TRUE, _NOTHING_ELSE))
    topic, partition, offset, appended_ms, headers, payload = place
    instant = instant.encode()
    return b"".join(
        (
            _FIELDS,
            _repeated(source),
            _size(len(event_id)),
            event_id,
            _TRUE if retracted else _FALSE,
            _repeated(event_type),
            _repeated(programme),
            _repeated(project),
            _size(len(instant)),
            instant,
            _NULL if retracts is None else _sized(retracts.encode()),
            _revision_and_digest(8, revision, len(digest), digest),
            _repeated(topic),
            _place(4, partition, 8, offset, 8, appended_ms),
            _NULL if headers is None else _sized(headers),
            _size(len(payload)),
            payload,
        )
    )


@lru_cache(maxsize=16_384)
def _repeated(text: str) -> bytes:
    return _sized(text.encode())


def _sized(field: bytes) -> bytes:
    return _size(len(field)) + field
