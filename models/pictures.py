"""The rows of `pictures` and `forecasts`: of what revision and day a programme is drawn, and how all of it stands."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, select, tuple_, update

from models.database import RacedError
from models.milestones import MilestoneKey
from models.rows import OnConflict, insert_into, write_rows
from models.schedule import Picture, Standing
from models.tables import forecasts, pictures

_AT_ONCE: Final = 500


class Mark(NamedTuple):
    """A row of `pictures`: of what revision and day the forecasts are."""

    revision: int
    day: date
    #: How many rows the programme's history has, and up to which of them changes were published.
    history: int
    published: int


NEVER_DRAWN: Final = Mark(-1, date.min, 0, 0)


class Stored(NamedTuple):
    """A row of `forecasts`, without its key."""

    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    dependents: int


def read_marks(connection: Connection, names: Sequence[str]) -> dict[str, Mark]:
    """Return the marks of those of some programmes that were drawn."""
    columns = (pictures.c[name] for name in ("programme", *Mark._fields))
    rows = connection.execute(select(*columns).where(pictures.c.programme.in_(names)))
    return {name: Mark(*mark) for name, *mark in rows}


def move_mark(connection: Connection, name: str, as_read: Mark | None, done: Mark) -> None:
    """Move a mark from what was read to what is done, whatever was published meanwhile.

    It is the first thing that a drawing writes; raises `RacedError` when another drawing was faster.
    """
    if as_read is None:
        made = insert_into(pictures, connection.dialect.name).values(programme=name, **done._asdict())
        options = {"preserve_rowcount": True}
        count = connection.execute(made.on_conflict_do_nothing(), execution_options=options).rowcount
    else:
        unmoved = (pictures.c.revision == as_read.revision) & (pictures.c.day == as_read.day)
        moving = update(pictures).where(pictures.c.programme == name, unmoved)
        values = {"revision": done.revision, "day": done.day, "history": done.history}
        count = connection.execute(moving.values(values)).rowcount
    if count != 1:
        raise RacedError(f"another worker drew programme {name} at the same moment")


def read_stored(connection: Connection, name: str) -> dict[tuple[str, ...], Stored]:
    """Return the forecasts that a programme has in the database."""
    columns = (forecasts.c[column] for column in (*MilestoneKey._fields, *Stored._fields))
    rows = connection.execute(select(*columns).where(forecasts.c.programme == name))
    return {(programme, project, milestone): Stored(*its) for programme, project, milestone, *its in rows}


def _stored(standing: Standing) -> Stored:
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


def write_forecasts(
    connection: Connection, name: str, there: Picture | Mapping[tuple[str, ...], Stored], now: Picture
) -> None:
    """Write the forecasts of a programme that differ from what is there, and remove those that are there no longer."""
    gone: list[tuple[str, ...]] = []
    if isinstance(there, Picture) and there.network is now.network:
        # What stands as it stood is the same object.
        pairs = zip(there.standings, now.standings, strict=True)
        differing = [new for old, new in pairs if old is not new and _stored(old) != _stored(new)]
    else:
        stored = {old[:3]: _stored(old) for old in there.standings} if isinstance(there, Picture) else there
        differing = [new for new in now.standings if stored.get(new[:3]) != _stored(new)]
        gone = sorted(stored.keys() - now.network.places.keys())
    rows = [{**new.key._asdict(), **_stored(new)._asdict()} for new in differing]
    write_rows(connection, forecasts, rows, OnConflict.REPLACE)
    for start in range(0, len(gone), _AT_ONCE):
        which = tuple_(forecasts.c.project, forecasts.c.milestone).in_(
            [(project, milestone) for _, project, milestone in gone[start : start + _AT_ONCE]]
        )
        connection.execute(delete(forecasts).where(forecasts.c.programme == name, which))
