"""What the database holds, of one moment: to be held against what it should."""

from collections.abc import Mapping
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, func, select

from models import tables
from models.comparison import Fields, Key
from models.pictures import read_known, read_stored

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
