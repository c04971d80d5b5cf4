"""Compares the tables of winning claims and forecasts with a fold of the ledger, and repairs them.

`rebuild_tables` replaces only the rows that differ: what is reported is exactly what is written, and no other row is
locked. Filling new tables and swapping them would rewrite everything for one wrong date.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Table, delete, func, select, text, update

from models.database import forecasts, tables
from models.database.claims import facts_to_rows, read_revisions
from models.database.engine import DatabaseError, read_transaction, write_transaction
from models.database.ledger import EventKey, read_retracted_keys, unpack_headers
from models.database.postgresql import is_postgresql
from models.database.upsert import OnConflict, Rows, upsert_rows
from models.domain.claims import Facts, fold
from models.domain.cloudevents import decode
from models.domain.events import Event, EventRetracted
from models.domain.row_order import natural_sort_key
from models.domain.schedule import compute_schedule

RowKey = tuple[str, ...]
RowFields = Mapping[str, Any]
TableRows = Mapping[RowKey, RowFields]

#: Converts a value to JSON types, in which an amount of a fold equals one read from the database.
to_json_value: Final = msgspec.to_builtins


class TableSnapshot(NamedTuple):
    """The tables in one snapshot: rows by table and key, revisions and data dates by programme."""

    rows: Mapping[Table, TableRows]
    revisions: Mapping[str, int]
    #: Only of programmes whose forecasts are of the current revision.
    data_dates: Mapping[str, date]
    #: Programmes with forecasts or history but no checkpoint, and the number of their history rows.
    without_checkpoint: Mapping[str, int]


class Difference(NamedTuple):
    """A difference between the expected and the stored state."""

    #: `<table> <key>`, with ` <field>` where one field of a row differs; or `<topic>:<partition>:<offset>`.
    where: str
    expected: str
    found: str
    #: The programme of the row; None for the ledger and the topic.
    programme: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


class StoredEvent(NamedTuple):
    """A row of the ledger and its event; None if the record cannot be decoded."""

    key: EventKey
    digest: bytes
    origin: tuple[str, int, int]
    event: Event | None
    is_retracted: bool


def read_tables(connection: Connection) -> TableSnapshot:
    """Read the winning claims, and the forecasts of the programmes that are calculated at their current revision."""
    claim_tables = (tables.programmes, *tables.SUBJECT_TABLES)
    rows = {table: _rows_by_key(table, connection.execute(select(table)).mappings().all()) for table in claim_tables}
    revisions = read_revisions(connection)
    versions = forecasts.read_programme_versions(connection, sorted(revisions))
    data_dates = {
        name: checkpoint.data_date
        for name, (revision, checkpoint) in sorted(versions.items())
        if checkpoint.revision == revision and checkpoint.data_date != forecasts.NOT_CALCULATED
    }
    rows[tables.forecasts] = {
        key: row._asdict()
        for of_programme in forecasts.read_forecasts(connection, [*data_dates]).values()
        for key, row in of_programme.items()
    }
    history, calculated = tables.history.c, tables.forecasts.c.programme
    with_checkpoint = select(tables.checkpoints.c.programme)
    query = select(calculated).where(calculated.not_in(with_checkpoint)).distinct()
    without_checkpoint = dict.fromkeys(connection.scalars(query), 0)
    counts = select(history.programme, func.max(history.number)).where(history.programme.not_in(with_checkpoint))
    without_checkpoint.update(connection.execute(counts.group_by(history.programme)).all())
    return TableSnapshot(rows, revisions, data_dates, without_checkpoint)


def _rows_by_key(table: Table, rows: Iterable[Mapping[Any, Any]]) -> dict[RowKey, RowFields]:
    keys = table.primary_key.columns.keys()
    excluded = {*keys, "revision"}
    return {
        tuple(row[key] for key in keys): {name: value for name, value in row.items() if name not in excluded}
        for row in rows
    }


def diff_table(table: str, expected: TableRows, found: TableRows) -> Iterator[Difference]:
    """Yield the differences of a table, by key in natural order; the first part of a key is the programme."""
    for key in sorted(expected.keys() | found.keys(), key=lambda key: tuple(map(natural_sort_key, key))):
        where = f"{table} {'/'.join(key)}"
        if key not in found:
            yield Difference(where, "a row", "none", key[0])
        elif key not in expected:
            yield Difference(where, "no row", "one", key[0])
        else:
            for name, value in expected[key].items():
                stored = found[key][name]
                if to_json_value(value) != to_json_value(stored):
                    yield Difference(f"{where} {name}", _describe_value(value), _describe_value(stored), key[0])


def _describe_value(value: Any) -> str:  # noqa: ANN401 - any column's value
    return "nothing" if value is None else str(to_json_value(value))


def read_ledger(connection: Connection, differences: list[Difference]) -> Iterator[StoredEvent]:
    """Yield every event of the ledger; append the differences between its columns and the event itself."""
    retracted_keys = read_retracted_keys(connection)
    query = select(tables.ledger).where(tables.ledger.c.digest.is_not(None))
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        key, origin = EventKey(row.source, row.id), (row.topic, row.partition, row.offset)
        where = f"ledger {row.source} {row.id}"
        event = decode(unpack_headers(row.headers), row.payload)
        if not isinstance(event, Event):
            differences.append(Difference(where, "an event", f"{event.reason}: {event.detail}"))
            yield StoredEvent(key, row.digest, origin, None, is_retracted=False)
            continue
        retracts = event.data.retracts if isinstance(event.data, EventRetracted) else None
        is_retracted = retracts is None and key in retracted_keys
        expected: dict[str, Any] = {"source": event.source, "id": event.id, "digest": event.digest()}
        expected |= {name: getattr(event, name) for name in ("type", "programme", "project", "instant")}
        expected |= {"retracts": retracts, "retracted": is_retracted}
        differences += [
            Difference(f"{where} {name}", _describe_value(value), _describe_value(getattr(row, name)))
            for name, value in expected.items()
            if getattr(row, name) != value
        ]
        yield StoredEvent(key, row.digest, origin, event, is_retracted)


def _fold_ledger(connection: Connection) -> tuple[Facts, set[str], list[Difference]]:
    """Return the facts of the ledger, the programmes that its events name, and its internal differences."""
    differences: list[Difference] = []
    programmes: set[str] = set()

    def unretracted_events() -> Iterator[Event]:
        for stored in read_ledger(connection, differences):
            if stored.event is not None:
                programmes.add(stored.event.programme)
                if not stored.is_retracted:
                    yield stored.event

    return fold(unretracted_events()), programmes, differences


def _expected_rows(facts: Facts, programmes: set[str]) -> dict[Table, dict[RowKey, RowFields]]:
    """Return the rows of facts; every programme that an event names has a row."""
    programmes = programmes | facts.existing_programmes()
    expected = {
        table: _rows_by_key(table, (dict(zip(rows.column_names, row, strict=True)) for row in rows.values))
        for table, rows in facts_to_rows(facts, dict.fromkeys(programmes, 0)).items()
    }
    unregistered: RowFields = {c.name: None for c in tables.programmes.c if c.name not in {"programme", "revision"}}
    expected[tables.programmes] = {(name,): unregistered for name in programmes} | expected[tables.programmes]
    return expected


def diff_tables(facts: Facts, programmes: set[str], snapshot: TableSnapshot) -> Iterator[Difference]:
    """Yield the differences between facts and the stored winning claims and forecasts.

    Takes the programmes that events name, which exist even if all their events are retracted.
    """
    for table, rows in _expected_rows(facts, programmes).items():
        yield from diff_table(table.name, rows, snapshot.rows[table])
    facts_by_programme = facts.split_by_programme(programmes | facts.existing_programmes() | snapshot.data_dates.keys())
    forecast_rows: dict[RowKey, RowFields] = {
        tuple(status.key): forecasts.to_forecast_row(status)._asdict()
        for name, data_date in sorted(snapshot.data_dates.items())
        for status in compute_schedule(facts_by_programme[name], data_date).statuses
    }
    yield from diff_table(tables.forecasts.name, forecast_rows, snapshot.rows[tables.forecasts])
    for name in sorted(snapshot.without_checkpoint):
        yield Difference(f"{tables.checkpoints.name} {name}", "a row", "none", name)


def diff_with_ledger(engine: Engine) -> list[Difference]:
    """Return the differences between the tables and the ledger; writes nothing."""
    with read_transaction(engine) as connection:
        facts, programmes, ledger_differences = _fold_ledger(connection)
        return [*ledger_differences, *diff_tables(facts, programmes, read_tables(connection))]


def rebuild_tables(engine: Engine) -> list[Difference]:
    """Replace the rows that differ from the ledger in one transaction, which blocks workers; return the differences.

    A changed programme gets a new revision, and its checkpoint the data date `NOT_CALCULATED`, of the new revision if
    it was current: every worker then calculates it from the tables, and writes no history, because no event changed it.
    Raises `DatabaseError` when the ledger contradicts itself, so that it cannot be folded.
    """
    with write_transaction(engine) as connection:
        _lock_tables(connection)
        facts, programmes, ledger_differences = _fold_ledger(connection)
        if ledger_differences:
            raise DatabaseError(
                f"the ledger itself is damaged ({len(ledger_differences)} differences, the first:"
                f" {ledger_differences[0]}): restore a backup, or start with a fresh database; the worker reads the"
                " topic again"
            )
        snapshot = read_tables(connection)
        differences = list(diff_tables(facts, programmes, snapshot))
        if changed := sorted({difference.programme for difference in differences if difference.programme is not None}):
            _replace_rows(connection, _expected_rows(facts, programmes), snapshot, changed)
        return differences


def _lock_tables(connection: Connection) -> None:
    """Block workers, locking in the order of `recorder`; SQLite's write transaction blocks them anyway."""
    if is_postgresql(connection):
        connection.execute(select(tables.positions).order_by(*tables.positions.primary_key).with_for_update()).all()
        for table in (tables.programmes, tables.ledger, *tables.SUBJECT_TABLES, tables.checkpoints):
            connection.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))


def _replace_rows(
    connection: Connection, expected: Mapping[Table, TableRows], snapshot: TableSnapshot, programmes: Sequence[str]
) -> None:
    revisions = _next_revisions(connection, snapshot, programmes)
    for table, expected_rows in expected.items():
        keys, stored_rows = table.primary_key.columns.keys(), snapshot.rows[table]
        for key in sorted(stored_rows.keys() - expected_rows.keys()):
            conditions = (table.c[name] == value for name, value in zip(keys, key, strict=True))
            connection.execute(delete(table).where(*conditions))
        fields = [column.name for column in table.c if column.name not in {*keys, "revision"}]
        rows = [
            (*key, *(row[name] for name in fields), revisions[key[0]])
            for key, row in sorted(expected_rows.items())
            if key[0] in revisions
            and (table is tables.programmes or to_json_value(row) != to_json_value(stored_rows.get(key)))
        ]
        upsert_rows(connection, table, Rows((*keys, *fields, "revision"), rows), OnConflict.REPLACE)
    _reset_checkpoints(connection, revisions, snapshot, expected[tables.programmes])


def _reset_checkpoints(
    connection: Connection, revisions: Mapping[str, int], snapshot: TableSnapshot, existing: TableRows
) -> None:
    checkpoints, calculated = tables.checkpoints, tables.forecasts
    for name, revision in revisions.items():
        if (history_count := snapshot.without_checkpoint.get(name)) is not None:
            # Which history rows were published is unknown: all are published again, with the same event ids.
            checkpoint = forecasts.Checkpoint(revision, forecasts.NOT_CALCULATED, history_count, 0)
            connection.execute(checkpoints.insert().values(programme=name, **checkpoint._asdict()))
        reset = update(checkpoints).where(checkpoints.c.programme == name).values(data_date=forecasts.NOT_CALCULATED)
        connection.execute(reset)
        if (name,) in existing:
            # A checkpoint behind the revision stays behind: the events since then still make history.
            is_current = checkpoints.c.revision == snapshot.revisions.get(name)
            connection.execute(reset.where(is_current).values(revision=revision))
        else:
            # No event names the programme: only its history stays, and is continued if the programme comes back.
            connection.execute(reset.values(revision=0))
            connection.execute(delete(calculated).where(calculated.c.programme == name))


def _next_revisions(connection: Connection, snapshot: TableSnapshot, programmes: Sequence[str]) -> dict[str, int]:
    """Return a revision for each programme that none of its rows ever had, even if its own row was lost."""
    ledger, checkpoints = tables.ledger.c, tables.checkpoints.c
    query = select(ledger.programme, func.max(func.coalesce(ledger.revision, 0))).group_by(ledger.programme)
    in_ledger = dict(connection.execute(query).all())
    in_checkpoints = dict(connection.execute(select(checkpoints.programme, checkpoints.revision)).all())
    return {
        name: 1 + max(revisions.get(name, 0) for revisions in (snapshot.revisions, in_ledger, in_checkpoints))
        for name in programmes
    }
