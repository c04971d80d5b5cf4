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

from models.database.claims import changed_since_condition, changed_since_parameters
from models.database.postgresql import LEDGER_COLUMNS, array_parameter, copy_events
from models.database.tables import ledger
from models.database.upsert import OnConflict, Rows, upsert_rows
from models.domain.cloudevents import Headers, decode, decode_data
from models.domain.events import Event, EventRetracted, Rejection, RejectionReason
from models.domain.timestamps import Instant, Stamp, make_stamp
from models.errors import ConcurrentWriteError

#: How many projects one query names, at most.
_PROJECTS_PER_QUERY: Final = 500
#: Bytes of packed headers that are few.
_CACHEABLE_HEADERS_BYTES: Final = 64
_RACE_MESSAGE: Final = "another worker entered an event of this batch at the same moment"


class EventKey(NamedTuple):
    """What names an event for ever."""

    source: str
    id: str


class DecodedRecord(NamedTuple):
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


class RejectedRecord(NamedTuple):
    """A record that was not accepted, and why."""

    record: DecodedRecord
    rejection: Rejection


class Retraction(NamedTuple):
    """An event that a retraction took back after it had counted."""

    programme: str
    project: str
    retracted_stamp: Stamp
    #: The stamp of the retraction.
    retraction_stamp: Stamp


class RetractedEvent(NamedTuple):
    """A known event that a new retraction takes back."""

    key: EventKey
    type: str
    #: Programme and project.
    subject: tuple[str, str]
    stamp: Stamp
    #: When the oldest such retraction was appended.
    retraction_appended_ms: int

    @property
    def programme(self) -> str:
        """Whose dates it may move."""
        return self.subject[0]


class _ExistingEvent(NamedTuple):
    digest: bytes | None
    type: str | None
    programme: str | None
    project: str | None
    instant: Instant | None
    retracted: bool


class _NewEvent(NamedTuple):
    """An event that the ledger does not hold yet."""

    record: DecodedRecord
    event: Event
    digest: bytes
    #: The id of the event that it retracts.
    retracts: str | None


class Classified:
    """What a batch of events is to the ledger, before anything is written."""

    def __init__(
        self, events: Sequence[tuple[EventKey, DecodedRecord, Event]], existing: Mapping[EventKey, _ExistingEvent]
    ) -> None:
        """Sort events, given what the ledger holds of them and of what they take back."""
        #: New, and to be folded.
        self.accepted: list[DecodedRecord] = []
        #: New, but retracted by now: kept, not folded.
        self.retracted_on_arrival: list[DecodedRecord] = []
        self.duplicates: list[DecodedRecord] = []
        self.conflicts: list[RejectedRecord] = []
        #: Known, and folded by now; a new retraction takes it back.
        self.retracted: list[RetractedEvent] = []
        self._existing = existing
        self._new_events: dict[EventKey, _NewEvent] = {}
        #: What new retractions take back, and when the oldest of each was appended.
        self._oldest_retraction_ms: dict[EventKey, int] = {}
        self._retracted_on_arrival_keys: set[EventKey] = set()
        self._classify_new(events)
        self._classify_retracted_on_arrival()
        self._classify_retracted()

    @property
    def is_all_new(self) -> bool:
        """Whether the ledger knew nothing of it."""
        return not self._existing

    def _classify_new(self, events: Sequence[tuple[EventKey, DecodedRecord, Event]]) -> None:
        """Tell new events from repeated ones and from those that say something else under a name that is taken."""
        taken = {name: there.digest for name, there in self._existing.items() if there.digest is not None}
        for name, entry, event in events:
            digest = entry.digest or event.digest()
            if name not in taken:
                taken[name] = digest
                self._new_events[name] = _NewEvent(entry, event, digest, _retracted_id(event))
            elif taken[name] == digest:
                self.duplicates.append(entry)
            else:
                detail = f"another event of source {event.source!r} with id {event.id!r} says something else"
                rejection = Rejection(RejectionReason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
                self.conflicts.append(RejectedRecord(entry, rejection))

    def _classify_retracted_on_arrival(self) -> None:
        for entry, event, _, takes_back in self._new_events.values():
            if takes_back is not None:
                target = EventKey(event.source, takes_back)
                self._oldest_retraction_ms[target] = min(
                    entry.appended_ms, self._oldest_retraction_ms.get(target, entry.appended_ms)
                )
        # Known and new at once: its place was held by a retraction.
        gone = self._new_events.keys() & (self._existing.keys() | self._oldest_retraction_ms.keys())
        self._retracted_on_arrival_keys = {name for name in gone if self._new_events[name].retracts is None}
        for name, new in self._new_events.items():
            (self.retracted_on_arrival if name in self._retracted_on_arrival_keys else self.accepted).append(new.record)

    def _classify_retracted(self) -> None:
        for name in sorted(self._oldest_retraction_ms.keys() & self._existing.keys()):
            _, event_type, programme, project, instant, is_retracted = self._existing[name]
            # A place has nothing to strike yet, and a retraction cannot be retracted.
            if event_type is None or is_retracted or event_type == EventRetracted.TYPE:
                continue
            stamp = make_stamp(Instant(instant or ""), *name)
            subject = (programme or "", project or "")
            self.retracted.append(RetractedEvent(name, event_type, subject, stamp, self._oldest_retraction_ms[name]))

    @contextmanager
    def insert(self, connection: Connection, revisions: Mapping[str, int]) -> Iterator[None]:
        """Write it all, at the revisions of the programmes; in the order of names. It is written when the block ends.

        In the block, the connection is taken. Raises `RacedError` when another writer was faster with one of them.
        """
        places = self._oldest_retraction_ms.keys() - self._new_events.keys() - self._existing.keys()
        names = sorted((self._new_events.keys() - self._existing.keys()) | places)
        rows = (_tombstone_row(name) if name in places else self._ledger_row(name, revisions) for name in names)
        with _insert_rows(connection, rows) if names else nullcontext():
            yield
        for name in sorted(self._new_events.keys() & self._existing.keys()):
            is_place = _key_condition(name) & ledger.c.digest.is_(None)
            filled = (
                update(ledger)
                .where(is_place)
                .values(dict(zip(LEDGER_COLUMNS, self._ledger_row(name, revisions), strict=True)))
            )
            if connection.execute(filled).rowcount != 1:
                raise ConcurrentWriteError(
                    "another worker entered an event that was retracted before, at the same moment"
                )
        if self.retracted:
            its = [
                {"its_source": event.key.source, "its_id": event.key.id, "at_revision": revisions[event.programme]}
                for event in self.retracted
            ]
            connection.execute(_mark_retracted_statement(), its)

    def _ledger_row(self, key: EventKey, revisions: Mapping[str, int]) -> Sequence[Any]:
        entry, event, digest, takes_back = self._new_events[key]
        return (
            *key,
            key in self._retracted_on_arrival_keys,
            event.data.TYPE,
            event.programme,
            event.project,
            event.instant,
            takes_back,
            revisions[event.programme],
            digest,
            *entry[:4],
            _encode_headers(entry.headers) if entry.headers else None,
            entry.value,
        )


def _mark_retracted_statement() -> Update:
    is_it = (ledger.c.source == bindparam("its_source")) & (ledger.c.id == bindparam("its_id"))
    return update(ledger).where(is_it).values(retracted=True, retracted_revision=bindparam("at_revision"))


@contextmanager
def _insert_rows(connection: Connection, rows: Iterable[Sequence[Any]]) -> Iterator[None]:
    # Between the look and the insert another writer may enter one of them; then the insert waits for its commit.
    if connection.dialect.name == "postgresql":
        try:
            with copy_events(connection, rows):
                yield
        except IntegrityError as error:
            if isinstance(error.orig, UniqueViolation):
                raise ConcurrentWriteError(_RACE_MESSAGE) from error
            raise
    else:
        all_rows = list(rows)
        if upsert_rows(connection, ledger, Rows(LEDGER_COLUMNS, all_rows), OnConflict.LEAVE) != len(all_rows):
            raise ConcurrentWriteError(_RACE_MESSAGE)
        yield


def classify_events(
    connection: Connection, records: Sequence[DecodedRecord], *, assume_new: bool = False
) -> Classified:
    """Return what a batch of events is to the ledger; `Sorted.entering` writes it.

    Where all of it is taken for new, the ledger is asked for no more than what is retracted; if some of it is known
    after all, `Sorted.entering` raises `RacedError`.
    """
    events = [
        (EventKey(event.source, event.id), entry, event)
        for entry in records
        if isinstance(event := entry.outcome, Event)
    ]
    names = set() if assume_new else {name for name, _, _ in events}
    names.update(EventKey(event.source, id_) for _, _, event in events if (id_ := _retracted_id(event)) is not None)
    return Classified(events, _read_existing(connection, list(names)))


def _retracted_id(event: Event) -> str | None:
    """Return the id of the event that one retracts."""
    return event.data.retracts if isinstance(event.data, EventRetracted) else None


def _key_condition(key: EventKey) -> ColumnElement[bool]:
    return (ledger.c.source == key.source) & (ledger.c.id == key.id)


def _tombstone_row(key: EventKey) -> Sequence[Any]:
    return (*key, True, *_TOMBSTONE_NULLS)


def _read_existing(connection: Connection, keys: Sequence[EventKey]) -> dict[EventKey, _ExistingEvent]:
    if not keys:
        return {}
    rows = _read_by_key(connection, keys, _ExistingEvent._fields)
    return {EventKey(source, event_id): _ExistingEvent(*known) for source, event_id, *known in rows}


def read_events(connection: Connection, keys: Sequence[EventKey]) -> dict[EventKey, Event]:
    """Return the events of these names that the ledger holds."""
    rows = _read_by_key(connection, keys, ("headers", "payload"))
    return {
        EventKey(row.source, row.id): decode_stored_event(row.headers, row.payload)
        for row in rows
        if row.payload is not None
    }


def read_correlation_ids(connection: Connection, keys: Sequence[EventKey]) -> dict[EventKey, str]:
    """Return the correlation ids of those of these events that have one."""
    rows = _read_by_key(connection, keys, ("headers", "payload"))
    named = b"correlationid"
    carrying = [row for row in rows if named in (row.payload or b"") or named in (row.headers or b"")]
    events = [decode_stored_event(row.headers, row.payload) for row in carrying]
    return {
        EventKey(event.source, event.id): event.correlationid for event in events if event.correlationid is not None
    }


def _read_by_key(connection: Connection, keys: Sequence[EventKey], fields: Sequence[str]) -> Result[*tuple[Any, ...]]:
    dialect = connection.dialect.name
    if dialect == "postgresql":
        parameters: dict[str, Any] = {"sources": [name.source for name in keys], "ids": [name.id for name in keys]}
    else:
        parameters = {"names": msgspec.json.encode(keys).decode()}
    return connection.execute(_select_by_key(dialect, tuple(fields)), parameters)


@lru_cache(maxsize=8)
def _select_by_key(dialect: str, fields: Sequence[str]) -> Select[Any]:
    """Return the query for events by name; to put it together costs more than to execute it for a few."""
    if dialect == "postgresql":
        sources, ids = (array_parameter(name, Text()) for name in ("sources", "ids"))
        asked = select(func.unnest(sources), func.unnest(ids))
    else:
        each = func.json_each(bindparam("names", type_=Text)).table_valued("value")
        asked = select(func.json_extract(each.c.value, "$[0]"), func.json_extract(each.c.value, "$[1]"))
    columns = [ledger.c[name] for name in (*EventKey._fields, *fields)]
    return select(*columns).where(tuple_(ledger.c.source, ledger.c.id).in_(asked))


def read_subject_events(
    connection: Connection, programme: str, projects: Sequence[str], *, until_revision: int | None = None
) -> Iterator[Event]:
    """Return the unretracted events of some subjects of a programme, as far as a fold asks for them.

    What was accepted once is not judged again: its data come from the record, the rest from the columns beside it.
    With `until`, as they were at that revision of the programme: without what came, or was taken back, later.
    """
    names = ("type", "source", "id", "project", "instant", "headers", "payload")
    query = select(*(ledger.c[name] for name in names)).where(ledger.c.programme == programme)
    if until_revision is None:
        query = query.where(ledger.c.retracted.is_(False))
    else:
        stood = ledger.c.retracted.is_(False) | (ledger.c.retracted_revision > until_revision)
        query = query.where(ledger.c.revision <= until_revision, stood)
    for start in range(0, len(projects), _PROJECTS_PER_QUERY):
        some = query.where(ledger.c.project.in_(projects[start : start + _PROJECTS_PER_QUERY]))
        for event_type, source, event_id, project, instant, headers, payload in connection.execute(some):
            data = decode_data(event_type, unpack_headers(headers), payload)
            yield Event(source=source, id=event_id, programme=programme, project=project, time=instant, data=data)


def read_retractions(connection: Connection, since: Mapping[str, int]) -> list[Retraction]:
    """Return what retractions struck of some programmes after a revision of each."""
    if not since:
        return []
    return [
        Retraction(
            row.programme,
            row.project,
            make_stamp(row.instant, row.source, row.id),
            make_stamp(row.taken_instant, row.source, row.taken_id),
        )
        for row in connection.execute(_select_retracted_since(len(since)), changed_since_parameters(since))
    ]


@lru_cache(maxsize=64)
def _select_retracted_since(count: int) -> Select[Any]:
    taking = ledger.alias("taking")
    return (
        select(
            *(ledger.c[name] for name in ("programme", "project", "instant", "source", "id")),
            taking.c.instant.label("taken_instant"),
            taking.c.id.label("taken_id"),
        )
        .join(taking, (taking.c.source == ledger.c.source) & (taking.c.retracts == ledger.c.id))
        .where(
            ledger.c.retracted_revision.is_not(None),
            changed_since_condition(ledger.c.programme, ledger.c.retracted_revision, count),
        )
    )


def unpack_headers(packed: bytes | None) -> Headers:
    """Return the headers of a ledger row."""
    if packed is None:
        return []
    # A content type alone, as most structured events have it, is the same again and again.
    return _decode_headers_cached(packed) if len(packed) <= _CACHEABLE_HEADERS_BYTES else _decode_headers(packed)


@lru_cache(maxsize=256)
def _decode_headers_cached(packed: bytes) -> Headers:
    return _decode_headers(packed)


_TOMBSTONE_NULLS: Final = (None,) * (len(LEDGER_COLUMNS) - 3)
_encode_headers: Final = msgspec.msgpack.Encoder().encode
_decode_headers: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode


def decode_stored_event(headers: bytes | None, payload: bytes) -> Event:
    """Decode the event of a ledger row; what was accepted once is accepted for ever."""
    event = decode(unpack_headers(headers), payload)
    if isinstance(event, Rejection):
        raise TypeError(f"the ledger holds an event that is none: {event.reason}, {event.detail}")
    return event
