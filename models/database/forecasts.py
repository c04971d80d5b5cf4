"""The rows of `pictures` and `forecasts`: of what revision and day a programme is drawn, and how all of it stands."""
# The rows of `history`: every forecast that an event moved, every milestone that one achieved, what was published.

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, tuple_, update

from models.database.ledger import EventKey
from models.database.tables import checkpoints, forecasts, history, programmes
from models.database.upsert import OnConflict, Rows, insert_into, upsert_rows
from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import ForecastChange, HistoryRow
from models.domain.schedule import MilestoneStatus, Schedule
from models.domain.timestamps import parse_stamp
from models.errors import ConcurrentWriteError

_DELETES_PER_STATEMENT: Final = 500


class Checkpoint(NamedTuple):
    """A row of `pictures`: of what revision and day the forecasts are."""

    revision: int
    data_date: date
    #: How many rows the programme's history has, and up to which of them changes were published.
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
    """A programme: its revision, and of what it is drawn (None: it never was)."""

    revision: int
    checkpoint: Checkpoint | None


def read_programme_versions(connection: Connection, names: Sequence[str]) -> dict[str, ProgrammeVersion]:
    """Return those of some programmes that an event names."""
    return {
        name: ProgrammeVersion(revision, None if mark[0] is None else Checkpoint(*mark))
        for name, revision, *mark in connection.execute(_SELECT_VERSIONS, {"names": names})
    }


_SELECT_VERSIONS: Final = (
    select(programmes.c.programme, programmes.c.revision, *(checkpoints.c[name] for name in Checkpoint._fields))
    .select_from(programmes.outerjoin(checkpoints, checkpoints.c.programme == programmes.c.programme))
    .where(programmes.c.programme.in_(bindparam("names", expanding=True)))
)


class CheckpointMove(NamedTuple):
    """A mark as it was read (None: there was none), and as it is to be."""

    programme: str
    expected: Checkpoint | None
    advanced: Checkpoint


def advance_checkpoints(connection: Connection, moves: Sequence[CheckpointMove]) -> None:
    """Move marks from what was read to what is done, whatever was published meanwhile.

    It is the first thing that a drawing writes; raises `RacedError` when another drawing was faster with one of them.
    """
    first = [{"programme": move.programme, **move.advanced._asdict()} for move in moves if move.expected is None]
    further = [
        {
            "key_programme": move.programme,
            **{f"expected_{name}": getattr(move.expected, name) for name in _VERSION_COLUMNS},
            **{name: getattr(move.advanced, name) for name in (*_VERSION_COLUMNS, "history_count")},
        }
        for move in moves
        if move.expected is not None
    ]
    options = {"preserve_rowcount": True}
    moved = 0
    if first:
        made = insert_into(checkpoints, connection.dialect.name).on_conflict_do_nothing()
        moved += connection.execute(made, first, execution_options=options).rowcount
    if further:
        moved += connection.execute(_ADVANCE_CHECKPOINT, further, execution_options=options).rowcount
    if moved != len(moves):
        names = ", ".join(move.programme for move in moves)
        raise ConcurrentWriteError(f"another worker drew one of these programmes at the same moment: {names}")


_VERSION_COLUMNS: Final = ("revision", "data_date")
_IS_EXPECTED: Final = [checkpoints.c[name] == bindparam(f"expected_{name}") for name in _VERSION_COLUMNS]
_ADVANCED_VALUES: Final[dict[str, BindParameter[Any]]] = {
    name: bindparam(name) for name in (*_VERSION_COLUMNS, "history_count")
}
_ADVANCE_CHECKPOINT: Final = (
    update(checkpoints)
    .where(checkpoints.c.programme == bindparam("key_programme"), *_IS_EXPECTED)
    .values(_ADVANCED_VALUES)
)


def read_forecasts(connection: Connection, name: str) -> dict[tuple[str, ...], ForecastRow]:
    """Return the forecasts that a programme has in the database."""
    columns = (forecasts.c[column] for column in (*MilestoneKey._fields, *ForecastRow._fields))
    rows = connection.execute(select(*columns).where(forecasts.c.programme == name))
    return {(programme, project, milestone): ForecastRow(*its) for programme, project, milestone, *its in rows}


def to_forecast_row(status: MilestoneStatus) -> ForecastRow:
    """Return the row of `forecasts` that holds a standing."""
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


class ForecastUpdate(NamedTuple):
    """A programme whose forecasts are to be written: what is there, and what is to be."""

    programme: str
    stored: Schedule | Mapping[tuple[str, ...], ForecastRow]
    schedule: Schedule


def write_forecasts(connection: Connection, updates: Sequence[ForecastUpdate]) -> None:
    """Write the forecasts of programmes that differ from what is there, and remove those that are there no longer."""
    rows: list[Sequence[Any]] = []
    for name, there, now in updates:
        if isinstance(there, Schedule) and there.network is now.network:
            # What stands as it stood is the same object.
            pairs = zip(there.statuses, now.statuses, strict=True)
            differing = [new for old, new in pairs if old is not new and to_forecast_row(old) != to_forecast_row(new)]
        else:
            stored = {old[:3]: to_forecast_row(old) for old in there.statuses} if isinstance(there, Schedule) else there
            differing = [new for new in now.statuses if stored.get(new[:3]) != to_forecast_row(new)]
            _delete_forecasts(connection, name, sorted(stored.keys() - now.network.index_of.keys()))
        rows.extend((*new.key, *to_forecast_row(new)) for new in differing)
    upsert_rows(connection, forecasts, Rows((*MilestoneKey._fields, *ForecastRow._fields), rows), OnConflict.REPLACE)


def _delete_forecasts(connection: Connection, name: str, keys: Sequence[tuple[str, ...]]) -> None:
    for start in range(0, len(keys), _DELETES_PER_STATEMENT):
        which = tuple_(forecasts.c.project, forecasts.c.milestone).in_(
            [(project, milestone) for _, project, milestone in keys[start : start + _DELETES_PER_STATEMENT]]
        )
        connection.execute(delete(forecasts).where(forecasts.c.programme == name, which))


_HISTORY_ROW_COLUMNS = tuple(history.c[name] for name in HistoryRow._fields)


class NumberedChange(NamedTuple):
    """A movement, its number in the history of its programme, and of which revision that is."""

    number: int
    revision: int
    change: ForecastChange


def cause_key(change: ForecastChange) -> EventKey:
    """Return the name of the event behind a movement."""
    stamp = parse_stamp(change.cause)
    return EventKey(stamp.source, stamp.id)


def insert_history(
    connection: Connection, changes: Sequence[NumberedChange], correlation_ids: Mapping[EventKey, str], now_ms: int
) -> None:
    """Write what moved."""
    rows = []
    for number, revision, movement in changes:
        cause, (driver_project, driver_milestone) = cause_key(movement), movement.driver or (None, None)
        rows.append(
            HistoryRow(
                movement.milestone.programme,
                number,
                movement.milestone.project,
                movement.milestone.milestone,
                revision,
                now_ms,
                movement.previous,
                movement.current,
                movement.slip_days,
                movement.state.value,
                driver_project,
                driver_milestone,
                movement.dependents,
                cause.source,
                cause.id,
                correlation_ids.get(cause),
            )
        )
    upsert_rows(connection, history, Rows(HistoryRow._fields, rows), OnConflict.LEAVE)


def read_history(connection: Connection, key: MilestoneKey) -> list[HistoryRow]:
    """Return the history of one milestone, the oldest first."""
    its = [history.c[name] == part for name, part in key._asdict().items()]
    rows = connection.execute(select(*_HISTORY_ROW_COLUMNS).where(*its).order_by(history.c.number))
    return [HistoryRow._make(row) for row in rows]


def read_unpublished(connection: Connection, names: Sequence[str], limit: int) -> list[HistoryRow]:
    """Return what is to be published of some programmes, at most so many, each programme's in order."""
    untold = checkpoints.join(
        history, (history.c.programme == checkpoints.c.programme) & (history.c.number > checkpoints.c.published_number)
    )
    query = select(*_HISTORY_ROW_COLUMNS).select_from(untold).where(checkpoints.c.programme.in_(names))
    rows = connection.execute(query.order_by(history.c.programme, history.c.number).limit(limit))
    return [HistoryRow._make(row) for row in rows]


def mark_published(connection: Connection, published: Mapping[str, int]) -> None:
    """Note up to which number the history of each programme was published."""
    for name, number in sorted(published.items()):
        its = (checkpoints.c.programme == name) & (checkpoints.c.published_number < number)
        connection.execute(update(checkpoints).where(its).values(published_number=number))
