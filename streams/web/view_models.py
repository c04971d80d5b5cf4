"""View models: what pages and API show of a milestone, in the form that templates and charts need."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby
from typing import Any, Final, NamedTuple

from models.database.ledger import EventKey, read_events
from models.domain.assumptions import ASSUMED_SOURCE, AssumedMove, assumed_moves
from models.domain.claims import Claim, MilestoneKey
from models.domain.explanation import Evidence, explain_forecast
from models.domain.history import HistoryEntry
from models.domain.impact import NO_IMPACT, HeldUp, Successor, measure_impacts, milestones_moved_by
from models.domain.schedule import MilestoneStatus, State
from models.domain.timestamps import day_of, parse_stamp
from models.views.explanation import TEXT_FIELDS, Explanation, data_field, event_key_of, event_summary, read_sources
from models.views.formatting import format_day, format_instant
from models.views.names import Names
from models.views.queries import MilestoneQuery
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel
from streams.web.templating import isolated_label
from streams.web.urls import with_query

#: More lines cannot be told apart.
MAX_TREND_LINES: Final = 8
MAX_SLIP_BARS: Final = 40


class TrendPoint(NamedTuple):
    """What was forecast from a day on."""

    day: date
    forecast: date | None
    #: Who said what moved it; None for the present.
    source: str | None = None


class TrendLine(NamedTuple):
    """A milestone's line in a trend."""

    status: MilestoneStatus
    points: Sequence[TrendPoint]
    name: str

    @property
    def chart_series(self) -> dict[str, Any]:
        """The line as the chart reads it."""
        return {
            "name": self.name,
            "points": [point[:2] for point in self.points],
            "sources": [point.source for point in self.points],
        }


class Pager(NamedTuple):
    """The rows on a page of a list, and the URLs of the pages beside it."""

    first: int
    last: int
    total: int
    previous_url: str | None
    next_url: str | None

    @classmethod
    def for_list(
        cls, path: str, offset: int, page_size: int, total: int, parameters: Iterable[tuple[str, str]] = ()
    ) -> "Pager":
        """Return the pager of a page; its URLs repeat the other parameters."""
        end, others = offset + page_size, list(parameters)
        previous_url = with_query(path, [("offset", str(max(0, offset - page_size))), *others]) if offset else None
        next_url = with_query(path, [("offset", str(end)), *others]) if end < total else None
        return cls(min(offset + 1, total), min(end, total), total, previous_url, next_url)


async def explain_milestone(read_model: ReadModel, view: ProgrammeView, key: MilestoneKey) -> Explanation:
    """Return why a milestone's forecast is what it is."""
    chain = explain_forecast(view.facts, view.schedule, key)
    event_keys = sorted({event_key_of(evidence) for link in chain for evidence in link.evidence})
    events = await read_model.run_query(read_events, event_keys)
    query = MilestoneQuery(view.schedule.data_date, key.programme, key.project, view.picture.as_of)
    sources = await read_model.run_query(read_sources, key, view.picture.as_of)
    return Explanation(query, chain, events, view.names, sources)


def evidence_rows(explanation: Explanation, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Return the evidence of a link, one row for each event."""
    rows = []
    for stamp, claims in groupby(evidence, key=lambda claim: claim.stamp):
        instant, source, event_id = parse_stamp(stamp)
        event = explanation.events.get(EventKey(source, event_id))
        rows.append(
            {
                "is_assumed": source == ASSUMED_SOURCE,
                "time": format_instant(instant),
                "summary": " and ".join(claim.role for claim in claims) + event_summary(event, format_day),
                "source": source,
                "id": event_id,
                "details": [(name, text) for name in TEXT_FIELDS if (text := data_field(event, name)) is not None],
                "is_in_ledger": event is not None,
            }
        )
    return rows


async def trace_lines(
    read_model: ReadModel, view: ProgrammeView, statuses: Sequence[MilestoneStatus]
) -> list[TrendLine]:
    """Return the trend lines of some milestones."""
    refs = [status.ref for status in statuses]
    moves = await read_model.history.get_milestone_moves(view.programme, view.revision, refs, view.picture.as_of)
    return [
        TrendLine(status, _trend_points(view, status, moves[status.ref]), isolated_label(status.ref, view.names))
        for status in statuses
    ]


def _said_first(baseline: Claim) -> TrendPoint:
    instant, source, _ = parse_stamp(baseline.stamp)
    return TrendPoint(day_of(instant), baseline.date, source)


def _trend_points(view: ProgrammeView, status: MilestoneStatus, moves: Sequence[HistoryEntry]) -> list[TrendPoint]:
    """Return the trend of a milestone: from its baseline through what was forecast to the present."""
    baseline = view.facts.milestone(status.key).baseline
    points = [] if baseline is None else [_said_first(baseline)]
    said = [TrendPoint(move.said_on, move.current, move.source) for move in moves]
    # The line of an achieved milestone ends on its actual date, or when that was reported.
    last_day = status.actual if status.state is State.ACHIEVED else None
    for point in (*said, TrendPoint(last_day or view.schedule.data_date, status.forecast)):
        day = max(point.day, points[-1].day) if points else point.day
        current = point._replace(day=day)
        # The last of a day replaces the others; the first point stays.
        if points and points[-1].day == day and (len(points) > 1 or points[-1][:2] == current[:2]):
            replaced = points.pop()
            if current.forecast == replaced.forecast:
                current = current._replace(source=current.source or replaced.source)
        points.append(current)
    return points


def select_trend_milestones(view: ProgrammeView) -> list[MilestoneStatus]:
    """Return the milestones of the default trend: gates that delay others, then open ones with the largest slip.

    Where nothing is open, those that were achieved last.
    """
    gates = [view.get_status(*root.gate.ref) for root in view.delay_roots[: MAX_TREND_LINES // 2]]
    others = with_largest_slip([status for status in view.statuses if status not in gates], is_open_only=bool(gates))
    return [*gates, *others[: MAX_TREND_LINES - len(gates)]]


def with_largest_slip(statuses: Sequence[MilestoneStatus], *, is_open_only: bool = False) -> list[MilestoneStatus]:
    """Return the open ones of some milestones with the largest slip; where none is open, of those achieved."""
    found = [status for status in statuses if status.is_open and status.forecast]
    # The statuses are in the order of rows, which sorting keeps among equals.
    found.sort(key=lambda status: (-(status.slip_days or 0), -status.dependents))
    if not found and not is_open_only:
        found = [status for status in statuses if status.state is State.ACHIEVED]
        found.sort(key=lambda status: (status.slip_days or 0, status.actual or date.min), reverse=True)
    return found[:MAX_TREND_LINES]


class WhatIf(NamedTuple):
    """What moves in a picture with assumed dates, and what a gate then holds up."""

    moves: Sequence[AssumedMove]
    #: The gate without what is assumed, the milestones that it moves then, and what it holds up.
    gate_as_said: MilestoneStatus
    moved_as_said: Sequence[MilestoneStatus]
    held_up_as_said: HeldUp


def what_if(view: ProgrammeView, gate: MilestoneStatus) -> WhatIf | None:
    """Return what the assumed dates of a picture change; None where nothing is assumed."""
    if (as_said := view.as_said) is None:
        return None
    statuses = as_said.statuses
    return WhatIf(
        assumed_moves(as_said, view.schedule),
        statuses[as_said.network.index_of[gate.key]],
        milestones_moved_by(statuses, gate.key),
        measure_impacts(statuses, view.facts.projects).get(gate.key, NO_IMPACT).held_up,
    )


def slip_bars(successors: Sequence[Successor], names: Names) -> list[dict[str, Any]]:
    """Return the bars of a gate's chart: milestones without slack that have moved, by slip."""
    statuses = [row.status for row in successors if row.slack_days == 0 and row.status.slip_days]
    statuses.sort(key=lambda status: -(status.slip_days or 0))
    return [
        {"name": isolated_label(row.ref, names), "days": row.slip_days, "state": row.state}
        for row in statuses[:MAX_SLIP_BARS]
    ]
