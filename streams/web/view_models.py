"""What the pages and the API both show of one milestone: why, who waits for it, and what was forecast when."""
# What the pages show, put the way their templates and charts take it.

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from models.database.ledger import read_events
from models.database.queries import Point, Report, points, read_moved_with, read_programme_reports, read_reports
from models.domain.claims import Milestone, MilestoneKey, Project, ProjectKey
from models.domain.explanation import Evidence, explain
from models.domain.forecast_changes import Noted
from models.domain.impact import Waiter, waiting_for
from models.domain.schedule import Driver, Standing
from models.domain.timestamps import day_of, read_stamp
from models.views.explanation import WORDS, Explanation, name_of, said, what
from models.views.queries import Question
from streams.web.read_model import NotThereError, Seen, Sights
from streams.web.schemas import states_of

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


#: How many bars a gate's chart has.
MOST_BARS: Final = 40


class Claimed(NamedTuple):
    """A piece of evidence as a page tells it."""

    time: str
    role: str
    what: str
    source: str
    id: str
    words: Sequence[tuple[str, str]]
    is_held: bool


class Pager(NamedTuple):
    """Where a list goes on."""

    first: int
    last: int
    total: int
    earlier: str | None
    later: str | None

    @classmethod
    def of(cls, path: str, offset: int, size: int, total: int, **query: str) -> "Pager":
        """Return where a page of some size lies in a list."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        earlier = f"{path}?offset={max(0, offset - size)}{more}" if offset else None
        later = f"{path}?offset={offset + size}{more}" if offset + size < total else None
        return cls(min(offset + 1, total), min(offset + size, total), total, earlier, later)


class KnownProject(NamedTuple):
    """What is known of a project."""

    project: str
    name: str | None
    kind: str | None
    site: str | None


def project_of(seen: Seen, project: str) -> KnownProject:
    """Return what is known of a project."""
    known = seen.facts.projects.get(ProjectKey(seen.programme, project)) or Project()
    name, kind, site = (
        None if register is None else register.value for register in (known.name, known.kind, known.site)
    )
    return KnownProject(project, name, kind, site)


def of_programme(seen: Seen) -> dict[str, Any]:
    """Return what every page of a programme shows."""
    known = seen.facts.programmes.get(seen.programme)
    return {
        "seen": seen,
        "programme": seen.programme,
        "announced": known,
        "counts": states_of(seen.standings),
        "projects_count": len(seen.facts.existing_projects()),
    }


def gates_first(seen: Seen) -> list[Standing]:
    """Return all that stands, the projects whose gates hold up others before the rest."""
    ranks: dict[str, int] = {}
    for one in seen.hold_ups:
        ranks.setdefault(one.gate.name.project, len(ranks))
    return sorted(seen.standings, key=lambda one: (ranks.get(one.project, len(ranks)), one.project))


def named(seen: Seen, text: str) -> Standing:
    """Return the milestone that `project/milestone` names; raises `NotThereError`."""
    project, slash, milestone = text.partition("/")
    if not slash:
        raise NotThereError("A milestone is named project/milestone.")
    return seen.standing(project, milestone)


def drawn_line(line: Line) -> dict[str, Any]:
    """Return a line as a chart takes it."""
    one = line.standing
    return {
        "name": f"{one.project}/{one.milestone}",
        "state": one.state,
        "points": [[point.day, point.forecast] for point in line.points],
    }


def bars_of(waiters: Sequence[Waiter]) -> list[dict[str, Any]]:
    """Return the bars of a gate's chart: what moves with it, the furthest from its baseline first."""
    held = [one for one in waiters if one.is_held and one.standing.slip_days is not None]
    held.sort(key=lambda one: -(one.standing.slip_days or 0))
    return [
        {
            "name": f"{one.standing.project}/{one.standing.milestone}",
            "days": one.standing.slip_days,
            "state": one.standing.state,
        }
        for one in held[:MOST_BARS]
    ]


def claims_of(found: Explanation, evidence: Sequence[Evidence]) -> list[Claimed]:
    """Return what is told of each event that counts."""
    claims = []
    for stamp, its in groupby(evidence, key=lambda one: one.stamp):
        roles = list(its)
        name = name_of(roles[0])
        event = found.events.get(name)
        words = [(word, text) for word in WORDS if (text := said(event, word)) is not None]
        time = read_stamp(stamp).instant
        role = " and ".join(one.role for one in roles)
        claims.append(Claimed(f"{time[:10]} {time[11:16]} UTC", role, what(event), *name, words, event is not None))
    return claims
