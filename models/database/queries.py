"""What was believed at a moment: the fold over the claims stamped up to then.

The tables of winning claims know only the present; the ledger keeps every claim, so any past can be folded again.
"""
# How all programmes stand, as they were drawn last: what an overview reads, without drawing any of them again.
# What was forecast when: rows of the history, each with the moment at which the event behind it was said.
#
# A forecast is reported when someone says what moves it, which may be long before it is read: a publisher that hands in
# a year at once is drawn as that year, not as one day.

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, or_, select

from models.database.ledger import restore
from models.database.tables import forecasts, history, ledger, pictures, programmes, projects
from models.domain.claims import Facts, MilestoneKey, fold, unretracted
from models.domain.events import Event
from models.domain.forecast_changes import Noted
from models.domain.impact import Stand
from models.domain.schedule import Driver, State
from models.domain.timestamps import Instant, day_of, instant_at


def believe(connection: Connection, as_of: Instant, programme: str | None = None) -> Facts:
    """Return the winning claims among those stamped up to an instant, itself included; of one programme or of all.

    A retraction counts from its own stamp on: what is retracted today was believed yesterday.
    """
    events = unretracted(_events(connection, as_of, programme))
    return fold(event for event in events if programme is None or event.programme == programme)


def _events(connection: Connection, as_of: Instant, programme: str | None) -> Iterator[Event]:
    # A row without a digest only holds the place of an event that never came.
    stated = select(ledger.c.headers, ledger.c.payload).where(ledger.c.digest.is_not(None), ledger.c.instant <= as_of)
    if programme is None:
        yield from _restored(connection, stated)
        return
    yield from _restored(connection, stated.where(ledger.c.programme == programme))
    # A source may retract under any subject, so what takes these events back may stand under another programme.
    struck = ledger.alias("struck")
    takes_back = (struck.c.source == ledger.c.source) & (struck.c.id == ledger.c.retracts)
    elsewhere = (
        stated.join(struck, takes_back)
        .where(ledger.c.retracts.is_not(None), ledger.c.programme != programme)
        .where(struck.c.programme == programme)
    )
    yield from _restored(connection, elsewhere)


def _restored(connection: Connection, query: Select[Any, Any]) -> Iterator[Event]:
    for headers, payload in connection.execute(query):
        yield restore(headers, payload)


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


class Report(NamedTuple):
    """A row of the history, and when its cause was said; None when the ledger does not hold it."""

    noted: Noted
    said: Instant | None

    @property
    def day(self) -> date:
        """The day on which it was said, or on which it was noted when that is not known."""
        return day_of(self.said or instant_at(self.noted.noted_ms))


class Point(NamedTuple):
    """On a day, a forecast was reported."""

    day: date
    forecast: date | None


def read_reports(connection: Connection, key: MilestoneKey, most: int) -> list[Report]:
    """Return the newest reports of one milestone, the oldest of them first."""
    its = [history.c[name] == part for name, part in key._asdict().items()]
    return _read(connection, _reports().where(*its).order_by(history.c.number.desc()).limit(most))[::-1]


def read_programme_reports(connection: Connection, programme: str, before: int | None, most: int) -> list[Report]:
    """Return reports of a programme, the newest first; of those numbered below another, if that is given."""
    query = _reports().where(history.c.programme == programme, history.c.was.is_distinct_from(history.c.becomes))
    if before is not None:
        query = query.where(history.c.number < before)
    return _read(connection, query.order_by(history.c.number.desc()).limit(most))


def read_moved_with(connection: Connection, noted: Noted, most: int) -> list[Noted]:
    """Return what the event behind a row of the history moved at the same time, beside it."""
    # A drawing notes a gate before those that wait for it, and numbers all it notes in one go.
    near = history.c.number.between(noted.number + 1, noted.number + most)
    query = select(*_COLUMNS).where(
        history.c.programme == noted.programme,
        near,
        history.c.revision == noted.revision,
        history.c.cause_source == noted.cause_source,
        history.c.cause_id == noted.cause_id,
    )
    return [Noted._make(row) for row in connection.execute(query.order_by(history.c.number))]


def points(reports: Sequence[Report], baseline: Point | None, now: Point) -> list[Point]:
    """Return the line of a milestone: from its baseline over what was reported to how it stands now.

    Whatever was said late for an earlier day, the line never goes back.
    """
    line = [] if baseline is None else [baseline]
    for report in reports:
        day = report.day if not line else max(report.day, line[-1].day)
        _add(line, Point(day, report.noted.becomes))
    day = now.day if not line else max(now.day, line[-1].day)
    _add(line, Point(day, now.forecast))
    return line


def _add(line: list[Point], point: Point) -> None:
    # Of a day, what was said last; but where a line begins stays.
    if line and line[-1].day == point.day and (len(line) > 1 or line[-1] == point):
        line.pop()
    line.append(point)


_COLUMNS = tuple(history.c[name] for name in Noted._fields)


def _reports() -> Select[Any]:
    cause = (ledger.c.source == history.c.cause_source) & (ledger.c.id == history.c.cause_id)
    return select(*_COLUMNS, ledger.c.instant).select_from(history.outerjoin(ledger, cause))


def _read(connection: Connection, query: Select[Any]) -> list[Report]:
    return [Report(Noted._make(row[:-1]), row[-1]) for row in connection.execute(query)]
