"""What was forecast when: rows of the history, each with the moment at which the event behind it was said.

A forecast is reported when someone says what moves it, which may be long before it is read: a publisher that hands in
a year at once is drawn as that year, not as one day.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from models.instants import Instant, day_of, instant_at
from models.milestones import MilestoneKey
from models.movements import Noted
from models.tables import history, ledger


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
