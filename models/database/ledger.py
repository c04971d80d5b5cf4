"""The ledger holds every accepted event once, by source and id, forever.

The unique key orders two writers of the same event: the second waits for the first, inserts fewer rows than it meant
to, and retries with the first one's rows in view. Therefore the retraction of an event that has not arrived inserts a
*tombstone*, a row with the event's key: whichever writer commits first, the other finds the row.

The module is long so that everything that reads and writes the table's rows stands together.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from models.database.claims import MAX_CONDITIONS, changed_since_condition, changed_since_parameters
from models.database.postgresql import (
    LEDGER_COLUMNS,
    array_parameter,
    copy_events,
    is_postgresql,
)
from models.database.tables import ledger
from models.database.upsert import OnConflict, Rows, chunked, upsert_rows
from models.domain.cloudevents import decode, decode_data
from models.domain.envelope import Headers
from models.domain.events import Event, EventRetracted, Rejection, RejectionReason
from models.domain.timestamps import Stamp, make_stamp
from models.errors import ConcurrentWriteError

#: Rows that are decoded in a few milliseconds.
_ROWS_PER_CHECK: Final = 256
_RACE_MESSAGE: Final = "another worker recorded an event of this batch at the same time"


class EventKey(NamedTuple):
    """What identifies an event."""

    source: str
    id: str


class DecodedRecord(NamedTuple):
    """A decoded record of the events topic."""

    topic: str
    partition: int
    offset: int
    #: The broker's append time, milliseconds since the epoch.
    appended_ms: int
    headers: Headers
    value: bytes | None
    outcome: Event | Rejection
    #: The event's digest, if already computed.
    digest: bytes | None = None


class RejectedRecord(NamedTuple):
    """A record that was not accepted."""

    record: DecodedRecord
    rejection: Rejection


class Retraction(NamedTuple):
    """A retraction of a recorded event, as read back from the ledger."""

    programme: str
    project: str
    retracted_stamp: Stamp
    retraction_stamp: Stamp


class RetractedEvent(NamedTuple):
    """A recorded event that a new retraction takes back."""

    key: EventKey
    type: str
    programme: str
    project: str
    stamp: Stamp
    #: Append time of the oldest such retraction.
    retraction_appended_ms: int


#: Source and id: an `EventKey`, made for every event in a third of the time.
_PlainKey = tuple[str, str]


class Classified:
    """The events of a batch compared with the ledger, before anything is written."""

    def __init__(self, records: Sequence[DecodedRecord], existing: Mapping[_PlainKey, sa.Row[Any]]) -> None:
        """Classify the events of records, given the ledger's rows of these events and of those that they retract."""
        #: New events to fold.
        self.accepted: list[DecodedRecord] = []
        #: New events that are already retracted: stored, not folded.
        self.retracted_on_arrival: list[DecodedRecord] = []
        self.duplicates: list[DecodedRecord] = []
        self.conflicts: list[RejectedRecord] = []
        #: Whether the ledger held none of the events.
        self.is_all_new = not existing
        self._existing = existing
        #: New events, each with its digest.
        self._new_events: dict[_PlainKey, tuple[DecodedRecord, Event, bytes]] = {}
        #: What new events retract, and the append time of the oldest new retraction of each event.
        self._retracts: dict[_PlainKey, str] = {}
        self._oldest_retraction_ms: dict[_PlainKey, int] = {}
        self._classify_new(records)
        # A new event whose key exists has a tombstone there. A retraction cannot be retracted.
        self._retracted_keys = set[_PlainKey]()
        if existing or self._oldest_retraction_ms:
            retracted = self._new_events.keys() & (existing.keys() | self._oldest_retraction_ms.keys())
            self._retracted_keys = retracted - self._retracts.keys()
        for key, (record, _, _) in self._new_events.items():
            (self.retracted_on_arrival if key in self._retracted_keys else self.accepted).append(record)
        #: Recorded events that a new retraction takes back.
        self.retracted = list(self._find_retracted())

    def _classify_new(self, records: Sequence[DecodedRecord]) -> None:
        new_events, existing = self._new_events, self._existing
        for record in records:
            event = record.outcome
            if not isinstance(event, Event):
                continue
            key, digest = (event.source, event.id), record.digest or event.digest()
            if (new := new_events.get(key)) is not None:
                stored_digest: bytes | None = new[2]
            else:
                stored_digest = row.digest if (row := existing.get(key)) is not None else None
            if stored_digest is None:
                new_events[key] = record, event, digest
                if isinstance(event.data, EventRetracted):
                    self._add_retraction(key, record.appended_ms, event.data.retracts)
            elif stored_digest == digest:
                self.duplicates.append(record)
            else:
                detail = f"another event of source {event.source!r} with id {event.id!r} has other content"
                rejection = Rejection(RejectionReason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
                self.conflicts.append(RejectedRecord(record, rejection))

    def _add_retraction(self, key: _PlainKey, appended_ms: int, retracts: str) -> None:
        self._retracts[key] = retracts
        target = key[0], retracts
        self._oldest_retraction_ms[target] = min(appended_ms, self._oldest_retraction_ms.get(target, appended_ms))

    def _find_retracted(self) -> Iterator[RetractedEvent]:
        for key in sorted(self._oldest_retraction_ms.keys() & self._existing.keys()):
            row = self._existing[key]
            # A tombstone has nothing to retract yet, and a retraction cannot be retracted.
            if row.digest is not None and not row.retracted and row.type != EventRetracted.TYPE:
                stamp, oldest_ms = make_stamp(row.instant, *key), self._oldest_retraction_ms[key]
                yield RetractedEvent(EventKey(*key), row.type, row.programme, row.project, stamp, oldest_ms)

    @contextmanager
    def insert(self, connection: sa.Connection, revisions: Mapping[str, int]) -> Iterator[None]:
        """Write the new events at their programmes' revisions, sorted by key; complete when the block ends.

        The block must not use the connection. Raises `ConcurrentWriteError` when another writer recorded one of them.
        """
        tombstones = self._oldest_retraction_ms.keys() - self._new_events.keys() - self._existing.keys()
        inserted = self._new_events.keys() - self._existing.keys() if self._existing else self._new_events.keys()
        # Two passes, since texts are compared several times as fast as pairs are.
        keys = sorted([*inserted, *tombstones], key=itemgetter(1))
        keys.sort(key=itemgetter(0))
        with self._insert_rows(connection, keys, tombstones, revisions) if keys else nullcontext():
            yield
        for key in sorted(self._new_events.keys() & self._existing.keys()):
            values = dict(zip(LEDGER_COLUMNS, self._row(key, revisions), strict=True))
            statement = _UPDATE_BY_KEY.where(ledger.c.digest.is_(None)).values(values)
            if connection.execute(statement, {"key_source": key[0], "key_id": key[1]}).rowcount != 1:
                raise ConcurrentWriteError("another worker recorded a retracted event of this batch at the same time")
        if self.retracted:
            parameters = [
                {"key_source": key.source, "key_id": key.id, "retracted_at": revisions[programme]}
                for key, _, programme, *_ in self.retracted
            ]
            values = {"retracted": True, "retracted_revision": sa.bindparam("retracted_at")}
            connection.execute(_UPDATE_BY_KEY.values(values), parameters)

    @contextmanager
    def _insert_rows(
        self,
        connection: sa.Connection,
        keys: Sequence[_PlainKey],
        tombstones: Collection[_PlainKey],
        revisions: Mapping[str, int],
    ) -> Iterator[None]:
        # Another writer may insert one of the events after the lookup; this insert then waits for its commit.
        rows = ((*key, True, *_TOMBSTONE_NULLS) if key in tombstones else self._row(key, revisions) for key in keys)
        if is_postgresql(connection):
            try:
                with copy_events(connection, rows):
                    yield
            except IntegrityError as error:
                if isinstance(error.orig, UniqueViolation):
                    raise ConcurrentWriteError(_RACE_MESSAGE) from error
                raise
        else:
            if upsert_rows(connection, ledger, Rows(LEDGER_COLUMNS, list(rows)), OnConflict.LEAVE) != len(keys):
                raise ConcurrentWriteError(_RACE_MESSAGE)
            yield

    def _row(self, key: _PlainKey, revisions: Mapping[str, int]) -> tuple[Any, ...]:
        """Return the values of `LEDGER_COLUMNS` of a new event."""
        (topic, partition, offset, appended_ms, headers, value, _, _), event, digest = self._new_events[key]
        programme = event.programme
        return (
            event.source,
            event.id,
            key in self._retracted_keys,
            event.data.TYPE,
            programme,
            event.project,
            event.time if event.recorded_time is None else event.recorded_time,
            self._retracts.get(key),
            revisions[programme],
            digest,
            topic,
            partition,
            offset,
            appended_ms,
            _pack_headers(headers) if headers else None,
            value,
        )


_TOMBSTONE_NULLS: Final = (None,) * (len(LEDGER_COLUMNS) - 3)
_UPDATE_BY_KEY: Final = sa.update(ledger).where(
    ledger.c.source == sa.bindparam("key_source"), ledger.c.id == sa.bindparam("key_id")
)


def classify_events(
    connection: sa.Connection, records: Sequence[DecodedRecord], *, assume_new: bool = False
) -> Classified:
    """Compare the events of a batch with the ledger; `Classified.insert` writes them.

    With `assume_new`, only the retracted events are looked up, and `Classified.insert` raises `ConcurrentWriteError` if
    the ledger holds another event of the batch.
    """
    events = [record.outcome for record in records if isinstance(record.outcome, Event)]
    keys = set() if assume_new else {EventKey(event.source, event.id) for event in events}
    keys.update(EventKey(e.source, e.data.retracts) for e in events if isinstance(e.data, EventRetracted))
    fields = ("digest", "type", "programme", "project", "instant", "retracted")
    existing = _read_by_key(connection, list(keys), fields) if keys else ()
    return Classified(records, {row[:2]: row for row in existing})


def read_events(connection: sa.Connection, keys: Sequence[EventKey]) -> dict[EventKey, Event]:
    """Return those of the given events that the ledger holds."""
    rows = _read_by_key(connection, keys, ("headers", "payload"))
    return {
        EventKey(*key): decode_stored_event(headers, payload) for *key, headers, payload in rows if payload is not None
    }


def read_correlation_ids(connection: sa.Connection, keys: Sequence[EventKey]) -> dict[EventKey, str]:
    """Return the correlation ids of those of the given events that have one."""
    rows = _read_by_key(connection, keys, ("headers", "payload"))
    # Decode only rows that contain the attribute's name.
    candidates = (row for row in rows if b"correlationid" in (row.payload or b"") + (row.headers or b""))
    events = (decode_stored_event(row.headers, row.payload) for row in candidates)
    ids = ((EventKey(event.source, event.id), event.correlationid) for event in events)
    return {key: correlation_id for key, correlation_id in ids if correlation_id is not None}


def _read_by_key(
    connection: sa.Connection, keys: Sequence[EventKey], fields: Sequence[str]
) -> sa.Result[*tuple[Any, ...]]:
    if is_postgresql(connection):
        parameters: dict[str, Any] = {"sources": [key.source for key in keys], "ids": [key.id for key in keys]}
    else:
        parameters = {"keys": msgspec.json.encode(keys).decode()}
    return connection.execute(_select_by_key(connection.dialect.name, tuple(fields)), parameters)


@lru_cache(maxsize=8)
def _select_by_key(dialect: str, fields: Sequence[str]) -> sa.Select[Any]:
    # Cached, because building the query costs more than executing it for a few events.
    if dialect == "postgresql":
        sources, ids = (array_parameter(name, sa.Text()) for name in ("sources", "ids"))
        keys = sa.select(sa.func.unnest(sources), sa.func.unnest(ids))
    else:
        each = sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value")
        keys = sa.select(sa.func.json_extract(each.c.value, "$[0]"), sa.func.json_extract(each.c.value, "$[1]"))
    columns = [ledger.c[name] for name in (*EventKey._fields, *fields)]
    return sa.select(*columns).where(sa.tuple_(ledger.c.source, ledger.c.id).in_(keys))


def read_subject_events(
    connection: sa.Connection, programme: str, projects: Sequence[str], *, until_revision: int | None = None
) -> Iterator[Event]:
    """Return the unretracted events of subjects of a programme, with the attributes that a fold needs.

    Accepted events are not validated again: data come from the record, the rest from columns. With `until_revision`,
    returns them as of that revision of the programme, without later events and later retractions.
    """
    names = ("type", "source", "id", "project", "instant", "headers", "payload")
    query = sa.select(*(ledger.c[name] for name in names)).where(ledger.c.programme == programme)
    if until_revision is None:
        query = query.where(ledger.c.retracted.is_(False))
    else:
        is_unretracted = ledger.c.retracted.is_(False) | (ledger.c.retracted_revision > until_revision)
        query = query.where(ledger.c.revision <= until_revision, is_unretracted)
    for chunk in chunked(projects):
        of_projects = query.where(ledger.c.project.in_(chunk))
        for event_type, source, event_id, project, instant, headers, payload in connection.execute(of_projects):
            data = decode_data(event_type, unpack_headers(headers), payload)
            yield Event(source=source, id=event_id, programme=programme, project=project, time=instant, data=data)


def read_retractions(connection: sa.Connection, since: Mapping[str, int]) -> list[Retraction]:
    """Return the retractions that took back recorded events after a revision of each programme."""
    return [
        Retraction(programme, project, make_stamp(instant, source, event_id), make_stamp(at, source, retraction_id))
        for part in chunked(list(since.items()), MAX_CONDITIONS)
        for programme, project, source, event_id, instant, retraction_id, at in connection.execute(
            _select_retracted_since(len(part)), changed_since_parameters(dict(part))
        )
    ]


@lru_cache(maxsize=64)
def _select_retracted_since(count: int) -> sa.Select[Any]:
    retraction = ledger.alias("retraction")
    retracted = (ledger.c[name] for name in ("programme", "project", "source", "id", "instant"))
    return (
        sa.select(*retracted, retraction.c.id, retraction.c.instant)
        .join(retraction, (retraction.c.source == ledger.c.source) & (retraction.c.retracts == ledger.c.id))
        .where(
            ledger.c.retracted_revision.is_not(None),
            changed_since_condition(ledger.c.programme, ledger.c.retracted_revision, count),
        )
    )


def read_retracted_keys(connection: sa.Connection) -> set[EventKey]:
    """Return the keys of all events that a retraction names, recorded or not."""
    query = sa.select(ledger.c.source, ledger.c.retracts).where(ledger.c.retracts.is_not(None))
    return {EventKey(source, event_id) for source, event_id in connection.execute(query)}


#: What a fold needs of an event.
EVENT_COLUMNS: Final = tuple(
    ledger.c[name] for name in ("type", "source", "id", "programme", "project", "instant", "headers", "payload")
)


def decode_event_row(row: Any) -> Event:  # noqa: ANN401 - the values of the columns
    """Return the event of a row of `EVENT_COLUMNS`; it was accepted, and is not validated again."""
    event_type, source, event_id, programme, project, instant, headers, payload = row
    data = decode_data(event_type, unpack_headers(headers), payload)
    return Event(source=source, id=event_id, programme=programme, project=project, time=instant, data=data)


def read_rows(connection: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    """Yield the rows of a query that may return very many.

    The connection's execution option `every_rows` is called now and then, and may raise to end the reading.
    """
    check = connection.get_execution_options().get("every_rows")
    for number, row in enumerate(connection.execute(query)):
        if check is not None and number % _ROWS_PER_CHECK == 0:
            check()
        yield row


def decode_stored_event(headers: bytes | None, payload: bytes) -> Event:
    """Decode the event of a ledger row; an event that was accepted once must decode."""
    event = decode(unpack_headers(headers), payload)
    if isinstance(event, Rejection):
        raise TypeError(f"the ledger holds an undecodable event: {event.reason}, {event.detail}")
    return event


def unpack_headers(packed: bytes | None) -> Headers:
    """Return the headers of a ledger row."""
    if packed is None:
        return []
    # Most structured events have only a content type; longer headers are hardly ever the same again.
    return _decode_headers_cached(packed) if len(packed) <= 64 else _decode_headers(packed)  # noqa: PLR2004 - as said


def _pack_headers(headers: Headers) -> bytes:
    # Nearly always the same one.
    if len(headers) == 1 and len(headers[0][1] or b"") <= _MAX_CACHED_HEADER_BYTES:
        return _encode_header_cached(*headers[0])
    return _encode_headers(headers)


_MAX_CACHED_HEADER_BYTES: Final = 64
_encode_headers: Final = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=256)
def _encode_header_cached(name: str, content: bytes | None) -> bytes:
    return _encode_headers(((name, content),))


_decode_headers: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode
_decode_headers_cached: Final = lru_cache(maxsize=256)(_decode_headers)
