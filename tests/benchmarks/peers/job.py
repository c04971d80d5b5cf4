"""The job that all peers share: decode, keep every event once, keep the newest claim of each milestone."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import psutil
from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    case,
    create_engine,
    or_,
    tuple_,
)
from sqlalchemy.dialects.postgresql import Insert, insert

REGISTERS: Final = ("planned", "estimated", "actual")
_CLASSIFIERS: Final = {"PLN": "planned", "EST": "estimated", "ACT": "actual"}

_metadata = MetaData()
kept_events = Table(
    "kept",
    _metadata,
    *(Column(name, Text, primary_key=True) for name in ("source", "id")),
    *(Column(name, Text) for name in ("type", "subject", "milestone", "classifier", "date", "at")),
    Column("payload", LargeBinary),
)
newest_claims = Table(
    "newest",
    _metadata,
    *(Column(name, Text, primary_key=True) for name in ("subject", "milestone")),
    *(Column(f"{register}_{what}", Text) for register in REGISTERS for what in ("date", "at", "id")),
)

PeerRow = dict[str, Any]


class PeerArguments(NamedTuple):
    """What a peer is told."""

    kafka: str
    database: str
    topic: str
    #: How many there are for this process.
    events: int
    #: Partitions that are its own, where it is one of several.
    partitions: Sequence[int] = ()

    @classmethod
    def from_command_line(cls) -> "PeerArguments":
        """Read them."""
        kafka, database, topic, events, *more = sys.argv[1:]
        return cls(kafka, database, topic, int(events), [int(word) for word in more if word.isdigit()])


class _PeerReport(msgspec.Struct):
    milestone: str
    classifier: str
    date: str


class _PeerEvent(msgspec.Struct):
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: _PeerReport


_decode = msgspec.json.Decoder(_PeerEvent).decode


def decode_row(value: bytes) -> PeerRow:
    """Return an event as the row that keeps it."""
    event = _decode(value)
    return {
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "milestone": event.data.milestone,
        "classifier": event.data.classifier,
        "date": event.data.date,
        "at": event.time,
        "payload": value,
    }


def newest_claims_of(rows: Iterable[PeerRow]) -> list[PeerRow]:
    """Return the newest claims of each milestone among some events."""
    found: dict[tuple[str, str], PeerRow] = {}
    empty = dict.fromkeys(f"{register}_{what}" for register in REGISTERS for what in ("date", "at", "id"))
    for row in rows:
        key = row["subject"], row["milestone"]
        claims = found.get(key)
        if claims is None:
            claims = found[key] = {"subject": key[0], "milestone": key[1], **empty}
        register = _CLASSIFIERS[row["classifier"]]
        at, event_id = claims[f"{register}_at"], claims[f"{register}_id"]
        if at is None or (row["at"], row["id"]) > (at, event_id):
            claims[f"{register}_date"], claims[f"{register}_at"], claims[f"{register}_id"] = (
                row["date"],
                row["at"],
                row["id"],
            )
    return list(found.values())


def merge_statement() -> Insert:
    """Return the statement that lets the newest claims win."""
    statement = insert(newest_claims)
    new, winners = statement.excluded, cast("dict[str, ColumnElement[Any]]", {})
    for register in REGISTERS:
        at, event_id = f"{register}_at", f"{register}_id"
        later = tuple_(new[at], new[event_id]) > tuple_(newest_claims.c[at], newest_claims.c[event_id])
        wins = and_(new[at].is_not(None), or_(newest_claims.c[at].is_(None), later))
        for name in (f"{register}_date", event_id, at):
            winners[name] = case((wins, new[name]), else_=newest_claims.c[name])
    return statement.on_conflict_do_update(index_elements=["subject", "milestone"], set_=winners)


_INSERT_EVENTS: Final = insert(kept_events).on_conflict_do_nothing()
_MERGE_CLAIMS: Final = merge_statement()


def create_job_tables(database: str) -> Engine:
    """Return an engine on the job's tables, made anew."""
    engine = create_engine(database)
    _metadata.create_all(engine)
    return engine


def write_batch(engine: Engine, values: Sequence[bytes]) -> None:
    """Do the job for some events, in one transaction."""
    rows = [decode_row(value) for value in values]
    with engine.begin() as connection:
        connection.execute(_INSERT_EVENTS, rows)
        connection.execute(_MERGE_CLAIMS, newest_claims_of(rows))


class PeerProgress:
    """Ends the program when all is done, and says how it went."""

    def __init__(self, events: int) -> None:
        self._events = self._remaining = events
        self._began = 0.0

    def start_clock(self) -> None:
        """Note that events came: from the first on, time counts."""
        self._began = self._began or time.time()

    def add_committed(self, events: int) -> None:
        """Note that so many more are committed."""
        self._remaining -= events
        if self._remaining <= 0:
            print_result(self._events, self._began, time.time(), psutil.Process().memory_info().rss)
            # Frameworks take their time to end, and nothing is asked of them any more.
            os._exit(0)


def print_result(events: int, began: float, ended: float, resident: int) -> None:
    """Print how many were worked off from when to when, in seconds since the epoch, and the bytes it had at the end."""
    # Frameworks take the standard output for their own.
    os.write(1, f"\nworked on {events} from {began} to {ended} in {resident} bytes\n".encode())
