"""The ledger: every event once, under its name, for ever.

Two writers that meet the same name at the same time are ordered by the unique key: the second waits for the first,
finds that it inserted fewer rows than it meant to, and begins again, now seeing them. That is why a retraction of
an event that has not arrived puts down a row that *holds its place*: whichever of the two commits first, the other
finds it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ARRAY, Connection, Text, and_, bindparam, delete, func, select, tuple_, update

from models.database import RacedError
from models.envelope import Headers, decode
from models.events import Event, EventRetracted, Reason, Rejection
from models.rows import write_rows
from models.tables import ledger

_NAMED: Final = and_(ledger.c.source == bindparam("at"), ledger.c.id == bindparam("as"))


class Name(NamedTuple):
    """What names an event for ever."""

    source: str
    id: str


class Entry(NamedTuple):
    """A record of the events topic, read."""

    topic: str
    partition: int
    offset: int
    #: The broker's append time, milliseconds since the epoch.
    appended_ms: int
    headers: Headers
    value: bytes | None
    outcome: Event | Rejection


class Rejected(NamedTuple):
    """A record that was not accepted, and why."""

    entry: Entry
    rejection: Rejection


@dataclass(slots=True)
class Entered:
    """What came of entering events into the ledger."""

    #: New, and to be folded.
    accepted: list[Entry] = field(default_factory=list)
    #: New, but retracted before they came: kept, not folded.
    stillborn: list[Entry] = field(default_factory=list)
    duplicates: list[Entry] = field(default_factory=list)
    conflicts: list[Rejected] = field(default_factory=list)
    #: Subjects (programme, project) that lost an event to a retraction, to be folded again.
    struck: set[tuple[str, str]] = field(default_factory=set)


class _Known(NamedTuple):
    digest: bytes | None
    type: str | None
    programme: str | None
    project: str | None
    retracted: bool


def enter(connection: Connection, entries: Sequence[Entry]) -> Entered:
    """Enter events into the ledger, tell new from known, and strike what new retractions take back."""
    entered = Entered()
    first: dict[Name, tuple[Entry, Event, bytes]] = {}
    for entry in entries:
        event = entry.outcome
        if isinstance(event, Rejection):
            continue
        name, digest = Name(event.source, event.id), event.digest()
        if name not in first:
            first[name] = entry, event, digest
        else:
            _judge_repeat(entered, entry, digest, first[name][2])
    retracts = {
        Name(event.source, event.data.retracts)
        for _, event, _ in first.values()
        if isinstance(event.data, EventRetracted)
    }
    known = _insert(connection, first, retracts)
    _settle(connection, entered, first, known)
    _strike(connection, entered, first, retracts, known)
    return entered


def _judge_repeat(entered: Entered, entry: Entry, digest: bytes, kept: bytes) -> None:
    if digest == kept:
        entered.duplicates.append(entry)
        return
    event = entry.outcome
    assert isinstance(event, Event)  # noqa: S101 - only events have digests; narrows for mypy
    detail = f"another event of source {event.source!r} with id {event.id!r} says something else"
    rejection = Rejection(Reason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
    entered.conflicts.append(Rejected(entry, rejection))


def _insert(
    connection: Connection, first: Mapping[Name, tuple[Entry, Event, bytes]], retracts: set[Name]
) -> dict[Name, _Known]:
    """Insert what is not there, in the order of names; return what was there already."""
    names = sorted(first.keys() | retracts)
    known = dict(_look_up(connection, names))
    new = [name for name in names if name not in known]
    rows = [_row(*first[name]) if name in first else _place_of(name) for name in new]
    if write_rows(connection, ledger, rows, merge=False) != len(rows):
        # Between the look and the insert another writer entered one of them; the insert waited for its commit.
        raise RacedError("another worker entered an event of this batch at the same moment")
    return known


def _row(entry: Entry, event: Event, digest: bytes) -> dict[str, Any]:
    return {
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "programme": event.programme,
        "project": event.project,
        "instant": event.instant,
        "retracts": event.data.retracts if isinstance(event.data, EventRetracted) else None,
        "retracted": False,
        "digest": digest,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "appended_ms": entry.appended_ms,
        "headers": msgspec.msgpack.encode(entry.headers) if entry.headers else None,
        "payload": entry.value,
    }


def _place_of(name: Name) -> dict[str, Any]:
    return {**dict.fromkeys(ledger.c.keys()), "source": name.source, "id": name.id, "retracted": True}


def _look_up(connection: Connection, names: Sequence[Name]) -> Iterator[tuple[Name, _Known]]:
    columns = [ledger.c[name] for name in ("source", "id", *_Known._fields)]
    if connection.dialect.name == "postgresql":
        sources, ids = (bindparam(name, type_=ARRAY(Text)) for name in ("sources", "ids"))
        asked = select(func.unnest(sources), func.unnest(ids))
        parameters: dict[str, Any] = {"sources": [name.source for name in names], "ids": [name.id for name in names]}
    else:
        each = func.json_each(bindparam("names", type_=Text)).table_valued("value")
        asked = select(func.json_extract(each.c.value, "$[0]"), func.json_extract(each.c.value, "$[1]"))
        parameters = {"names": msgspec.json.encode(names).decode()}
    query = select(*columns).where(tuple_(ledger.c.source, ledger.c.id).in_(asked))
    for row in connection.execute(query, parameters):
        yield Name(row.source, row.id), _Known(*row[2:])


def _settle(
    connection: Connection,
    entered: Entered,
    first: Mapping[Name, tuple[Entry, Event, bytes]],
    known: Mapping[Name, _Known],
) -> None:
    """Tell accepted from duplicate; fill the places that retractions held."""
    fill = []
    for name, (entry, event, digest) in sorted(first.items()):
        there = known.get(name)
        if there is None:
            entered.accepted.append(entry)
        elif there.digest is not None:
            _judge_repeat(entered, entry, digest, there.digest)
        else:
            # A retraction cannot be retracted: held place or not, it counts.
            takes_back = isinstance(event.data, EventRetracted)
            (entered.accepted if takes_back else entered.stillborn).append(entry)
            fill.append({**_row(entry, event, digest), "retracted": not takes_back, "at": name.source, "as": name.id})
    if fill:
        columns = [column.name for column in ledger.c if not column.primary_key]
        connection.execute(update(ledger).where(_NAMED).values({name: bindparam(name) for name in columns}), fill)


def _strike(
    connection: Connection,
    entered: Entered,
    first: Mapping[Name, tuple[Entry, Event, bytes]],
    retracts: set[Name],
    known: Mapping[Name, _Known],
) -> None:
    """Mark as retracted what new retractions take back and the ledger holds."""
    accepted = {
        (entry.outcome.source, entry.outcome.id) for entry in entered.accepted if isinstance(entry.outcome, Event)
    }
    effective = {
        Name(event.source, event.data.retracts)
        for name, (_, event, _) in first.items()
        if isinstance(event.data, EventRetracted) and name in accepted
    }
    # A retraction that turned out to be no event of its own (a conflict) may not leave a place behind it.
    if void := [
        {"at": name.source, "as": name.id} for name in sorted(retracts - effective - first.keys() - known.keys())
    ]:
        connection.execute(delete(ledger).where(_NAMED), void)
    struck = []
    for name in sorted(effective):
        there = known.get(name)
        if name in first and name in accepted:
            # Both came in this batch.
            event = first[name][1]
            found = _Known(None, event.type, event.programme, event.project, retracted=False)
        elif there is not None and there.type is not None and not there.retracted:
            found = there
        else:
            continue
        if found.type != EventRetracted.TYPE:
            struck.append({"at": name.source, "as": name.id})
            entered.struck.add((found.programme or "", found.project or ""))
    if struck:
        connection.execute(update(ledger).where(_NAMED).values(retracted=True), struck)


def read_subject_events(connection: Connection, programme: str, project: str) -> Iterator[Event]:
    """Return the unretracted events of one subject, decoded again from what came."""
    query = select(ledger.c.headers, ledger.c.payload).where(
        ledger.c.programme == programme, ledger.c.project == project, ledger.c.retracted.is_(False)
    )
    for row in connection.execute(query):
        yield restore(row.headers, row.payload)


def restore(headers: bytes | None, payload: bytes) -> Event:
    """Decode the event of a ledger row; what was accepted once is accepted for ever."""
    named = [] if headers is None else msgspec.msgpack.decode(headers, type=list[tuple[str, bytes | None]])
    event = decode(named, payload)
    if isinstance(event, Rejection):
        raise TypeError(f"the ledger holds an event that is none: {event.reason}, {event.detail}")
    return event
