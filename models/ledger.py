"""The ledger: every event once, under its name, for ever.

Two writers that meet the same name at the same time are ordered by the unique key: the second waits for the first,
finds that it inserted fewer rows than it meant to, and begins again, now seeing them. That is why a retraction of
an event that has not arrived puts down a row that *holds its place*: whichever of the two commits first, the other
finds it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ARRAY, Connection, Text, bindparam, func, select, tuple_, update

from models.database import RacedError
from models.envelope import Headers, decode
from models.events import Event, EventRetracted, Reason, Rejection
from models.rows import write_rows
from models.tables import ledger


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
    #: New, but retracted by now: kept, not folded.
    stillborn: list[Entry] = field(default_factory=list)
    duplicates: list[Entry] = field(default_factory=list)
    conflicts: list[Rejected] = field(default_factory=list)
    #: Subjects (programme, project) that lost a known event to a retraction, to be folded again, and when the oldest
    #: such retraction was appended.
    struck: dict[tuple[str, str], int] = field(default_factory=dict)


class _Known(NamedTuple):
    digest: bytes | None
    type: str | None
    programme: str | None
    project: str | None
    retracted: bool


class _New(NamedTuple):
    """An event that the ledger does not hold yet."""

    entry: Entry
    event: Event
    digest: bytes

    @property
    def takes_back(self) -> str | None:
        """The id of the event that it retracts."""
        return self.event.data.retracts if isinstance(self.event.data, EventRetracted) else None


def enter(connection: Connection, entries: Sequence[Entry]) -> Entered:
    """Enter events into the ledger, tell new from known, and strike what new retractions take back.

    Raises `RacedError` when another writer was faster with one of them.
    """
    entered = Entered()
    events = [(entry, event) for entry in entries if isinstance(event := entry.outcome, Event)]
    known = _look_up(connection, sorted({name for _, event in events for name in _names_in(event)}))
    new = _tell_new(entered, events, known)
    retractions: dict[Name, int] = {}
    for entry, event, _ in new.values():
        if isinstance(event.data, EventRetracted):
            target = Name(event.source, event.data.retracts)
            retractions[target] = min(entry.appended_ms, retractions.get(target, entry.appended_ms))
    stillborn = {
        name for name, found in new.items() if found.takes_back is None and (name in known or name in retractions)
    }
    for name, found in new.items():
        (entered.stillborn if name in stillborn else entered.accepted).append(found.entry)
    _insert(connection, new, stillborn, known, places=retractions.keys() - new.keys() - known.keys())
    _fill(connection, new, stillborn, known)
    _strike(connection, entered, retractions, known)
    return entered


def _names_in(event: Event) -> Iterator[Name]:
    yield Name(event.source, event.id)
    if isinstance(event.data, EventRetracted):
        yield Name(event.source, event.data.retracts)


def _tell_new(
    entered: Entered, events: Sequence[tuple[Entry, Event]], known: Mapping[Name, _Known]
) -> dict[Name, _New]:
    """Tell new events from repeated ones and from those that say something else under a name that is taken."""
    taken = {name: there.digest for name, there in known.items() if there.digest is not None}
    new = {}
    for entry, event in events:
        name, digest = Name(event.source, event.id), event.digest()
        if name not in taken:
            taken[name] = digest
            new[name] = _New(entry, event, digest)
        elif taken[name] == digest:
            entered.duplicates.append(entry)
        else:
            detail = f"another event of source {event.source!r} with id {event.id!r} says something else"
            rejection = Rejection(Reason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
            entered.conflicts.append(Rejected(entry, rejection))
    return new


def _insert(
    connection: Connection,
    new: Mapping[Name, _New],
    stillborn: set[Name],
    known: Mapping[Name, _Known],
    *,
    places: set[Name],
) -> None:
    """Insert what is not there, in the order of names."""
    names = sorted((new.keys() - known.keys()) | places)
    rows = [_place_of(name) if name in places else _row(new[name], retracted=name in stillborn) for name in names]
    if write_rows(connection, ledger, rows, merge=False) != len(rows):
        # Between the look and the insert another writer entered one of them; the insert waited for its commit.
        raise RacedError("another worker entered an event of this batch at the same moment")


def _fill(connection: Connection, new: Mapping[Name, _New], stillborn: set[Name], known: Mapping[Name, _Known]) -> None:
    """Fill the places that retractions held."""
    for name in sorted(new.keys() & known.keys()):
        is_place = (ledger.c.source == name.source) & (ledger.c.id == name.id) & ledger.c.digest.is_(None)
        filled = update(ledger).where(is_place).values(_row(new[name], retracted=name in stillborn))
        if connection.execute(filled).rowcount != 1:
            raise RacedError("another worker entered an event that was retracted before, at the same moment")


def _strike(
    connection: Connection, entered: Entered, retractions: Mapping[Name, int], known: Mapping[Name, _Known]
) -> None:
    """Mark as retracted what the ledger held already and new retractions take back."""
    for name in sorted(retractions.keys() & known.keys()):
        there = known[name]
        # A place has nothing to strike yet, and a retraction cannot be retracted.
        if there.digest is None or there.retracted or there.type == EventRetracted.TYPE:
            continue
        is_it = (ledger.c.source == name.source) & (ledger.c.id == name.id)
        connection.execute(update(ledger).where(is_it).values(retracted=True))
        subject = there.programme or "", there.project or ""
        entered.struck[subject] = min(retractions[name], entered.struck.get(subject, retractions[name]))


def _row(new: _New, *, retracted: bool) -> dict[str, Any]:
    entry, event, digest = new
    return {
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "programme": event.programme,
        "project": event.project,
        "instant": event.instant,
        "retracts": new.takes_back,
        "retracted": retracted,
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


def _look_up(connection: Connection, names: Sequence[Name]) -> dict[Name, _Known]:
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
    return {Name(row.source, row.id): _Known(*row[2:]) for row in connection.execute(query, parameters)}


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
