"""Bulk INSERT … ON CONFLICT for both databases; rows of winning claims merge as `models.domain.claims` merges them."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Date, Dialect, Table, case, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from models.database.postgresql import array_parameter, is_postgresql
from models.database.tables import JsonText, json_text

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert
#: Normally one statement per batch, so that the server never waits for a second one.
_ROWS_PER_STATEMENT: Final = 5000


def chunked(values: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Yield slices of a sequence, so that no statement has too many parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class OnConflict(Enum):
    """What happens to a row whose key exists."""

    LEAVE = auto()
    #: Each register keeps the winning claim.
    MERGE = auto()
    REPLACE = auto()


class Rows(NamedTuple):
    """Rows of a table: column names, and the values of each row in that order."""

    column_names: Sequence[str]
    values: Sequence[Sequence[Any]]


def insert_into(table: Table, dialect: str) -> Insert:
    """Return the dialect's INSERT, which supports ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def upsert_rows(connection: Connection, table: Table, rows: Rows, on_conflict: OnConflict) -> int:
    """Insert rows, and resolve conflicts as given. Return how many rows were written."""
    names, values = rows
    return sum(
        _upsert_chunk(connection, table, dict(zip(names, zip(*chunk, strict=True), strict=True)), on_conflict)
        for chunk in chunked(values, _ROWS_PER_STATEMENT)
    )


def merge_table_rows(connection: Connection, rows_by_table: Mapping[Table, Rows]) -> None:
    """Write the rows of `facts_to_rows`; each register keeps the winning claim."""
    for table, rows in rows_by_table.items():
        upsert_rows(connection, table, rows, OnConflict.MERGE)


def _upsert_chunk(
    connection: Connection, table: Table, columns: Mapping[str, Sequence[Any]], on_conflict: OnConflict
) -> int:
    if on_conflict is OnConflict.MERGE:
        # A column of NULLs merges like a missing one.
        columns = {name: values for name, values in columns.items() if values.count(None) < len(values)}
    names, dialect, options = tuple(columns), connection.dialect, {"preserve_rowcount": True}
    if is_postgresql(connection):
        # One array per column: one statement for any number of rows.
        statement = _upsert_statement(table, dialect.name, names, on_conflict)
        parameters = {f"{name}_values": values for name, values in columns.items()}
        return connection.execute(statement, parameters, execution_options=options).rowcount
    sql, positional = _compile_for_sqlite(table, dialect, names, on_conflict)
    stored = [_to_sqlite_values(table.c[name].type, columns[name]) for name in positional]
    return connection.exec_driver_sql(sql, list(zip(*stored, strict=True)), execution_options=options).rowcount


@lru_cache(maxsize=64)
def _compile_for_sqlite(
    table: Table, dialect: Dialect, column_names: Sequence[str], on_conflict: OnConflict
) -> tuple[str, Sequence[str]]:
    """Return the INSERT as text, and its columns in the order of its parameters.

    SQLAlchemy's processing of every value would cost as much as SQLite's insert.
    """
    statement = _upsert_statement(table, dialect.name, column_names, on_conflict)
    compiled = statement.compile(dialect=dialect, column_keys=list(column_names))
    return str(compiled), compiled.positiontup or ()


def _to_sqlite_values(column_type: TypeEngine[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Convert the values of a column as SQLAlchemy would."""
    if isinstance(column_type, Date):
        return [None if value is None else value.isoformat() for value in values]
    return [json_text(value) for value in values] if isinstance(column_type, JsonText) else values


@lru_cache(maxsize=64)
def _upsert_statement(table: Table, dialect: str, column_names: Sequence[str], on_conflict: OnConflict) -> Insert:
    # Cached, because building the statement costs more than executing it for a few rows.
    statement = insert_into(table, dialect)
    if dialect == "postgresql":
        arrays = [array_parameter(f"{name}_values", table.c[name].type) for name in column_names]
        statement = statement.from_select(list(column_names), select(*(func.unnest(array) for array in arrays)))
    assignments: dict[str, ColumnElement[Any]] = {}
    if on_conflict is OnConflict.MERGE:
        assignments = _merge_assignments(table, statement, column_names)
    elif on_conflict is OnConflict.REPLACE:
        assignments = {name: statement.excluded[name] for name in column_names if not table.c[name].primary_key}
    if not assignments:
        return statement.on_conflict_do_nothing()
    if "revision" in column_names:
        assignments["revision"] = statement.excluded.revision
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=assignments)


def _merge_assignments(table: Table, statement: Insert, column_names: Sequence[str]) -> dict[str, ColumnElement[Any]]:
    """Return the winner of the new and the stored claim for each column of a register."""
    new, old = statement.excluded, table.c
    winners: dict[str, ColumnElement[Any]] = {}
    for column in table.c:
        stamp, keep_oldest = column.info.get("register", (None, False))
        if stamp in column_names:
            is_better = new[stamp] < old[stamp] if keep_oldest else new[stamp] > old[stamp]
            wins = new[stamp].is_not(None) & or_(old[stamp].is_(None), is_better)
            winners[column.name] = case((wins, new[column.name]), else_=old[column.name])
    return winners
