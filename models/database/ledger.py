"""The ledger: every event once, under its name, for ever.

Two writers that meet the same name at the same time are ordered by the unique key: the second waits for the first,
finds that it inserted fewer rows than it meant to, and begins again, now seeing them. That is why a retraction of
an event that has not arrived puts down a row that *holds its place*: whichever of the two commits first, the other
finds it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from psycopg.errors import UniqueViolation
from sqlalchemy import ColumnElement, Connection, Result, Select, Text, Update, bindparam, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from models.database.claims import parameters, written_since
from models.database.postgresql import COLUMNS, array_of, copying_events
from models.database.tables import ledger
from models.database.upsert import OnConflict, Rows, write_rows
from models.domain.cloudevents import Headers, decode, decode_data
from models.domain.events import Event, EventRetracted, Reason, Rejection
from models.domain.timestamps import Instant, Stamp, make_stamp
from models.errors import RacedError

#: How many projects one query names, at most.
_AT_ONCE: Final = 500
#: Bytes of packed headers that are few.
_SHORT: Final = 64
_RACED: Final = "another worker entered an event of this batch at the same moment"


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
    #: The event's digest, where it is known by now.
    digest: bytes | None = None


class Rejected(NamedTuple):
    """A record that was not accepted, and why."""

    entry: Entry
    rejection: Rejection


class Strike(NamedTuple):
    """An event that a retraction took back after it had counted."""

    programme: str
    project: str
    struck: Stamp
    #: The stamp of the retraction.
    by: Stamp


class Struck(NamedTuple):
    """A known event that a new retraction takes back."""

    name: Name
    type: str
    #: Programme and project.
    subject: tuple[str, str]
    stamp: Stamp
    #: When the oldest such retraction was appended.
    appended_ms: int

    @property
    def programme(self) -> str:
        """Whose dates it may move."""
        return self.subject[0]


class _Known(NamedTuple):
    digest: bytes | None
    type: str | None
    programme: str | None
    project: str | None
    instant: Instant | None
    retracted: bool


class _New(NamedTuple):
    """An event that the ledger does not hold yet."""

    entry: Entry
    event: Event
    digest: bytes
    #: The id of the event that it retracts.
    takes_back: str | None


class Sorted:
    """What a batch of events is to the ledger, before anything is written."""

    def __init__(self, events: Sequence[tuple[Name, Entry, Event]], known: Mapping[Name, _Known]) -> None:
        """Sort events, given what the ledger holds of them and of what they take back."""
        #: New, and to be folded.
        self.accepted: list[Entry] = []
        #: New, but retracted by now: kept, not folded.
        self.stillborn: list[Entry] = []
        self.duplicates: list[Entry] = []
        self.conflicts: list[Rejected] = []
        #: Known, and folded by now; a new retraction takes it back.
        self.struck: list[Struck] = []
        self._known = known
        self._new: dict[Name, _New] = {}
        #: What new retractions take back, and when the oldest of each was appended.
        self._taken_back: dict[Name, int] = {}
        self._stillborn: set[Name] = set()
        self._tell_new(events)
        self._tell_stillborn()
        self._tell_struck()

    @property
    def is_all_new(self) -> bool:
        """Whether the ledger knew nothing of it."""
        return not self._known

    def _tell_new(self, events: Sequence[tuple[Name, Entry, Event]]) -> None:
        """Tell new events from repeated ones and from those that say something else under a name that is taken."""
        taken = {name: there.digest for name, there in self._known.items() if there.digest is not None}
        for name, entry, event in events:
            digest = entry.digest or event.digest()
            if name not in taken:
                taken[name] = digest
                self._new[name] = _New(entry, event, digest, _taken_back_by(event))
            elif taken[name] == digest:
                self.duplicates.append(entry)
            else:
                detail = f"another event of source {event.source!r} with id {event.id!r} says something else"
                rejection = Rejection(Reason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
                self.conflicts.append(Rejected(entry, rejection))

    def _tell_stillborn(self) -> None:
        for entry, event, _, takes_back in self._new.values():
            if takes_back is not None:
                target = Name(event.source, takes_back)
                self._taken_back[target] = min(entry.appended_ms, self._taken_back.get(target, entry.appended_ms))
        # Known and new at once: its place was held by a retraction.
        gone = self._new.keys() & (self._known.keys() | self._taken_back.keys())
        self._stillborn = {name for name in gone if self._new[name].takes_back is None}
        for name, new in self._new.items():
            (self.stillborn if name in self._stillborn else self.accepted).append(new.entry)

    def _tell_struck(self) -> None:
        for name in sorted(self._taken_back.keys() & self._known.keys()):
            _, event_type, programme, project, instant, is_retracted = self._known[name]
            # A place has nothing to strike yet, and a retraction cannot be retracted.
            if event_type is None or is_retracted or event_type == EventRetracted.TYPE:
                continue
            stamp = make_stamp(Instant(instant or ""), *name)
            subject = (programme or "", project or "")
            self.struck.append(Struck(name, event_type, subject, stamp, self._taken_back[name]))

    @contextmanager
    def entering(self, connection: Connection, revisions: Mapping[str, int]) -> Iterator[None]:
        """Write it all, at the revisions of the programmes; in the order of names. It is written when the block ends.

        In the block, the connection is taken. Raises `RacedError` when another writer was faster with one of them.
        """
        places = self._taken_back.keys() - self._new.keys() - self._known.keys()
        names = sorted((self._new.keys() - self._known.keys()) | places)
        rows = (_place_of(name) if name in places else self._row(name, revisions) for name in names)
        with _inserting(connection, rows) if names else nullcontext():
            yield
        for name in sorted(self._new.keys() & self._known.keys()):
            is_place = _is(name) & ledger.c.digest.is_(None)
            filled = update(ledger).where(is_place).values(dict(zip(COLUMNS, self._row(name, revisions), strict=True)))
            if connection.execute(filled).rowcount != 1:
                raise RacedError("another worker entered an event that was retracted before, at the same moment")
        if self.struck:
            its = [
                {"its_source": event.name.source, "its_id": event.name.id, "at_revision": revisions[event.programme]}
                for event in self.struck
            ]
            connection.execute(_striking(), its)

    def _row(self, name: Name, revisions: Mapping[str, int]) -> Sequence[Any]:
        entry, event, digest, takes_back = self._new[name]
        return (
            *name,
            name in self._stillborn,
            event.data.TYPE,
            event.programme,
            event.project,
            event.instant,
            takes_back,
            revisions[event.programme],
            digest,
            *entry[:4],
            _pack(entry.headers) if entry.headers else None,
            entry.value,
        )


def _striking() -> Update:
    is_it = (ledger.c.source == bindparam("its_source")) & (ledger.c.id == bindparam("its_id"))
    return update(ledger).where(is_it).values(retracted=True, struck_revision=bindparam("at_revision"))


@contextmanager
def _inserting(connection: Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    # Between the look and the insert another writer may enter one of them; then the insert waits for its commit.
    if connection.dialect.name == "postgresql":
        try:
            with copying_events(connection, rows):
                yield
        except IntegrityError as error:
            if isinstance(error.orig, UniqueViolation):
                raise RacedError(_RACED) from error
            raise
    else:
        all_rows = list(rows)
        if write_rows(connection, ledger, Rows(COLUMNS, all_rows), OnConflict.LEAVE) != len(all_rows):
            raise RacedError(_RACED)
        yield


def sort_out(connection: Connection, entries: Sequence[Entry], *, all_new: bool = False) -> Sorted:
    """Return what a batch of events is to the ledger; `Sorted.entering` writes it.

    Where all of it is taken for new, the ledger is asked for no more than what is retracted; if some of it is known
    after all, `Sorted.entering` raises `RacedError`.
    """
    events = [
        (Name(event.source, event.id), entry, event) for entry in entries if isinstance(event := entry.outcome, Event)
    ]
    names = set() if all_new else {name for name, _, _ in events}
    names.update(Name(event.source, id_) for _, _, event in events if (id_ := _taken_back_by(event)) is not None)
    return Sorted(events, _look_up(connection, list(names)))


def _taken_back_by(event: Event) -> str | None:
    """Return the id of the event that one retracts."""
    return event.data.retracts if isinstance(event.data, EventRetracted) else None


def _is(name: Name) -> ColumnElement[bool]:
    return (ledger.c.source == name.source) & (ledger.c.id == name.id)


def _place_of(name: Name) -> Sequence[Any]:
    return (*name, True, *_NOTHING_ELSE)


def _look_up(connection: Connection, names: Sequence[Name]) -> dict[Name, _Known]:
    if not names:
        return {}
    rows = _read_named(connection, names, _Known._fields)
    return {Name(source, event_id): _Known(*known) for source, event_id, *known in rows}


def read_events(connection: Connection, names: Sequence[Name]) -> dict[Name, Event]:
    """Return the events of these names that the ledger holds."""
    rows = _read_named(connection, names, ("headers", "payload"))
    return {Name(row.source, row.id): restore(row.headers, row.payload) for row in rows if row.payload is not None}


def read_correlations(connection: Connection, names: Sequence[Name]) -> dict[Name, str]:
    """Return the correlation ids of those of these events that have one."""
    rows = _read_named(connection, names, ("headers", "payload"))
    named = b"correlationid"
    carrying = [row for row in rows if named in (row.payload or b"") or named in (row.headers or b"")]
    events = [restore(row.headers, row.payload) for row in carrying]
    return {Name(event.source, event.id): event.correlationid for event in events if event.correlationid is not None}


def _read_named(connection: Connection, names: Sequence[Name], fields: Sequence[str]) -> Result[*tuple[Any, ...]]:
    dialect = connection.dialect.name
    if dialect == "postgresql":
        parameters: dict[str, Any] = {"sources": [name.source for name in names], "ids": [name.id for name in names]}
    else:
        parameters = {"names": msgspec.json.encode(names).decode()}
    return connection.execute(_named(dialect, tuple(fields)), parameters)


@lru_cache(maxsize=8)
def _named(dialect: str, fields: Sequence[str]) -> Select[Any]:
    """Return the query for events by name; to put it together costs more than to execute it for a few."""
    if dialect == "postgresql":
        sources, ids = (array_of(name, Text()) for name in ("sources", "ids"))
        asked = select(func.unnest(sources), func.unnest(ids))
    else:
        each = func.json_each(bindparam("names", type_=Text)).table_valued("value")
        asked = select(func.json_extract(each.c.value, "$[0]"), func.json_extract(each.c.value, "$[1]"))
    columns = [ledger.c[name] for name in (*Name._fields, *fields)]
    return select(*columns).where(tuple_(ledger.c.source, ledger.c.id).in_(asked))


def read_subject_events(
    connection: Connection, programme: str, projects: Sequence[str], *, until: int | None = None
) -> Iterator[Event]:
    """Return the unretracted events of some subjects of a programme, as far as a fold asks for them.

    What was accepted once is not judged again: its data come from the record, the rest from the columns beside it.
    With `until`, as they were at that revision of the programme: without what came, or was taken back, later.
    """
    names = ("type", "source", "id", "project", "instant", "headers", "payload")
    query = select(*(ledger.c[name] for name in names)).where(ledger.c.programme == programme)
    if until is None:
        query = query.where(ledger.c.retracted.is_(False))
    else:
        stood = ledger.c.retracted.is_(False) | (ledger.c.struck_revision > until)
        query = query.where(ledger.c.revision <= until, stood)
    for start in range(0, len(projects), _AT_ONCE):
        some = query.where(ledger.c.project.in_(projects[start : start + _AT_ONCE]))
        for event_type, source, event_id, project, instant, headers, payload in connection.execute(some):
            data = decode_data(event_type, headers_of(headers), payload)
            yield Event(source=source, id=event_id, programme=programme, project=project, time=instant, data=data)


def read_strikes(connection: Connection, since: Mapping[str, int]) -> list[Strike]:
    """Return what retractions struck of some programmes after a revision of each."""
    if not since:
        return []
    return [
        Strike(
            row.programme,
            row.project,
            make_stamp(row.instant, row.source, row.id),
            make_stamp(row.taken_instant, row.source, row.taken_id),
        )
        for row in connection.execute(_struck_since(len(since)), parameters(since))
    ]


@lru_cache(maxsize=64)
def _struck_since(count: int) -> Select[Any]:
    taking = ledger.alias("taking")
    return (
        select(
            *(ledger.c[name] for name in ("programme", "project", "instant", "source", "id")),
            taking.c.instant.label("taken_instant"),
            taking.c.id.label("taken_id"),
        )
        .join(taking, (taking.c.source == ledger.c.source) & (taking.c.retracts == ledger.c.id))
        .where(
            ledger.c.struck_revision.is_not(None),
            written_since(ledger.c.programme, ledger.c.struck_revision, count),
        )
    )


def headers_of(packed: bytes | None) -> Headers:
    """Return the headers of a ledger row."""
    if packed is None:
        return []
    # A content type alone, as most structured events have it, is the same again and again.
    return _unpacked_before(packed) if len(packed) <= _SHORT else _unpack(packed)


@lru_cache(maxsize=256)
def _unpacked_before(packed: bytes) -> Headers:
    return _unpack(packed)


_NOTHING_ELSE: Final = (None,) * (len(COLUMNS) - 3)
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode


def restore(headers: bytes | None, payload: bytes) -> Event:
    """Decode the event of a ledger row; what was accepted once is accepted for ever."""
    event = decode(headers_of(headers), payload)
    if isinstance(event, Rejection):
        raise TypeError(f"the ledger holds an event that is none: {event.reason}, {event.detail}")
    return event
