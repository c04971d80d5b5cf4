"""The rows of `history`: every forecast that an event moved, every milestone that one achieved, what was published."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from models.instants import read_stamp
from models.ledger import Name
from models.milestones import MilestoneKey
from models.movements import Movement, Noted
from models.rows import OnConflict, Rows, write_rows
from models.tables import history, pictures

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
