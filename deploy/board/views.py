"""What the pages and the API both show of one milestone: why, who waits for it, and what was forecast when."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from deploy.board.sights import Seen, Sights
from deploy.explain import Explanation, name_of
from deploy.question import Question
from models.explanation import explain
from models.instants import day_of, read_stamp
from models.ledger import read_events
from models.milestones import Milestone, MilestoneKey
from models.movements import Noted
from models.schedule import Driver, Standing
from models.trend import Point, Report, points, read_moved_with, read_programme_reports, read_reports
from models.waiting import Waiter, waiting_for

#: Of a milestone's history, how much is drawn.
MOST_REPORTS: Final = 500
#: How many rows of the history one drawing is looked for in.
MOST_MOVED: Final = 5_000
#: How many lines a trend shows at once: more cannot be told apart.
MOST_LINES: Final = 8


class Line(NamedTuple):
    """A milestone's line in a trend."""

    standing: Standing
    points: Sequence[Point]


class LastMove(NamedTuple):
    """How a gate moved last, and by how many days others moved with it."""

    report: Report
    days: dict[Driver, int]


class Blast(NamedTuple):
    """Who waits for a gate, and by how much they moved with it."""

    standing: Standing
    waiters: Sequence[Waiter]
    last: LastMove | None

    @property
    def held(self) -> Sequence[Waiter]:
        """Those that move with it, day by day."""
        return [one for one in self.waiters if one.is_held]


async def read_why(sights: Sights, seen: Seen, project: str, milestone: str) -> Explanation:
    """Return why a milestone's forecast is what it is; raises `NotThereError`."""
    key = seen.standing(project, milestone).key
    chain = explain(seen.facts, seen.shown, key)
    names = sorted({name_of(evidence) for link in chain for evidence in link.evidence})
    events = await sights.ask(lambda connection: read_events(connection, names))
    return Explanation(Question(seen.shown.day, key.programme, key.project), chain, events)


async def read_blast(sights: Sights, seen: Seen, project: str, milestone: str) -> Blast:
    """Return who waits for a milestone; raises `NotThereError`."""
    standing = seen.standing(project, milestone)
    waiters = await sights.run(lambda: waiting_for(seen.shown, standing.key))
    last = await sights.ask(lambda connection: _last_move(connection, standing.key))
    return Blast(standing, waiters, last)


def _last_move(connection: Connection, key: MilestoneKey) -> LastMove | None:
    reports = read_reports(connection, key, MOST_REPORTS)
    moved = [one for one in reports if one.noted.was is not None and one.noted.was != one.noted.becomes]
    if not moved:
        return None
    noted = moved[-1].noted
    days = {
        Driver(other.project, other.milestone): (other.becomes - other.was).days
        for other in (noted, *read_moved_with(connection, noted, MOST_MOVED))
        if other.was is not None and other.becomes is not None
    }
    return LastMove(moved[-1], days)


async def read_lines(sights: Sights, seen: Seen, chosen: Sequence[Standing]) -> list[Line]:
    """Return the lines of some milestones."""

    def read(connection: Connection) -> list[list[Report]]:
        return [read_reports(connection, standing.key, MOST_REPORTS) for standing in chosen]

    found = await sights.ask(read)
    return [_line(seen, standing, reports) for standing, reports in zip(chosen, found, strict=True)]


def _line(seen: Seen, standing: Standing, reports: Sequence[Report]) -> Line:
    claims = seen.facts.milestones.get(standing.key, Milestone())
    first = claims.baseline
    began = None if first is None else Point(day_of(read_stamp(first.stamp).instant), first.date)
    # What is done stays where it is: its line ends on its day, or when that was said.
    return Line(standing, points(reports, began, Point(standing.actual or seen.shown.day, standing.forecast)))


def telling(seen: Seen) -> list[Standing]:
    """Return the milestones whose lines tell most: the gates that hold up others, then what slipped furthest."""
    gates = [one.gate.name for one in seen.hold_ups[: MOST_LINES // 2]]
    by_name = {Driver(one.project, one.milestone): one for one in seen.standings}
    chosen = [by_name[name] for name in gates]
    rest = [one for one in seen.standings if one.is_open and one.forecast is not None and one not in chosen]
    rest.sort(key=lambda one: (-(one.slip_days or 0), -one.dependents, one.project, one.milestone))
    return [*chosen, *rest[: MOST_LINES - len(chosen)]]


async def read_moves(sights: Sights, programme: str, before: int | None, most: int) -> list[Report]:
    """Return what moved in a programme, the newest first."""
    return await sights.ask(lambda connection: read_programme_reports(connection, programme, before, most))


def moved_days(noted: Noted) -> int | None:
    """Return by how many days a row of the history moved a forecast; none when there was none before, or is none."""
    return None if noted.was is None or noted.becomes is None else (noted.becomes - noted.was).days
