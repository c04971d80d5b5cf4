"""The rows of `checkpoints`, `forecasts` and `history`: what the projector reads and writes, and what is published."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from models.database.ledger import EventKey
from models.database.tables import checkpoints, forecasts, history, programmes
from models.database.upsert import OnConflict, Rows, chunked, insert_into, upsert_rows
from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import ForecastChange, HistoryRow
from models.domain.schedule import MilestoneStatus, Schedule
from models.domain.timestamps import parse_stamp
from models.errors import ConcurrentWriteError


class Checkpoint(NamedTuple):
    """A row of `checkpoints`, without its key: the version of a programme's forecasts."""

    revision: int
    data_date: date
    #: The number of history rows, and the number of the last published one.
    history_count: int
    published_number: int


class ForecastRow(NamedTuple):
    """A row of `forecasts`, without its key."""

    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    dependents: int


class ProgrammeVersion(NamedTuple):
    """The revision of a programme and its checkpoint (None before the first calculation)."""

    revision: int
    checkpoint: Checkpoint | None


class ForecastUpdate(NamedTuple):
    """A programme to write: its checkpoint as read (None: there was none) and as advanced, and its forecasts."""

    programme: str
    expected: Checkpoint | None
    advanced: Checkpoint
    stored: Schedule | Mapping[tuple[str, ...], ForecastRow]
    schedule: Schedule


class NumberedChange(NamedTuple):
    """A forecast change with its number in the programme's history and the programme's revision."""

    number: int
    revision: int
    change: ForecastChange


_SELECT_VERSIONS: Final = (
    select(programmes.c.programme, programmes.c.revision, *(checkpoints.c[name] for name in Checkpoint._fields))
    .select_from(programmes.outerjoin(checkpoints, checkpoints.c.programme == programmes.c.programme))
    .where(programmes.c.programme.in_(bindparam("names", expanding=True)))
)
_VERSION_COLUMNS: Final = ("revision", "data_date")
_ADVANCED_COLUMNS: Final = (*_VERSION_COLUMNS, "history_count")
_ADVANCE_CHECKPOINT: Final = (
    update(checkpoints)
    .where(
        checkpoints.c.programme == bindparam("key_programme"),
        *(checkpoints.c[name] == bindparam(f"expected_{name}") for name in _VERSION_COLUMNS),
    )
    .values({name: bindparam(name) for name in _ADVANCED_COLUMNS})
)
HISTORY_COLUMNS: Final = tuple(history.c[name] for name in HistoryRow._fields)


def read_programme_versions(connection: Connection, names: Sequence[str]) -> dict[str, ProgrammeVersion]:
    """Return the versions of those of the given programmes that exist."""
    return {
        name: ProgrammeVersion(revision, None if fields[0] is None else Checkpoint(*fields))
        for name, revision, *fields in connection.execute(_SELECT_VERSIONS, {"names": names})
    }


def advance_checkpoints(connection: Connection, updates: Sequence[ForecastUpdate]) -> None:
    """Advance checkpoints from the versions that were read (optimistic locking); `published_number` stays.

    Must be the first write of the transaction. Raises `ConcurrentWriteError` when another worker advanced one of them.
    """
    inserted = [
        {"programme": name, **advanced._asdict()} for name, expected, advanced, *_ in updates if expected is None
    ]
    updated = [
        {
            "key_programme": name,
            **{f"expected_{column}": getattr(expected, column) for column in _VERSION_COLUMNS},
            **{column: getattr(advanced, column) for column in _ADVANCED_COLUMNS},
        }
        for name, expected, advanced, *_ in updates
        if expected is not None
    ]
    insert = insert_into(checkpoints, connection.dialect.name).on_conflict_do_nothing()
    written = sum(
        connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
        for statement, rows in ((insert, inserted), (_ADVANCE_CHECKPOINT, updated))
        if rows
    )
    if written != len(updates):
        names = ", ".join(name for name, *_ in updates)
        raise ConcurrentWriteError(f"another worker recalculated one of these programmes at the same time: {names}")


def read_forecasts(connection: Connection, name: str) -> dict[tuple[str, ...], ForecastRow]:
    """Return the stored forecasts of a programme by milestone key."""
    columns = (forecasts.c[column] for column in (*MilestoneKey._fields, *ForecastRow._fields))
    rows = connection.execute(select(*columns).where(forecasts.c.programme == name))
    return {(programme, project, milestone): ForecastRow(*fields) for programme, project, milestone, *fields in rows}


def to_forecast_row(status: MilestoneStatus) -> ForecastRow:
    """Return the row of a milestone's status."""
    driver_project, driver_milestone = status.driver or (None, None)
    return ForecastRow(
        status.forecast,
        status.slip_days,
        status.float_days,
        status.state.value,
        driver_project,
        driver_milestone,
        status.dependents,
    )


def write_forecasts(connection: Connection, updates: Sequence[ForecastUpdate]) -> None:
    """Write the forecasts that differ from the stored ones, and delete those of milestones that no longer exist."""
    rows: list[Sequence[Any]] = []
    for name, *_, stored, schedule in updates:
        if isinstance(stored, Schedule) and stored.network is schedule.network:
            # An unchanged status is the same object.
            pairs = zip(stored.statuses, schedule.statuses, strict=True)
            changed = [new for old, new in pairs if old is not new and to_forecast_row(old) != to_forecast_row(new)]
        else:
            old_rows = (
                {old[:3]: to_forecast_row(old) for old in stored.statuses} if isinstance(stored, Schedule) else stored
            )
            changed = [new for new in schedule.statuses if old_rows.get(new[:3]) != to_forecast_row(new)]
            _delete_forecasts(connection, name, sorted(old_rows.keys() - schedule.network.index_of.keys()))
        rows.extend((*new.key, *to_forecast_row(new)) for new in changed)
    upsert_rows(connection, forecasts, Rows((*MilestoneKey._fields, *ForecastRow._fields), rows), OnConflict.REPLACE)


def _delete_forecasts(connection: Connection, name: str, keys: Sequence[tuple[str, ...]]) -> None:
    for chunk in chunked(keys):
        is_deleted = tuple_(forecasts.c.project, forecasts.c.milestone).in_([key[1:] for key in chunk])
        connection.execute(delete(forecasts).where(forecasts.c.programme == name, is_deleted))


def cause_key(change: ForecastChange) -> EventKey:
    """Return the key of the event that caused a change."""
    stamp = parse_stamp(change.cause)
    return EventKey(stamp.source, stamp.id)


def insert_history(
    connection: Connection, changes: Sequence[NumberedChange], correlation_ids: Mapping[EventKey, str], now_ms: int
) -> None:
    """Write changes as history rows."""
    rows = []
    for number, revision, change in changes:
        programme, project, milestone = change.milestone
        place = (programme, number, project, milestone, revision, now_ms)
        dates = (change.previous, change.current, change.slip_days)
        driver, cause = change.driver or (None, None), cause_key(change)
        correlation_id = correlation_ids.get(cause)
        rows.append((*place, *dates, change.state.value, *driver, change.dependents, *cause, correlation_id))
    upsert_rows(connection, history, Rows(HistoryRow._fields, rows), OnConflict.LEAVE)


def read_history(connection: Connection, key: MilestoneKey) -> list[HistoryRow]:
    """Return the history of a milestone, the oldest row first."""
    conditions = (history.c[name] == value for name, value in key._asdict().items())
    rows = connection.execute(select(*HISTORY_COLUMNS).where(*conditions).order_by(history.c.number))
    return [HistoryRow._make(row) for row in rows]


def read_unpublished(connection: Connection, names: Sequence[str], limit: int) -> list[HistoryRow]:
    """Return at most `limit` unpublished history rows of some programmes, each programme's in order."""
    unpublished = checkpoints.join(
        history, (history.c.programme == checkpoints.c.programme) & (history.c.number > checkpoints.c.published_number)
    )
    query = select(*HISTORY_COLUMNS).select_from(unpublished).where(checkpoints.c.programme.in_(names))
    rows = connection.execute(query.order_by(history.c.programme, history.c.number).limit(limit))
    return [HistoryRow._make(row) for row in rows]


def mark_published(connection: Connection, published: Mapping[str, int]) -> None:
    """Store the number of the last published history row of each programme; a number never decreases."""
    for name, number in sorted(published.items()):
        is_behind = (checkpoints.c.programme == name) & (checkpoints.c.published_number < number)
        connection.execute(update(checkpoints).where(is_behind).values(published_number=number))
