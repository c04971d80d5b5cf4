"""What the pages and the API both show of one milestone: why, who waits for it, and what was forecast when."""
# What the pages show, put the way their templates and charts take it.

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from models.database.ledger import read_events
from models.database.queries import (
    DatedHistoryRow,
    TrendPoint,
    read_changes_of_same_event,
    read_milestone_history,
    read_programme_history,
    trend_line,
)
from models.domain.claims import MilestoneClaims, MilestoneKey, ProjectClaims, ProjectKey
from models.domain.explanation import Evidence, explain_forecast
from models.domain.forecast_changes import HistoryRow
from models.domain.impact import Successor, successors_of
from models.domain.schedule import MilestoneRef, MilestoneStatus
from models.domain.timestamps import day_of, parse_stamp
from models.views.explanation import TEXT_FIELDS, Explanation, data_field, event_key_of, event_summary
from models.views.queries import MilestoneQuery
from streams.web.read_model import NotFoundError, ProgrammeView, ReadModel
from streams.web.schemas import count_states

#: Of a milestone's history, how much is drawn.
MAX_HISTORY_ROWS: Final = 500
#: How many rows of the history one drawing is looked for in.
MAX_CHANGES_PER_RUN: Final = 5_000
#: How many lines a trend shows at once: more cannot be told apart.
MAX_TREND_LINES: Final = 8


class TrendLine(NamedTuple):
    """A milestone's line in a trend."""

    status: MilestoneStatus
    points: Sequence[TrendPoint]


class LastForecastChange(NamedTuple):
    """How a gate moved last, and by how many days others moved with it."""

    change: DatedHistoryRow
    days_by_milestone: dict[MilestoneRef, int]


class GateImpact(NamedTuple):
    """Who waits for a gate, and by how much they moved with it."""

    status: MilestoneStatus
    successors: Sequence[Successor]
    last_change: LastForecastChange | None

    @property
    def zero_slack_successors(self) -> Sequence[Successor]:
        """Those that move with it, day by day."""
        return [one for one in self.successors if one.has_no_slack]


async def explain_milestone(read_model: ReadModel, view: ProgrammeView, project: str, milestone: str) -> Explanation:
    """Return why a milestone's forecast is what it is; raises `NotFoundError`."""
    key = view.get_status(project, milestone).key
    chain = explain_forecast(view.facts, view.schedule, key)
    names = sorted({event_key_of(evidence) for link in chain for evidence in link.evidence})
    events = await read_model.run_query(lambda connection: read_events(connection, names))
    return Explanation(MilestoneQuery(view.schedule.data_date, key.programme, key.project), chain, events)


async def read_gate_impact(read_model: ReadModel, view: ProgrammeView, project: str, milestone: str) -> GateImpact:
    """Return who waits for a milestone; raises `NotFoundError`."""
    standing = view.get_status(project, milestone)
    waiters = await read_model.run_in_executor(lambda: successors_of(view.schedule, standing.key))
    last = await read_model.run_query(lambda connection: _read_last_change(connection, standing.key))
    return GateImpact(standing, waiters, last)


def _read_last_change(connection: Connection, key: MilestoneKey) -> LastForecastChange | None:
    reports = read_milestone_history(connection, key, MAX_HISTORY_ROWS)
    moved = [one for one in reports if one.row.previous is not None and one.row.previous != one.row.current]
    if not moved:
        return None
    noted = moved[-1].row
    days = {
        MilestoneRef(other.project, other.milestone): (other.current - other.previous).days
        for other in (noted, *read_changes_of_same_event(connection, noted, MAX_CHANGES_PER_RUN))
        if other.previous is not None and other.current is not None
    }
    return LastForecastChange(moved[-1], days)


async def read_trend_lines(
    read_model: ReadModel, view: ProgrammeView, statuses: Sequence[MilestoneStatus]
) -> list[TrendLine]:
    """Return the lines of some milestones."""

    def read(connection: Connection) -> list[list[DatedHistoryRow]]:
        return [read_milestone_history(connection, standing.key, MAX_HISTORY_ROWS) for standing in statuses]

    found = await read_model.run_query(read)
    return [_build_trend_line(view, standing, reports) for standing, reports in zip(statuses, found, strict=True)]


def _build_trend_line(view: ProgrammeView, status: MilestoneStatus, reports: Sequence[DatedHistoryRow]) -> TrendLine:
    claims = view.facts.milestones.get(status.key, MilestoneClaims())
    first = claims.baseline
    began = None if first is None else TrendPoint(day_of(parse_stamp(first.stamp).instant), first.date)
    # What is done stays where it is: its line ends on its day, or when that was said.
    return TrendLine(
        status, trend_line(reports, began, TrendPoint(status.actual or view.schedule.data_date, status.forecast))
    )


def select_trend_milestones(view: ProgrammeView) -> list[MilestoneStatus]:
    """Return the milestones whose lines tell most: the gates that hold up others, then what slipped furthest."""
    gates = [one.gate.name for one in view.delay_roots[: MAX_TREND_LINES // 2]]
    by_name = {MilestoneRef(one.project, one.milestone): one for one in view.statuses}
    chosen = [by_name[name] for name in gates]
    rest = [one for one in view.statuses if one.is_open and one.forecast is not None and one not in chosen]
    rest.sort(key=lambda one: (-(one.slip_days or 0), -one.dependents, one.project, one.milestone))
    return [*chosen, *rest[: MAX_TREND_LINES - len(chosen)]]


async def read_programme_changes(
    read_model: ReadModel, programme: str, before_number: int | None, limit: int
) -> list[DatedHistoryRow]:
    """Return what moved in a programme, the newest first."""
    return await read_model.run_query(
        lambda connection: read_programme_history(connection, programme, before_number, limit)
    )


def changed_by_days(history_row: HistoryRow) -> int | None:
    """Return by how many days a row of the history moved a forecast; none when there was none before, or is none."""
    return (
        None
        if history_row.previous is None or history_row.current is None
        else (history_row.current - history_row.previous).days
    )


#: How many bars a gate's chart has.
MAX_SLIP_BARS: Final = 40


class EvidenceView(NamedTuple):
    """A piece of evidence as a page tells it."""

    time: str
    role: str
    description: str
    source: str
    id: str
    details: Sequence[tuple[str, str]]
    is_in_ledger: bool


class Pager(NamedTuple):
    """Where a list goes on."""

    first: int
    last: int
    total: int
    previous_url: str | None
    next_url: str | None

    @classmethod
    def for_list(cls, path: str, offset: int, page_size: int, total: int, **query: str) -> "Pager":
        """Return where a page of some size lies in a list."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        earlier = f"{path}?offset={max(0, offset - page_size)}{more}" if offset else None
        later = f"{path}?offset={offset + page_size}{more}" if offset + page_size < total else None
        return cls(min(offset + 1, total), min(offset + page_size, total), total, earlier, later)


class ProjectView(NamedTuple):
    """What is known of a project."""

    project: str
    name: str | None
    kind: str | None
    site: str | None


def project_view(view: ProgrammeView, project: str) -> ProjectView:
    """Return what is known of a project."""
    known = view.facts.projects.get(ProjectKey(view.programme, project)) or ProjectClaims()
    name, kind, site = (
        None if register is None else register.value for register in (known.name, known.kind, known.site)
    )
    return ProjectView(project, name, kind, site)


def programme_context(view: ProgrammeView) -> dict[str, Any]:
    """Return what every page of a programme shows."""
    return {
        "view": view,
        "programme": view.programme,
        "registration": view.facts.programmes.get(view.programme),
        "counts": count_states(view.statuses),
        "projects_count": len(view.facts.existing_projects()),
    }


def sort_gates_first(view: ProgrammeView) -> list[MilestoneStatus]:
    """Return all that stands, the projects whose gates hold up others before the rest."""
    ranks: dict[str, int] = {}
    for one in view.delay_roots:
        ranks.setdefault(one.gate.name.project, len(ranks))
    return sorted(view.statuses, key=lambda one: (ranks.get(one.project, len(ranks)), one.project))


def find_milestone(view: ProgrammeView, text: str) -> MilestoneStatus:
    """Return the milestone that `project/milestone` names; raises `NotFoundError`."""
    project, slash, milestone = text.partition("/")
    if not slash:
        raise NotFoundError("A milestone is named project/milestone.")
    return view.get_status(project, milestone)


def trend_series(trend_line: TrendLine) -> dict[str, Any]:
    """Return a line as a chart takes it."""
    one = trend_line.status
    return {
        "name": f"{one.project}/{one.milestone}",
        "state": one.state,
        "points": [[point.day, point.forecast] for point in trend_line.points],
    }


def slip_bars(successors: Sequence[Successor]) -> list[dict[str, Any]]:
    """Return the bars of a gate's chart: what moves with it, the furthest from its baseline first."""
    held = [one for one in successors if one.has_no_slack and one.status.slip_days is not None]
    held.sort(key=lambda one: -(one.status.slip_days or 0))
    return [
        {
            "name": f"{one.status.project}/{one.status.milestone}",
            "days": one.status.slip_days,
            "state": one.status.state,
        }
        for one in held[:MAX_SLIP_BARS]
    ]


def evidence_views(explanation: Explanation, evidence: Sequence[Evidence]) -> list[EvidenceView]:
    """Return what is told of each event that counts."""
    claims = []
    for stamp, its in groupby(evidence, key=lambda one: one.stamp):
        roles = list(its)
        name = event_key_of(roles[0])
        event = explanation.events.get(name)
        words = [(word, text) for word in TEXT_FIELDS if (text := data_field(event, word)) is not None]
        time = parse_stamp(stamp).instant
        role = " and ".join(one.role for one in roles)
        claims.append(
            EvidenceView(f"{time[:10]} {time[11:16]} UTC", role, event_summary(event), *name, words, event is not None)
        )
    return claims
