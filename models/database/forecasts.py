"""The rows of `checkpoints`, `forecasts` and `history`: what the projector reads and writes, and what is published."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from models.database.claims import FROM_START
from models.database.ledger import EventKey, read_correlation_ids
from models.database.tables import checkpoints, forecasts, history, programmes
from models.database.upsert import OnConflict, Rows, chunked, upsert_rows
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


#: The data date of a checkpoint that no calculation wrote: no worker's cache has it.
NOT_CALCULATED: Final = date.min
#: Before the first calculation.
NO_CHECKPOINT: Final = Checkpoint(FROM_START, NOT_CALCULATED, 0, 0)


class ForecastRow(NamedTuple):
    """A row of `forecasts`, without its key."""

    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    dependents: int


#: The forecasts that the database holds: of a cached schedule, or as read.
StoredForecasts = Schedule | Mapping[tuple[str, ...], ForecastRow]


class ForecastUpdate(NamedTuple):
    """The forecasts of a programme at a revision, the events' changes, and the checkpoint and forecasts before."""

    programme: str
    revision: int
    checkpoint: Checkpoint
    stored: StoredForecasts
    schedule: Schedule
    changes: Sequence[ForecastChange]


#: PostgreSQL takes 65,535 parameters, SQLite 32,766; whoever compares all that is stored names every programme.
_MAX_NAMES: Final = 10_000
_SELECT_VERSIONS: Final = (
    select(programmes.c.programme, programmes.c.revision, *(checkpoints.c[name] for name in Checkpoint._fields))
    .select_from(programmes.outerjoin(checkpoints, checkpoints.c.programme == programmes.c.programme))
    .where(programmes.c.programme.in_(bindparam("names", expanding=True)))
)
_ADVANCE_CHECKPOINT: Final = (
    update(checkpoints)
    .where(
        checkpoints.c.programme == bindparam("key_programme"),
        checkpoints.c.revision == bindparam("expected_revision"),
        checkpoints.c.data_date == bindparam("expected_data_date"),
    )
    .values({name: bindparam(name) for name in ("revision", "data_date", "history_count")})
)


def read_programme_versions(connection: Connection, names: Sequence[str]) -> dict[str, tuple[int, Checkpoint]]:
    """Return the revisions and checkpoints of those of the given programmes that exist."""
    return {
        name: (revision, NO_CHECKPOINT if fields[0] is None else Checkpoint(*fields))
        for part in chunked(names, _MAX_NAMES)
        for name, revision, *fields in connection.execute(_SELECT_VERSIONS, {"names": part})
    }


def read_forecasts(connection: Connection, names: Sequence[str]) -> dict[str, dict[tuple[str, ...], ForecastRow]]:
    """Return the stored forecasts of each of some programmes, by milestone key."""
    found: dict[str, dict[tuple[str, ...], ForecastRow]] = {name: {} for name in names}
    for part in chunked(names):
        for row in connection.execute(select(forecasts).where(forecasts.c.programme.in_(part))):
            found[row.programme][row[:3]] = ForecastRow._make(row[3:])
    return found


def to_forecast_row(status: MilestoneStatus) -> ForecastRow:
    """Return the row of a milestone's status; both have forecast, slip and float in this order."""
    driver = status.driver or (None, None)
    return ForecastRow._make((*status[7:10], status.state.value, *driver, status.dependents))


def write_updates(connection: Connection, updates: Sequence[ForecastUpdate], now_ms: int) -> None:
    """Write checkpoints, the forecasts that differ from the stored ones, and changes as history rows.

    Must be the first write of the transaction, because it advances the checkpoints from the versions that were read
    (optimistic locking). Raises `ConcurrentWriteError` when another worker advanced one of them.
    """
    _advance_checkpoints(connection, updates)
    _write_forecasts(connection, updates)
    if any(update.changes for update in updates):
        _insert_history(connection, updates, now_ms)


def _advance_checkpoints(connection: Connection, updates: Sequence[ForecastUpdate]) -> None:
    inserted: list[Sequence[Any]] = []
    updated: list[dict[str, Any]] = []
    for name, revision, (old_revision, old_data_date, count, _), _, schedule, changes in updates:
        # `published_number` stays.
        fields = {"revision": revision, "data_date": schedule.data_date, "history_count": count + len(changes)}
        if old_revision == FROM_START:
            inserted.append((name, *fields.values(), 0))
        else:
            key = {"key_programme": name, "expected_revision": old_revision, "expected_data_date": old_data_date}
            updated.append(key | fields)
    written = upsert_rows(connection, checkpoints, Rows(checkpoints.c.keys(), inserted), OnConflict.LEAVE)
    if updated:
        options = {"preserve_rowcount": True}
        written += connection.execute(_ADVANCE_CHECKPOINT, updated, execution_options=options).rowcount
    if written != len(updates):
        names = ", ".join(name for name, *_ in updates)
        raise ConcurrentWriteError(f"another worker recalculated one of these programmes at the same time: {names}")


def _write_forecasts(connection: Connection, updates: Sequence[ForecastUpdate]) -> None:
    rows: list[Sequence[Any]] = []
    for name, _, _, stored, schedule, _ in updates:
        if isinstance(stored, Schedule) and stored.network is schedule.network:
            # An unchanged status is the same object.
            pairs = zip(stored.statuses, schedule.statuses, strict=True)
            changed = [new for old, new in pairs if old is not new and to_forecast_row(old) != to_forecast_row(new)]
        else:
            if isinstance(stored, Schedule):
                stored = {old[:3]: to_forecast_row(old) for old in stored.statuses}  # noqa: PLW2901 - in the other form
            changed = [new for new in schedule.statuses if stored.get(new[:3]) != to_forecast_row(new)]
            for keys in chunked(sorted(stored.keys() - schedule.network.index_of.keys())):
                is_deleted = tuple_(forecasts.c.project, forecasts.c.milestone).in_([key[1:] for key in keys])
                connection.execute(delete(forecasts).where(forecasts.c.programme == name, is_deleted))
        rows.extend((*new.key, *to_forecast_row(new)) for new in changed)
    upsert_rows(connection, forecasts, Rows(forecasts.c.keys(), rows), OnConflict.REPLACE)


def _insert_history(connection: Connection, updates: Sequence[ForecastUpdate], now_ms: int) -> None:
    causes = {change.cause: EventKey(*parse_stamp(change.cause)[1:]) for update in updates for change in update.changes}
    correlation_ids = read_correlation_ids(connection, sorted(set(causes.values())))
    rows = []
    for name, revision, checkpoint, _, _, changes in updates:
        for number, change in enumerate(changes, start=checkpoint.history_count + 1):
            place = (name, number, *change.milestone[1:], revision, now_ms)
            dates = (change.previous, change.current, change.slip_days)
            driver, cause = change.driver or (None, None), causes[change.cause]
            correlation_id = correlation_ids.get(cause)
            rows.append((*place, *dates, change.state.value, *driver, change.dependents, *cause, correlation_id))
    upsert_rows(connection, history, Rows(HistoryRow._fields, rows), OnConflict.LEAVE)


def read_history(connection: Connection, key: MilestoneKey) -> list[HistoryRow]:
    """Return the history of a milestone, the oldest row first."""
    conditions = (history.c[name] == value for name, value in key._asdict().items())
    rows = connection.execute(select(history).where(*conditions).order_by(history.c.number))
    return list(map(HistoryRow._make, rows))


def read_unpublished(connection: Connection, names: Sequence[str], limit: int) -> list[HistoryRow]:
    """Return at most `limit` unpublished history rows of some programmes, each programme's in order."""
    unpublished = checkpoints.join(
        history, (history.c.programme == checkpoints.c.programme) & (history.c.number > checkpoints.c.published_number)
    )
    query = select(history).select_from(unpublished).where(checkpoints.c.programme.in_(names))
    rows = connection.execute(query.order_by(history.c.programme, history.c.number).limit(limit))
    return list(map(HistoryRow._make, rows))


_MARK_PUBLISHED: Final = (
    update(checkpoints)
    .where(checkpoints.c.programme == bindparam("name"), checkpoints.c.published_number < bindparam("number"))
    .values(published_number=bindparam("number"))
)


def mark_published(connection: Connection, published: Mapping[str, int]) -> None:
    """Store the number of the last published history row of each programme; a number never decreases."""
    if published:
        rows = [{"name": name, "number": number} for name, number in sorted(published.items())]
        connection.execute(_MARK_PUBLISHED, rows)
