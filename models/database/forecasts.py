"""The rows of `pictures` and `forecasts`: of what revision and day a programme is drawn, and how all of it stands."""
# The rows of `history`: every forecast that an event moved, every milestone that one achieved, what was published.

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, tuple_, update

from models.database.ledger import Name
from models.database.tables import forecasts, history, pictures, programmes
from models.database.upsert import OnConflict, Rows, insert_into, write_rows
from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import Movement, Noted
from models.domain.schedule import Picture, Standing
from models.domain.timestamps import read_stamp
from models.errors import RacedError

_AT_ONCE: Final = 500


class Mark(NamedTuple):
    """A row of `pictures`: of what revision and day the forecasts are."""

    revision: int
    day: date
    #: How many rows the programme's history has, and up to which of them changes were published.
    history: int
    published: int


class Stored(NamedTuple):
    """A row of `forecasts`, without its key."""

    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    dependents: int


class Known(NamedTuple):
    """A programme: its revision, and of what it is drawn (None: it never was)."""

    revision: int
    mark: Mark | None


def read_known(connection: Connection, names: Sequence[str]) -> dict[str, Known]:
    """Return those of some programmes that an event names."""
    return {
        name: Known(revision, None if mark[0] is None else Mark(*mark))
        for name, revision, *mark in connection.execute(_KNOWN, {"names": names})
    }


_KNOWN: Final = (
    select(programmes.c.programme, programmes.c.revision, *(pictures.c[name] for name in Mark._fields))
    .select_from(programmes.outerjoin(pictures, pictures.c.programme == programmes.c.programme))
    .where(programmes.c.programme.in_(bindparam("names", expanding=True)))
)


class Move(NamedTuple):
    """A mark as it was read (None: there was none), and as it is to be."""

    programme: str
    as_read: Mark | None
    done: Mark


def move_marks(connection: Connection, moves: Sequence[Move]) -> None:
    """Move marks from what was read to what is done, whatever was published meanwhile.

    It is the first thing that a drawing writes; raises `RacedError` when another drawing was faster with one of them.
    """
    first = [{"programme": move.programme, **move.done._asdict()} for move in moves if move.as_read is None]
    further = [
        {
            "its_programme": move.programme,
            **{f"read_{name}": getattr(move.as_read, name) for name in ("revision", "day")},
            **{name: getattr(move.done, name) for name in ("revision", "day", "history")},
        }
        for move in moves
        if move.as_read is not None
    ]
    options = {"preserve_rowcount": True}
    moved = 0
    if first:
        made = insert_into(pictures, connection.dialect.name).on_conflict_do_nothing()
        moved += connection.execute(made, first, execution_options=options).rowcount
    if further:
        moved += connection.execute(_MOVE, further, execution_options=options).rowcount
    if moved != len(moves):
        names = ", ".join(move.programme for move in moves)
        raise RacedError(f"another worker drew one of these programmes at the same moment: {names}")


_AS_READ: Final = [pictures.c[name] == bindparam(f"read_{name}") for name in ("revision", "day")]
_DONE: Final[dict[str, BindParameter[Any]]] = {name: bindparam(name) for name in ("revision", "day", "history")}
_MOVE: Final = update(pictures).where(pictures.c.programme == bindparam("its_programme"), *_AS_READ).values(_DONE)


def read_stored(connection: Connection, name: str) -> dict[tuple[str, ...], Stored]:
    """Return the forecasts that a programme has in the database."""
    columns = (forecasts.c[column] for column in (*MilestoneKey._fields, *Stored._fields))
    rows = connection.execute(select(*columns).where(forecasts.c.programme == name))
    return {(programme, project, milestone): Stored(*its) for programme, project, milestone, *its in rows}


def stored_of(standing: Standing) -> Stored:
    """Return the row of `forecasts` that holds a standing."""
    driver_project, driver_milestone = standing.driver or (None, None)
    return Stored(
        standing.forecast,
        standing.slip_days,
        standing.float_days,
        standing.state.value,
        driver_project,
        driver_milestone,
        standing.dependents,
    )


class Drawing(NamedTuple):
    """A programme whose forecasts are to be written: what is there, and what is to be."""

    programme: str
    there: Picture | Mapping[tuple[str, ...], Stored]
    now: Picture


def write_forecasts(connection: Connection, drawings: Sequence[Drawing]) -> None:
    """Write the forecasts of programmes that differ from what is there, and remove those that are there no longer."""
    rows: list[Sequence[Any]] = []
    for name, there, now in drawings:
        if isinstance(there, Picture) and there.network is now.network:
            # What stands as it stood is the same object.
            pairs = zip(there.standings, now.standings, strict=True)
            differing = [new for old, new in pairs if old is not new and stored_of(old) != stored_of(new)]
        else:
            stored = {old[:3]: stored_of(old) for old in there.standings} if isinstance(there, Picture) else there
            differing = [new for new in now.standings if stored.get(new[:3]) != stored_of(new)]
            _remove(connection, name, sorted(stored.keys() - now.network.places.keys()))
        rows.extend((*new.key, *stored_of(new)) for new in differing)
    write_rows(connection, forecasts, Rows((*MilestoneKey._fields, *Stored._fields), rows), OnConflict.REPLACE)


def _remove(connection: Connection, name: str, gone: Sequence[tuple[str, ...]]) -> None:
    for start in range(0, len(gone), _AT_ONCE):
        which = tuple_(forecasts.c.project, forecasts.c.milestone).in_(
            [(project, milestone) for _, project, milestone in gone[start : start + _AT_ONCE]]
        )
        connection.execute(delete(forecasts).where(forecasts.c.programme == name, which))


_COLUMNS = tuple(history.c[name] for name in Noted._fields)


class Moved(NamedTuple):
    """A movement, its number in the history of its programme, and of which revision that is."""

    number: int
    revision: int
    movement: Movement


def cause_of(movement: Movement) -> Name:
    """Return the name of the event behind a movement."""
    stamp = read_stamp(movement.cause)
    return Name(stamp.source, stamp.id)


def note(connection: Connection, moved: Sequence[Moved], correlations: Mapping[Name, str], now_ms: int) -> None:
    """Write what moved."""
    rows = []
    for number, revision, movement in moved:
        cause, (driver_project, driver_milestone) = cause_of(movement), movement.driver or (None, None)
        rows.append(
            Noted(
                movement.milestone.programme,
                number,
                movement.milestone.project,
                movement.milestone.milestone,
                revision,
                now_ms,
                movement.was,
                movement.becomes,
                movement.slip_days,
                movement.state.value,
                driver_project,
                driver_milestone,
                movement.dependents,
                cause.source,
                cause.id,
                correlations.get(cause),
            )
        )
    write_rows(connection, history, Rows(Noted._fields, rows), OnConflict.LEAVE)


def read_history(connection: Connection, key: MilestoneKey) -> list[Noted]:
    """Return the history of one milestone, the oldest first."""
    its = [history.c[name] == part for name, part in key._asdict().items()]
    rows = connection.execute(select(*_COLUMNS).where(*its).order_by(history.c.number))
    return [Noted._make(row) for row in rows]


def read_untold(connection: Connection, names: Sequence[str], most: int) -> list[Noted]:
    """Return what is to be published of some programmes, at most so many, each programme's in order."""
    untold = pictures.join(
        history, (history.c.programme == pictures.c.programme) & (history.c.number > pictures.c.published)
    )
    query = select(*_COLUMNS).select_from(untold).where(pictures.c.programme.in_(names))
    rows = connection.execute(query.order_by(history.c.programme, history.c.number).limit(most))
    return [Noted._make(row) for row in rows]


def note_published(connection: Connection, published: Mapping[str, int]) -> None:
    """Note up to which number the history of each programme was published."""
    for name, number in sorted(published.items()):
        its = (pictures.c.programme == name) & (pictures.c.published < number)
        connection.execute(update(pictures).where(its).values(published=number))
