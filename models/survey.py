"""How all programmes stand, as they were drawn last: what an overview reads, without drawing any of them again."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from models.holdups import Stand
from models.schedule import Driver, State
from models.tables import forecasts, pictures, programmes, projects


class Drawn(NamedTuple):
    """Of which revision and day a programme is drawn."""

    revision: int
    day: date


class Surveyed(NamedTuple):
    """A programme from afar."""

    programme: str
    drawn: Drawn
    #: How many milestones there are of each state; of those that there are none of, nothing.
    counts: Mapping[State, int]

    @property
    def late(self) -> int:
        """How many milestones are overdue, held up or slipping."""
        return sum(self.counts.get(state, 0) for state in (State.OVERDUE, State.BLOCKED, State.SLIPPING))


def read_drawn(connection: Connection) -> dict[str, Drawn]:
    """Return of every programme that was ever drawn of what it is."""
    columns = (pictures.c.programme, pictures.c.revision, pictures.c.day)
    return {name: Drawn(revision, day) for name, revision, day in connection.execute(select(*columns))}


def read_survey(connection: Connection) -> list[Surveyed]:
    """Return every programme that an event names, those with the most that is late first."""
    counts: dict[str, dict[State, int]] = {}
    counting = select(forecasts.c.programme, forecasts.c.state, func.count())
    for name, state, count in connection.execute(counting.group_by(forecasts.c.programme, forecasts.c.state)):
        counts.setdefault(name, {})[State(state)] = count
    # A programme whose every event was taken back keeps its rows of revisions and pictures, and is no programme.
    named = set(counts)
    named.update(connection.scalars(select(programmes.c.programme).where(programmes.c.registered_stamp.is_not(None))))
    named.update(connection.scalars(select(projects.c.programme).distinct()))
    surveyed = [
        Surveyed(name, drawn, counts.get(name, {})) for name, drawn in read_drawn(connection).items() if name in named
    ]
    return sorted(surveyed, key=lambda one: (-one.late, one.programme))


def read_titles(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Return what those of some programmes are called that were given a name."""
    query = select(programmes.c.programme, programmes.c.name).where(
        programmes.c.programme.in_(names), programmes.c.name_stamp.is_not(None)
    )
    return dict(connection.execute(query).all())


def read_stands(connection: Connection, names: Sequence[str]) -> dict[str, list[Stand]]:
    """Return of each of some programmes what is late, what is driven, and what others wait for."""
    late = forecasts.c.state.in_([State.OVERDUE, State.BLOCKED, State.SLIPPING])
    query = select(forecasts).where(
        forecasts.c.programme.in_(names),
        forecasts.c.state != State.CANCELLED,
        or_(late, forecasts.c.dependents > 0, forecasts.c.driver_project.is_not(None)),
    )
    stands: dict[str, list[Stand]] = {name: [] for name in names}
    for row in connection.execute(query):
        slip = None if row.slip_days is None or row.forecast is None else timedelta(days=row.slip_days)
        stands[row.programme].append(
            Stand(
                Driver(row.project, row.milestone),
                # The baseline is where the forecast would be without its slip.
                None if slip is None else row.forecast - slip,
                row.forecast,
                row.slip_days,
                State(row.state),
                None if row.driver_project is None else Driver(row.driver_project, row.driver_milestone),
                row.dependents,
            )
        )
    return stands
