"""The winning claims and a data date to the picture of that day: forecast, slip, float, state.

Pure: the same facts and the same day give the same picture. A milestone's forecast is its own date here;
dependencies are held as facts and move nothing yet.
"""

from datetime import date
from enum import StrEnum
from typing import NamedTuple

from models.events import Money
from models.instants import Stamp
from models.milestones import Facts, Milestone, MilestoneKey, Project, ProjectKey


class State(StrEnum):
    """How a milestone stands; of several that apply, the first in this order."""

    CANCELLED = "cancelled"
    ACHIEVED = "achieved"
    UNKNOWN = "unknown"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    SLIPPING = "slipping"
    PLANNED = "planned"


class Standing(NamedTuple):
    """One milestone on one day; days count late as positive."""

    programme: str
    project: str
    milestone: str
    baseline: date | None
    planned: date | None
    estimated: date | None
    actual: date | None
    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: State
    driver: str | None
    #: The newest claim about it.
    last: Stamp | None
    amount: Money | None


def picture(facts: Facts, data_date: date) -> list[Standing]:
    """Return how every milestone stands on a day, sorted by programme, project, milestone."""
    nothing, unregistered = Milestone(), Project()
    standings = []
    for key in sorted(facts.existing_milestones()):
        project = facts.projects.get(ProjectKey(key.programme, key.project), unregistered)
        standings.append(_standing(key, facts.milestones.get(key, nothing), project, data_date))
    return standings


def _standing(key: MilestoneKey, milestone: Milestone, project: Project, data_date: date) -> Standing:
    own = milestone.own
    cancelled = milestone.is_cancelled or project.is_withdrawn
    if milestone.actual is not None:
        forecast: date | None = milestone.actual.date
    else:
        forecast = max(own.date, data_date) if own else None
    baseline, planned = milestone.baseline, milestone.planned
    open_ = milestone.actual is None and not cancelled
    return Standing(
        *key,
        baseline=baseline.date if baseline else None,
        planned=planned.date if planned else None,
        estimated=milestone.estimated.date if milestone.estimated else None,
        actual=milestone.actual.date if milestone.actual else None,
        forecast=forecast,
        slip_days=(forecast - baseline.date).days if forecast and baseline else None,
        float_days=(planned.date - forecast).days if open_ and forecast and planned else None,
        state=_state(milestone, forecast, data_date, cancelled=cancelled),
        driver=None,
        last=milestone.last,
        amount=milestone.amount,
    )


def _state(milestone: Milestone, forecast: date | None, data_date: date, *, cancelled: bool) -> State:
    if cancelled:
        return State.CANCELLED
    if milestone.actual is not None:
        return State.ACHIEVED
    if forecast is None or milestone.own is None:
        return State.UNKNOWN
    if milestone.own.date < data_date:
        return State.OVERDUE
    if milestone.baseline is not None and forecast > milestone.baseline.date:
        return State.SLIPPING
    return State.PLANNED
