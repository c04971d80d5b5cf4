"""Facts to rows, and the SQL that merges two claims about the same thing as `models.domain.claims` does."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, NamedTuple

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

from models.database.postgresql import array_parameter
from models.database.tables import JsonText, json_text

Insert = postgresql.Insert | sqlite.Insert
#: As many as a batch has, as a rule: PostgreSQL has them all then, and nobody waits before it is told the rest.
_ROWS_PER_STATEMENT: Final = 5000


def insert_into(table: Table, dialect: str) -> Insert:
    """Return the dialect's INSERT, the one that knows ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _merge_assignments(table: Table, statement: Insert, column_names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """Return what each register of a table becomes when a row meets another: the winner of both."""
    new, old = statement.excluded, table.c
    winners: dict[str, ColumnElement[Any]] = {}
    for column in table.c:
        if (register := column.info.get("register")) is None:
            continue
        stamp, oldest = register
        if stamp not in column_names:
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


class Rows(NamedTuple):
    """Rows of a table: the names of their columns, and their values in that order."""

    column_names: Sequence[str]
    values: Sequence[Sequence[Any]]


def upsert_rows(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict) -> int:
    """Insert rows, or do with those that are there what is asked for. Return how many were written.

    PostgreSQL takes rows as one array for each column, one statement however many; in either database some thousands at
    a time, which bounds what one statement holds.
    """
    names, values = rows
    starts = range(0, len(values), _ROWS_PER_STATEMENT)
    some = (
        dict(zip(names, zip(*values[start : start + _ROWS_PER_STATEMENT], strict=True), strict=True))
        for start in starts
    )
    return sum(_upsert_chunk(connection, table, columns, on_conflict) for columns in some)


def merge_table_rows(connection: Connection, rows: Mapping[Table, Rows]) -> None:
    """Write what `rows_of` made of facts; each register keeps its winner."""
    for table, its in rows.items():
        upsert_rows(connection, table, its, OnConflict.MERGE)


def _upsert_chunk(
    connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]], on_conflict: OnConflict
) -> int:
    if on_conflict is OnConflict.MERGE:
        # What no row says anything of is left out: no value there is one of NULL, whether the column is named or not.
        columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    names, dialect, kept = tuple(columns), connection.dialect, {"preserve_rowcount": True}
    if dialect.name == "postgresql":
        statement = _upsert_statement(table, dialect.name, names, on_conflict)
        parameters = {f"all_{name}": values for name, values in columns.items()}
        return connection.execute(statement, parameters, execution_options=kept).rowcount
    text, placed = _compile_for_sqlite(table, dialect, names, on_conflict)
    stored = [_to_sqlite_values(table.c[name].type, columns[name]) for name in placed]
    return connection.exec_driver_sql(text, list(zip(*stored, strict=True)), execution_options=kept).rowcount


@lru_cache(maxsize=64)
def _compile_for_sqlite(
    table: Table, dialect: Dialect, column_names: Sequence[str], on_conflict: OnConflict
) -> tuple[str, Sequence[str]]:
    """Return the INSERT of such rows as SQLite reads it, and the columns in the order of its values.

    To have SQLAlchemy look at every value of every row costs as much as SQLite takes to insert them.
    """
    compiled = _upsert_statement(table, dialect.name, column_names, on_conflict).compile(
        dialect=dialect, column_keys=list(column_names)
    )
    return str(compiled), compiled.positiontup or ()


def _to_sqlite_values(column_type: TypeEngine[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values as SQLAlchemy would hand them to SQLite."""
    if isinstance(column_type, Date):
        return [None if value is None else value.isoformat() for value in values]
    return [json_text(value) for value in values] if isinstance(column_type, JsonText) else values


@lru_cache(maxsize=64)
def _upsert_statement(table: Table, dialect: str, column_names: Sequence[str], on_conflict: OnConflict) -> Insert:
    """Return the INSERT of such rows; to put one together costs more than to execute it for a few."""
    statement = insert_into(table, dialect)
    if dialect == "postgresql":
        arrays = [array_parameter(f"all_{name}", table.c[name].type) for name in column_names]
        statement = statement.from_select(list(column_names), select(*(func.unnest(array) for array in arrays)))
    set_: dict[str, ColumnElement[Any]] = {}
    if on_conflict is OnConflict.MERGE:
        set_ = _merge_assignments(table, statement, column_names)
    elif on_conflict is OnConflict.REPLACE:
        set_ = {name: statement.excluded[name] for name in column_names if not table.c[name].primary_key}
    if not set_:
        return statement.on_conflict_do_nothing()
    if "revision" in column_names:
        set_["revision"] = statement.excluded.revision
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=set_)
