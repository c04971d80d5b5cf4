"""What the pages show, put the way their templates and charts take it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from deploy.board.sights import NotThereError, Seen
from deploy.board.telling import states_of
from deploy.board.views import Line
from deploy.claims import WORDS, said
from deploy.explain import Explanation, name_of, what
from models.explanation import Evidence
from models.instants import read_stamp
from models.milestones import Project, ProjectKey
from models.schedule import Standing
from models.waiting import Waiter

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
