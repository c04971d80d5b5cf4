"""The part of a report that a target's filters let through. What is left tells of the same span."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import FORECAST_CHANGED, GATE_OPENED, MILESTONE_ACHIEVED
from models.domain.history import HistoryEntry
from models.domain.report import ProgrammeReport, ReportRow
from models.domain.schedule import MilestoneStatus
from models.views.explanation import data_field
from streams.notify.targets import Filters

_ACHIEVEMENTS: Final = frozenset({MILESTONE_ACHIEVED, GATE_OPENED})

_IsWanted = Callable[[MilestoneKey], bool]


def narrow_report(report: ProgrammeReport, filters: Filters) -> ProgrammeReport:
    """Return a report of the milestones that a target wants to know of."""
    gates = {status.key for status in report.statuses if status.dependents} if filters.is_for_gates else None

    def is_wanted(key: MilestoneKey) -> bool:
        return (
            (filters.projects is None or key.project in filters.projects)
            and (filters.milestones is None or key.milestone in filters.milestones)
            and (gates is None or key in gates)
        )

    def moved_enough(row: ReportRow) -> ReportRow | None:
        return _narrow_row(row, lambda entry: is_wanted(entry.milestone) and _is_far(entry, filters.min_days))

    def any_distance(row: ReportRow) -> ReportRow | None:
        return _narrow_row(row, lambda entry: is_wanted(entry.milestone))

    has_moves = filters.types is None or FORECAST_CHANGED in filters.types
    has_achievements = filters.types is None or bool(_ACHIEVEMENTS & filters.types)
    return replace(
        report,
        achieved=[*filter(None, map(any_distance, report.achieved))] if has_achievements else [],
        moved=[*filter(None, map(moved_enough, report.moved))] if has_moves else [],
        new=[*filter(None, map(any_distance, report.new))] if has_moves else [],
        cancelled=[*filter(None, map(any_distance, report.cancelled))] if has_moves else [],
        retracted=[each for each in report.retracted if _is_about(each.retracted or each.event, each.rows, is_wanted)],
        new_undated=_narrow_statuses(report.new_undated, is_wanted),
        cancelled_undated=_narrow_statuses(report.cancelled_undated, is_wanted),
        newly_late=_narrow_statuses(report.newly_late, is_wanted),
        said_late=[each for each in report.said_late if _is_about(each.event, each.rows, is_wanted)],
        overdue=[each for each in report.overdue if is_wanted(each.status.key)],
        coming=_narrow_statuses(report.coming, is_wanted),
        gates=[each for each in report.gates if is_wanted(each.status.key)],
    )


def _narrow_row(row: ReportRow, is_wanted: Callable[[HistoryEntry], bool]) -> ReportRow | None:
    """Return a row with what is wanted of what moved with it; the row itself says why."""
    followers = [entry for entry in row.followers if is_wanted(entry)]
    return row._replace(followers=followers) if followers or is_wanted(row.entry) else None


def _is_far(entry: HistoryEntry, min_days: int) -> bool:
    return entry.moved_days is None or abs(entry.moved_days) >= min_days


def _is_about(event: Event, rows: Iterable[HistoryEntry], is_wanted: _IsWanted) -> bool:
    own = MilestoneKey(event.programme, event.project or "", data_field(event, "milestone") or "")
    return is_wanted(own) or any(is_wanted(entry.milestone) for entry in rows)


def _narrow_statuses(statuses: Sequence[MilestoneStatus], is_wanted: _IsWanted) -> list[MilestoneStatus]:
    return [status for status in statuses if is_wanted(status.key)]
