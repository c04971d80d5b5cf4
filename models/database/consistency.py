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
from models.database.claims import rows_of
from models.database.engine import DatabaseError, reading, writing
from models.database.forecasts import read_known, read_stored, stored_of
from models.database.ledger import headers_of
from models.database.upsert import OnConflict, Rows, write_rows
from models.domain.claims import Facts, fold
from models.domain.cloudevents import decode
from models.domain.events import Event, EventRetracted
from models.domain.schedule import picture

Key = tuple[str, ...]
Fields = Mapping[str, Any]

#: The tables that hold winning claims, in the order in which rows are written.
CLAIMS: Final = (tables.programmes, *tables.FACTS)
#: The day of a picture that nobody drew: whatever is remembered of it is not trusted.
NEVER: Final = date.min


class Found(NamedTuple):
    """What the database holds, of one moment: rows by table and key, and of which revision each programme is."""

    rows: Mapping[str, Mapping[Key, Fields]]
    revisions: Mapping[str, int]
    days: Mapping[str, date]
    #: Programmes that have forecasts or a history and no mark, with how many rows that history has.
    unmarked: Mapping[str, int]


def read_found(connection: Connection) -> Found:
    """Read the winning claims, and the forecasts of the programmes that are drawn at their present revision."""
    rows: dict[str, Mapping[Key, Fields]] = {table.name: _read_table(connection, table) for table in CLAIMS}
    query = select(tables.programmes.c.programme, tables.programmes.c.revision)
    revisions: dict[str, int] = dict(connection.execute(query).all())
    known = read_known(connection, sorted(revisions))
    marks = {name: its.mark for name, its in known.items() if its.mark is not None}
    days = {name: mark.day for name, mark in marks.items() if mark.revision == revisions[name] and mark.day != NEVER}
    rows["forecasts"] = {
        key: stored._asdict() for name in sorted(days) for key, stored in read_stored(connection, name).items()
    }
    return Found(rows, revisions, days, _read_unmarked(connection))


def _read_unmarked(connection: Connection) -> dict[str, int]:
    drawn, noted, marked = tables.forecasts.c.programme, tables.history.c, select(tables.pictures.c.programme)
    unmarked = dict.fromkeys(connection.scalars(select(drawn).where(drawn.not_in(marked)).distinct()), 0)
    histories = select(noted.programme, func.max(noted.number)).group_by(noted.programme)
    return unmarked | dict(connection.execute(histories.where(noted.programme.not_in(marked))).all())


def _read_table(connection: Connection, table: Table) -> dict[Key, Fields]:
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


def compare(table: str, expected: Mapping[Key, Fields], found: Mapping[Key, Fields]) -> Iterator[Difference]:
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
                if plain(value) != plain(there):
                    yield Difference(f"{where} {name}", shown(value), shown(there), key[0])


def plain(value: Any) -> Any:  # noqa: ANN401 - any column's value
    """Return a value as JSON has it: an amount of the fold and one read from the database are then alike."""
    return msgspec.to_builtins(value)


def shown(value: Any) -> str:  # noqa: ANN401 - as above
    """Return a value as a difference says it."""
    return "nothing" if value is None else str(plain(value))


_FETCHED: Final = 1000


class Kept(NamedTuple):
    """A row of the ledger, and the event in it; None: there is none that can be read."""

    source: str
    id: str
    digest: bytes
    origin: tuple[str, int, int]
    event: Event | None


def read_ledger(connection: Connection) -> Iterator[tuple[Kept, list[Difference]]]:
    """Give every event the ledger keeps, with what of its row does not agree with the event in it."""
    taken_back = {
        tuple(row)
        for row in connection.execute(
            select(tables.ledger.c.source, tables.ledger.c.retracts).where(tables.ledger.c.retracts.is_not(None))
        )
    }
    query = select(tables.ledger).where(tables.ledger.c.digest.is_not(None))
    for row in connection.execute(query, execution_options={"yield_per": _FETCHED}):
        where = f"ledger {row.source} {row.id}"
        event = decode(headers_of(row.headers), row.payload)
        if not isinstance(event, Event):
            yield _kept(row, None), [Difference(where, "an event", f"{event.reason}: {event.detail}")]
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
            Difference(f"{where} {name}", shown(value), shown(getattr(row, name)))
            for name, value in said.items()
            if getattr(row, name) != value
        ]
        yield _kept(row, event), wrong


def _kept(row: Any, event: Event | None) -> Kept:  # noqa: ANN401 - a row of the ledger
    return Kept(row.source, row.id, row.digest, (row.topic, row.partition, row.offset), event)


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

    def standing() -> Iterator[Event]:
        for kept, differences in read_ledger(connection):
            wrong.extend(differences)
            if kept.event is None:
                continue
            named.add(kept.event.programme)
            if isinstance(kept.event.data, EventRetracted) or (kept.source, kept.id) not in retracted:
                yield kept.event

    return fold(standing()), named, wrong


def expected_rows(facts: Facts, named: set[str]) -> dict[str, dict[Key, Fields]]:
    """Return the rows that hold facts; a programme has one from the first event on that names it."""
    every = dict.fromkeys(named | facts.existing_programmes(), 0)
    nothing = {c.name: None for c in tables.programmes.c if c.name not in {"programme", "revision"}}
    expected: dict[str, dict[Key, Fields]] = {}
    for table, rows in rows_of(facts, every).items():
        keys = [column.name for column in table.primary_key]
        expected[table.name] = {
            tuple(row[name] for name in keys): {n: v for n, v in row.items() if n not in {*keys, "revision"}}
            for row in (dict(zip(rows.names, values, strict=True)) for values in rows.values)
        }
    announced = expected[tables.programmes.name]
    expected[tables.programmes.name] = {(name,): announced.get((name,), nothing) for name in every}
    return expected


def differences(facts: Facts, named: set[str], found: Found) -> Iterator[Difference]:
    """Give what of the winning claims and forecasts is not as the facts say."""
    expected = expected_rows(facts, named)
    for table in CLAIMS:
        yield from compare(table.name, expected[table.name], found.rows[table.name])
    of = facts.split(named | facts.existing_programmes() | found.days.keys())
    forecasts: dict[Key, Fields] = {
        tuple(standing.key): stored_of(standing)._asdict()
        for name, day in sorted(found.days.items())
        for standing in picture(of[name], day).standings
    }
    yield from compare(tables.forecasts.name, forecasts, found.rows[tables.forecasts.name])
    for name in sorted(found.unmarked):
        yield Difference(f"{tables.pictures.name} {name}", "a row", "none", name)


def compare_with_ledger(engine: Engine) -> list[Difference]:
    """Return what is not as the ledger says; nothing is written."""
    with reading(engine) as connection:
        facts, named, wrong = fold_ledger(connection)
        return [*wrong, *differences(facts, named, read_found(connection))]


def put_right(engine: Engine) -> list[Difference]:
    """Replace what is not as the ledger says, in one transaction that workers wait for; return what it was.

    A changed programme gets a new revision, and a mark of that revision (if it was drawn as of the old one) whose day
    is `NEVER`: every worker then draws it from the tables, writes its forecasts, and makes no history, for no event
    moved it.
    Raises `DatabaseError` when the ledger contradicts itself: there is nothing to fold then.
    """
    with writing(engine) as connection:
        _lock(connection)
        facts, named, wrong = fold_ledger(connection)
        if wrong:
            raise DatabaseError(
                f"the ledger itself is damaged ({len(wrong)} differences, the first: {wrong[0]}): restore a backup,"
                " or start with a fresh database; the worker reads the topic again"
            )
        found = read_found(connection)
        wrong = list(differences(facts, named, found))
        changed = sorted({difference.programme for difference in wrong if difference.programme is not None})
        if changed:
            _replace(connection, expected_rows(facts, named), found, changed)
        return wrong


def _lock(connection: Connection) -> None:
    """Keep workers from writing, in the order of `recorder`; SQLite's transaction has locked everything."""
    if connection.dialect.name != "postgresql":
        return
    table = tables.positions
    connection.execute(select(table.c.next_offset).order_by(table.c.topic, table.c.partition).with_for_update()).all()
    names = (tables.programmes, tables.ledger, *tables.FACTS, tables.pictures)
    for name in names:
        connection.execute(text(f"LOCK TABLE {name.name} IN SHARE ROW EXCLUSIVE MODE"))


def _replace(
    connection: Connection, expected: Mapping[str, Mapping[Key, Fields]], found: Found, changed: Sequence[str]
) -> None:
    revisions = _next_revisions(connection, found, changed)
    for table in CLAIMS:
        keys = [column.name for column in table.primary_key]
        should, there = expected[table.name], found.rows[table.name]
        for key in sorted(there.keys() - should.keys()):
            its = and_(*(table.c[name] == part for name, part in zip(keys, key, strict=True)))
            connection.execute(delete(table).where(its))
        names = [column.name for column in table.c if column.name not in {*keys, "revision"}]
        rows = [
            (*key, *(should[key][name] for name in names), revisions[key[0]])
            for key in sorted(should)
            if key[0] in revisions
            and (table is tables.programmes or any(compare("", {key: should[key]}, _at(there, key))))
        ]
        write_rows(connection, table, Rows((*keys, *names, "revision"), rows), OnConflict.REPLACE)
    marks = tables.pictures
    for name in changed:
        if (noted := found.unmarked.get(name)) is not None:
            # What of its history was published is not known any more: all of it is told once more, under the same ids.
            mark = {"programme": name, "revision": revisions[name], "day": NEVER, "history": noted, "published": 0}
            connection.execute(marks.insert().values(mark))
        its_mark = marks.c.programme == name
        connection.execute(update(marks).where(its_mark).values(day=NEVER))
        if (name,) in expected[tables.programmes.name]:
            # A mark that is behind stays so: what events moved since is history still to be made.
            present = its_mark & (marks.c.revision == found.revisions.get(name))
            connection.execute(update(marks).where(present).values(revision=revisions[name]))
        else:
            # No event names it: nothing of it stays but its history, which is counted on should it come back.
            connection.execute(update(marks).where(its_mark).values(revision=0))
            connection.execute(delete(tables.forecasts).where(tables.forecasts.c.programme == name))


def _at(there: Mapping[Key, Fields], key: Key) -> dict[Key, Fields]:
    return {key: there[key]} if key in there else {}


def _next_revisions(connection: Connection, found: Found, changed: Sequence[str]) -> dict[str, int]:
    """Return a revision for each that none of its rows ever had, even where its own row was lost."""
    ledger = tables.ledger.c
    query = select(ledger.programme, func.max(ledger.revision)).group_by(ledger.programme)
    known = {name: revision or 0 for name, revision in connection.execute(query)}
    marks = dict(connection.execute(select(tables.pictures.c.programme, tables.pictures.c.revision)).all())
    return {name: 1 + max(found.revisions.get(name, 0), known.get(name, 0), marks.get(name, 0)) for name in changed}
