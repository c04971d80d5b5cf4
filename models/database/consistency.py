"""What the database holds, of one moment: to be held against what it should."""
# What should be there against what is there: rows to differences, row by row and field by field.
# The tables of winning claims and the forecasts against a fold of the ledger, and how they are put right.
#
# `put_right` replaces the rows that differ and leaves the others: what is printed is then exactly what is written, and
# nothing else is locked or lost. To fill fresh tables and swap them would rewrite everything for one wrong date.

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, Table, and_, delete, func, select, text, update

from models.database import tables
from models.database.claims import facts_to_rows
from models.database.engine import DatabaseError, read_transaction, write_transaction
from models.database.forecasts import read_forecasts, read_programme_versions, to_forecast_row
from models.database.ledger import unpack_headers
from models.database.upsert import OnConflict, Rows, upsert_rows
from models.domain.claims import Facts, fold
from models.domain.cloudevents import decode
from models.domain.events import Event, EventRetracted
from models.domain.schedule import compute_schedule

RowKey = tuple[str, ...]
RowFields = Mapping[str, Any]

#: The tables that hold winning claims, in the order in which rows are written.
CLAIM_TABLES: Final = (tables.programmes, *tables.SUBJECT_TABLES)
#: The day of a picture that nobody drew: whatever is remembered of it is not trusted.
NOT_CALCULATED: Final = date.min


class TableSnapshot(NamedTuple):
    """What the database holds, of one moment: rows by table and key, and of which revision each programme is."""

    rows: Mapping[str, Mapping[RowKey, RowFields]]
    revisions: Mapping[str, int]
    data_dates: Mapping[str, date]
    #: Programmes that have forecasts or a history and no mark, with how many rows that history has.
    without_checkpoint: Mapping[str, int]


def read_tables(connection: Connection) -> TableSnapshot:
    """Read the winning claims, and the forecasts of the programmes that are drawn at their present revision."""
    rows: dict[str, Mapping[RowKey, RowFields]] = {
        table.name: _read_claim_table(connection, table) for table in CLAIM_TABLES
    }
    query = select(tables.programmes.c.programme, tables.programmes.c.revision)
    revisions: dict[str, int] = dict(connection.execute(query).all())
    known = read_programme_versions(connection, sorted(revisions))
    marks = {name: its.checkpoint for name, its in known.items() if its.checkpoint is not None}
    days = {
        name: mark.data_date
        for name, mark in marks.items()
        if mark.revision == revisions[name] and mark.data_date != NOT_CALCULATED
    }
    rows["forecasts"] = {
        key: stored._asdict() for name in sorted(days) for key, stored in read_forecasts(connection, name).items()
    }
    return TableSnapshot(rows, revisions, days, _read_without_checkpoint(connection))


def _read_without_checkpoint(connection: Connection) -> dict[str, int]:
    drawn, noted, marked = tables.forecasts.c.programme, tables.history.c, select(tables.checkpoints.c.programme)
    unmarked = dict.fromkeys(connection.scalars(select(drawn).where(drawn.not_in(marked)).distinct()), 0)
    histories = select(noted.programme, func.max(noted.number)).group_by(noted.programme)
    return unmarked | dict(connection.execute(histories.where(noted.programme.not_in(marked))).all())


def _read_claim_table(connection: Connection, table: Table) -> dict[RowKey, RowFields]:
    keys = [column.name for column in table.primary_key]
    return {
        tuple(row[name] for name in keys): {name: row[name] for name in row if name not in {*keys, "revision"}}
        for row in connection.execute(select(table)).mappings()
    }


class Difference(NamedTuple):
    """One thing that is not as it should be."""

    #: `<table> <key>`, with ` <field>` where one field of a row differs; or `<topic>:<partition>:<offset>`.
    where: str
    expected: str
    found: str
    #: Whose rows they are; None where the ledger or the topic itself is not as it should be.
    programme: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


def diff_table(
    table: str, expected: Mapping[RowKey, RowFields], found: Mapping[RowKey, RowFields]
) -> Iterator[Difference]:
    """Give the differences of a table, in the order of its keys; the first part of a key is the programme."""
    for key in sorted(expected.keys() | found.keys()):
        where = f"{table} {'/'.join(key)}"
        if key not in found:
            yield Difference(where, "a row", "none", key[0])
        elif key not in expected:
            yield Difference(where, "no row", "one", key[0])
        else:
            for name, value in expected[key].items():
                there = found[key][name]
                if to_json_value(value) != to_json_value(there):
                    yield Difference(f"{where} {name}", describe_value(value), describe_value(there), key[0])


def to_json_value(value: Any) -> Any:  # noqa: ANN401 - any column's value
    """Return a value as JSON has it: an amount of the fold and one read from the database are then alike."""
    return msgspec.to_builtins(value)


def describe_value(value: Any) -> str:  # noqa: ANN401 - as above
    """Return a value as a difference says it."""
    return "nothing" if value is None else str(to_json_value(value))


_LEDGER_FETCH_SIZE: Final = 1000


class StoredEvent(NamedTuple):
    """A row of the ledger, and the event in it; None: there is none that can be read."""

    source: str
    id: str
    digest: bytes
    origin: tuple[str, int, int]
    event: Event | None


def read_ledger(connection: Connection) -> Iterator[tuple[StoredEvent, list[Difference]]]:
    """Give every event the ledger keeps, with what of its row does not agree with the event in it."""
    taken_back = {
        tuple(row)
        for row in connection.execute(
            select(tables.ledger.c.source, tables.ledger.c.retracts).where(tables.ledger.c.retracts.is_not(None))
        )
    }
    query = select(tables.ledger).where(tables.ledger.c.digest.is_not(None))
    for row in connection.execute(query, execution_options={"yield_per": _LEDGER_FETCH_SIZE}):
        where = f"ledger {row.source} {row.id}"
        event = decode(unpack_headers(row.headers), row.payload)
        if not isinstance(event, Event):
            yield _to_stored_event(row, None), [Difference(where, "an event", f"{event.reason}: {event.detail}")]
            continue
        is_retraction = isinstance(event.data, EventRetracted)
        said = {
            "source": event.source,
            "id": event.id,
            "digest": event.digest(),
            "type": event.type,
            "programme": event.programme,
            "project": event.project,
            "instant": event.instant,
            "retracts": event.data.retracts if isinstance(event.data, EventRetracted) else None,
            "retracted": not is_retraction and (row.source, row.id) in taken_back,
        }
        wrong = [
            Difference(f"{where} {name}", describe_value(value), describe_value(getattr(row, name)))
            for name, value in said.items()
            if getattr(row, name) != value
        ]
        yield _to_stored_event(row, event), wrong


def _to_stored_event(row: Any, event: Event | None) -> StoredEvent:  # noqa: ANN401 - a row of the ledger
    return StoredEvent(row.source, row.id, row.digest, (row.topic, row.partition, row.offset), event)


def fold_ledger(connection: Connection) -> tuple[Facts, set[str], list[Difference]]:
    """Return what the ledger says, the programmes it names, and what in it contradicts itself."""
    wrong: list[Difference] = []
    named: set[str] = set()
    retracted = {
        tuple(row)
        for row in connection.execute(
            select(tables.ledger.c.source, tables.ledger.c.retracts).where(tables.ledger.c.retracts.is_not(None))
        )
    }

    def unretracted_events() -> Iterator[Event]:
        for kept, differences in read_ledger(connection):
            wrong.extend(differences)
            if kept.event is None:
                continue
            named.add(kept.event.programme)
            if isinstance(kept.event.data, EventRetracted) or (kept.source, kept.id) not in retracted:
                yield kept.event

    return fold(unretracted_events()), named, wrong


def expected_rows(facts: Facts, programmes: set[str]) -> dict[str, dict[RowKey, RowFields]]:
    """Return the rows that hold facts; a programme has one from the first event on that names it."""
    every = dict.fromkeys(programmes | facts.existing_programmes(), 0)
    nothing = {c.name: None for c in tables.programmes.c if c.name not in {"programme", "revision"}}
    expected: dict[str, dict[RowKey, RowFields]] = {}
    for table, rows in facts_to_rows(facts, every).items():
        keys = [column.name for column in table.primary_key]
        expected[table.name] = {
            tuple(row[name] for name in keys): {n: v for n, v in row.items() if n not in {*keys, "revision"}}
            for row in (dict(zip(rows.column_names, values, strict=True)) for values in rows.values)
        }
    announced = expected[tables.programmes.name]
    expected[tables.programmes.name] = {(name,): announced.get((name,), nothing) for name in every}
    return expected


def diff_tables(facts: Facts, programmes: set[str], snapshot: TableSnapshot) -> Iterator[Difference]:
    """Give what of the winning claims and forecasts is not as the facts say."""
    expected = expected_rows(facts, programmes)
    for table in CLAIM_TABLES:
        yield from diff_table(table.name, expected[table.name], snapshot.rows[table.name])
    of = facts.split_by_programme(programmes | facts.existing_programmes() | snapshot.data_dates.keys())
    forecasts: dict[RowKey, RowFields] = {
        tuple(standing.key): to_forecast_row(standing)._asdict()
        for name, day in sorted(snapshot.data_dates.items())
        for standing in compute_schedule(of[name], day).statuses
    }
    yield from diff_table(tables.forecasts.name, forecasts, snapshot.rows[tables.forecasts.name])
    for name in sorted(snapshot.without_checkpoint):
        yield Difference(f"{tables.checkpoints.name} {name}", "a row", "none", name)


def diff_with_ledger(engine: Engine) -> list[Difference]:
    """Return what is not as the ledger says; nothing is written."""
    with read_transaction(engine) as connection:
        facts, named, wrong = fold_ledger(connection)
        return [*wrong, *diff_tables(facts, named, read_tables(connection))]


def rebuild_tables(engine: Engine) -> list[Difference]:
    """Replace what is not as the ledger says, in one transaction that workers wait for; return what it was.

    A changed programme gets a new revision, and a mark of that revision (if it was drawn as of the old one) whose day
    is `NEVER`: every worker then draws it from the tables, writes its forecasts, and makes no history, for no event
    moved it.
    Raises `DatabaseError` when the ledger contradicts itself: there is nothing to fold then.
    """
    with write_transaction(engine) as connection:
        _lock_tables(connection)
        facts, named, wrong = fold_ledger(connection)
        if wrong:
            raise DatabaseError(
                f"the ledger itself is damaged ({len(wrong)} differences, the first: {wrong[0]}): restore a backup,"
                " or start with a fresh database; the worker reads the topic again"
            )
        found = read_tables(connection)
        wrong = list(diff_tables(facts, named, found))
        changed = sorted({difference.programme for difference in wrong if difference.programme is not None})
        if changed:
            _replace_rows(connection, expected_rows(facts, named), found, changed)
        return wrong


def _lock_tables(connection: Connection) -> None:
    """Keep workers from writing, in the order of `recorder`; SQLite's transaction has locked everything."""
    if connection.dialect.name != "postgresql":
        return
    table = tables.positions
    connection.execute(select(table.c.next_offset).order_by(table.c.topic, table.c.partition).with_for_update()).all()
    names = (tables.programmes, tables.ledger, *tables.SUBJECT_TABLES, tables.checkpoints)
    for name in names:
        connection.execute(text(f"LOCK TABLE {name.name} IN SHARE ROW EXCLUSIVE MODE"))


def _replace_rows(
    connection: Connection,
    expected: Mapping[str, Mapping[RowKey, RowFields]],
    snapshot: TableSnapshot,
    programmes: Sequence[str],
) -> None:
    revisions = _next_revisions(connection, snapshot, programmes)
    for table in CLAIM_TABLES:
        keys = [column.name for column in table.primary_key]
        should, there = expected[table.name], snapshot.rows[table.name]
        for key in sorted(there.keys() - should.keys()):
            its = and_(*(table.c[name] == part for name, part in zip(keys, key, strict=True)))
            connection.execute(delete(table).where(its))
        names = [column.name for column in table.c if column.name not in {*keys, "revision"}]
        rows = [
            (*key, *(should[key][name] for name in names), revisions[key[0]])
            for key in sorted(should)
            if key[0] in revisions
            and (table is tables.programmes or any(diff_table("", {key: should[key]}, _select_key(there, key))))
        ]
        upsert_rows(connection, table, Rows((*keys, *names, "revision"), rows), OnConflict.REPLACE)
    marks = tables.checkpoints
    for name in programmes:
        if (noted := snapshot.without_checkpoint.get(name)) is not None:
            # What of its history was published is not known any more: all of it is told once more, under the same ids.
            mark = {
                "programme": name,
                "revision": revisions[name],
                "data_date": NOT_CALCULATED,
                "history_count": noted,
                "published_number": 0,
            }
            connection.execute(marks.insert().values(mark))
        its_mark = marks.c.programme == name
        connection.execute(update(marks).where(its_mark).values(data_date=NOT_CALCULATED))
        if (name,) in expected[tables.programmes.name]:
            # A mark that is behind stays so: what events moved since is history still to be made.
            present = its_mark & (marks.c.revision == snapshot.revisions.get(name))
            connection.execute(update(marks).where(present).values(revision=revisions[name]))
        else:
            # No event names it: nothing of it stays but its history, which is counted on should it come back.
            connection.execute(update(marks).where(its_mark).values(revision=0))
            connection.execute(delete(tables.forecasts).where(tables.forecasts.c.programme == name))


def _select_key(rows: Mapping[RowKey, RowFields], key: RowKey) -> dict[RowKey, RowFields]:
    return {key: rows[key]} if key in rows else {}


def _next_revisions(connection: Connection, snapshot: TableSnapshot, programmes: Sequence[str]) -> dict[str, int]:
    """Return a revision for each that none of its rows ever had, even where its own row was lost."""
    ledger = tables.ledger.c
    query = select(ledger.programme, func.max(ledger.revision)).group_by(ledger.programme)
    known = {name: revision or 0 for name, revision in connection.execute(query)}
    marks = dict(connection.execute(select(tables.checkpoints.c.programme, tables.checkpoints.c.revision)).all())
    return {
        name: 1 + max(snapshot.revisions.get(name, 0), known.get(name, 0), marks.get(name, 0)) for name in programmes
    }
