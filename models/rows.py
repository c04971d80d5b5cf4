"""Facts to rows, and the SQL that merges two claims about the same thing as `models.milestones` does."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Dialect,
    Table,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from models import tables
from models.arrays import array_of
from models.milestones import Facts, Milestone, MilestoneKey, Programme, Project, Register
from models.tables import JsonText, json_text

Row = dict[str, Any]
Insert = postgresql.Insert | sqlite.Insert
_AT_ONCE: Final = 2000


def insert_into(table: Table, dialect: str) -> Insert:
    """Return the dialect's INSERT, the one that knows ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _winners(table: Table, statement: Insert, names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """Return what each register of a table becomes when a row meets another: the winner of both."""
    new, old = statement.excluded, table.c
    winners: dict[str, ColumnElement[Any]] = {}
    for column in table.c:
        if (register := column.info.get("register")) is None:
            continue
        stamp, oldest = register
        if stamp not in names:
            continue
        better = new[stamp] < old[stamp] if oldest else new[stamp] > old[stamp]
        wins = new[stamp].is_not(None) & or_(old[stamp].is_(None), better)
        winners[column.name] = case((wins, new[column.name]), else_=old[column.name])
    return winners


class OnConflict(Enum):
    """What becomes of a row whose key is there already."""

    LEAVE = auto()
    #: Each register keeps its winner.
    MERGE = auto()
    REPLACE = auto()


def write_rows(connection: Connection, table: Table, rows: Sequence[Row], on_conflict: OnConflict) -> int:
    """Insert rows, or do with those that are there what is asked for. Return how many were written.

    PostgreSQL takes rows as one array for each column, one statement however many; in either database two
    thousand at a time, which bounds what one statement holds.
    """
    starts = range(0, len(rows), _AT_ONCE)
    return sum(_write(connection, table, rows[start : start + _AT_ONCE], on_conflict) for start in starts)


def merge_rows(connection: Connection, rows: Mapping[Table, Sequence[Row]]) -> None:
    """Write what `rows_of` made of facts; each register keeps its winner."""
    for table, its in rows.items():
        write_rows(connection, table, its, OnConflict.MERGE)


def _write(connection: Connection, table: Table, rows: Sequence[Row], on_conflict: OnConflict) -> int:
    names: Sequence[str] = tuple(rows[0])
    if on_conflict is OnConflict.MERGE:
        # What no row says anything of is left out: no value there is one of NULL, whether the column is named or not.
        names = tuple(name for name in names if any(row[name] is not None for row in rows))
    dialect = connection.dialect
    kept = {"preserve_rowcount": True}
    if dialect.name == "postgresql":
        statement = _statement(table, dialect.name, names, on_conflict)
        parameters = {f"all_{name}": [row[name] for row in rows] for name in names}
        return connection.execute(statement, parameters, execution_options=kept).rowcount
    text, placed = _text(table, dialect, names, on_conflict)
    columns = [_as_stored(table.c[name].type, [row[name] for row in rows]) for name in placed]
    return connection.exec_driver_sql(text, list(zip(*columns, strict=True)), execution_options=kept).rowcount


@lru_cache(maxsize=64)
def _text(table: Table, dialect: Dialect, names: Sequence[str], on_conflict: OnConflict) -> tuple[str, Sequence[str]]:
    """Return the INSERT of such rows as SQLite reads it, and the columns in the order of its values.

    To have SQLAlchemy look at every value of every row costs as much as SQLite takes to insert them.
    """
    compiled = _statement(table, dialect.name, names, on_conflict).compile(dialect=dialect, column_keys=list(names))
    return str(compiled), compiled.positiontup or ()


def _as_stored(kind: TypeEngine[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values as SQLAlchemy would hand them to SQLite."""
    if isinstance(kind, Date):
        return [None if value is None else value.isoformat() for value in values]
    return [json_text(value) for value in values] if isinstance(kind, JsonText) else values


@lru_cache(maxsize=64)
def _statement(table: Table, dialect: str, names: Sequence[str], on_conflict: OnConflict) -> Insert:
    """Return the INSERT of such rows; to put one together costs more than to execute it for a few."""
    statement = insert_into(table, dialect)
    if dialect == "postgresql":
        arrays = [array_of(f"all_{name}", table.c[name].type) for name in names]
        statement = statement.from_select(list(names), select(*(func.unnest(array) for array in arrays)))
    set_: dict[str, ColumnElement[Any]] = {}
    if on_conflict is OnConflict.MERGE:
        set_ = _winners(table, statement, names)
    elif on_conflict is OnConflict.REPLACE:
        set_ = {name: statement.excluded[name] for name in names if not table.c[name].primary_key}
    if not set_:
        return statement.on_conflict_do_nothing()
    if "revision" in names:
        set_["revision"] = statement.excluded.revision
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=set_)


def rows_of(facts: Facts, revisions: Mapping[str, int]) -> dict[Table, list[Row]]:
    """Return the rows that hold facts, of the revisions that their programmes have now.

    They are sorted by key so that two writers lock them in one order.
    """
    return {
        tables.programmes: [
            {
                "programme": name,
                "registered_stamp": programme.registered,
                **_registers(programme, "name", "investment", "jobs"),
            }
            for name, programme in sorted(facts.programmes.items())
        ],
        tables.projects: [
            {
                **key._asdict(),
                "revision": revisions[key.programme],
                "registered_stamp": project.registered,
                "withdrawn_stamp": project.withdrawn,
                **_registers(project, "name", "kind", "site", "investment", "jobs"),
            }
            for key, project in sorted(facts.projects.items())
        ],
        tables.sites: [
            {"programme": programme, "project": project, "site": site, "revision": revisions[programme]}
            for programme, project, site in sorted(facts.sites)
        ],
        tables.milestones: [
            _milestone(key, milestone, revisions[key.programme]) for key, milestone in sorted(facts.milestones.items())
        ],
        tables.dependencies: [
            {
                **key._asdict(),
                "revision": revisions[key.programme],
                "lag_days": dependency.declared.value if dependency.declared else None,
                "declared_stamp": dependency.declared.stamp if dependency.declared else None,
                "withdrawn_stamp": dependency.withdrawn,
            }
            for key, dependency in sorted(facts.dependencies.items())
        ],
    }


def _registers(known: Project | Programme, *names: str) -> Row:
    row: Row = {}
    for name in names:
        register: Register[Any] | None = getattr(known, name)
        row[name], row[f"{name}_stamp"] = (register.value, register.stamp) if register else (None, None)
    return row


def _milestone(key: MilestoneKey, milestone: Milestone, revision: int) -> Row:
    # Written out, because this is done for nearly every event.
    baseline, planned, estimated, actual = milestone.baseline, milestone.planned, milestone.estimated, milestone.actual
    return {
        "programme": key.programme,
        "project": key.project,
        "milestone": key.milestone,
        "revision": revision,
        "baseline": baseline.date if baseline else None,
        "baseline_stamp": baseline.stamp if baseline else None,
        "planned": planned.date if planned else None,
        "planned_stamp": planned.stamp if planned else None,
        "planned_amount": planned.amount if planned else None,
        "estimated": estimated.date if estimated else None,
        "estimated_stamp": estimated.stamp if estimated else None,
        "estimated_amount": estimated.amount if estimated else None,
        "actual": actual.date if actual else None,
        "actual_stamp": actual.stamp if actual else None,
        "actual_amount": actual.amount if actual else None,
        "cancelled_stamp": milestone.cancelled,
    }
