"""What comes next in a programme: what is overdue, and what is due in the coming days."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from models.database.tables import forecasts, milestones
from models.domain.claims import NO_MILESTONE_CLAIMS, Facts
from models.domain.row_order import MilestoneSortKey, milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, State

#: What is due soon, and what is due after that, in days from the data date.
SOON_DAYS: Final = 30
LATER_DAYS: Final = 90
#: How many milestones a list names: of one programme, and of one of many.
MAX_NAMED: Final = 8
MAX_NAMED_OF_MANY: Final = 3


class DueMilestone(NamedTuple):
    """A milestone that is not achieved, and the day on which it is due: the day that has passed if it is overdue."""

    ref: MilestoneRef
    due: date
    state: State
    #: What people call it.
    name: str | None = None


class DueList(NamedTuple):
    """How many milestones are due in a span, and the first of them."""

    total: int = 0
    named: Sequence[DueMilestone] = ()


class Upcoming(NamedTuple):
    """What comes next in a programme."""

    overdue: DueList = DueList()
    soon: DueList = DueList()
    later: DueList = DueList()


def own_dates(facts: Facts, statuses: Iterable[MilestoneStatus]) -> dict[MilestoneRef, date]:
    """Return, of the overdue among some milestones, the day that has passed: what was said of each last."""
    claims = {
        status.ref: facts.milestones.get(status.key, NO_MILESTONE_CLAIMS).own_claim
        for status in statuses
        if status.state is State.OVERDUE
    }
    return {ref: claim.date for ref, claim in claims.items() if claim is not None}


def find_upcoming(
    statuses: Iterable[MilestoneStatus],
    passed: Mapping[MilestoneRef, date],
    data_date: date,
    max_named: int = MAX_NAMED,
) -> Upcoming:
    """Return what comes next, each list by day, then in the order of rows."""
    open_ones = [status for status in statuses if status.is_open and status.forecast is not None]
    overdue = [status for status in open_ones if status.state is State.OVERDUE]
    others = [status for status in open_ones if status.state is not State.OVERDUE]

    def due(status: MilestoneStatus) -> date:
        return passed.get(status.ref) or status.forecast or date.max

    def order(status: MilestoneStatus) -> tuple[date, MilestoneSortKey]:
        return due(status), milestone_sort_key(status)

    def within(first: int, last: int) -> list[MilestoneStatus]:
        span = range(first, last)
        return [status for status in others if (due(status) - data_date).days in span]

    def as_list(found: list[MilestoneStatus]) -> DueList:
        named = sorted(found, key=order)[:max_named]
        return DueList(
            len(found), [DueMilestone(status.ref, due(status), status.state, status.name) for status in named]
        )

    soon = within(-timedelta.max.days, SOON_DAYS + 1)
    return Upcoming(as_list(overdue), as_list(soon), as_list(within(SOON_DAYS + 1, LATER_DAYS + 1)))


def read_upcoming(connection: Connection, programmes: Sequence[str], data_date: date) -> dict[str, Upcoming]:
    """Return what comes next in each of some programmes, by the stored forecasts."""
    is_overdue = forecasts.c.state == State.OVERDUE
    is_estimate = and_(
        milestones.c.estimated_stamp.is_not(None),
        func.coalesce(milestones.c.planned_stamp, "") < milestones.c.estimated_stamp,
    )
    own_date = case((is_estimate, milestones.c.estimated), else_=milestones.c.planned)
    due = case((is_overdue, func.coalesce(own_date, forecasts.c.forecast)), else_=forecasts.c.forecast).label("due")
    is_soon = forecasts.c.forecast <= data_date + timedelta(days=SOON_DAYS)
    span = case((is_overdue, 0), (is_soon, 1), else_=2).label("span")
    same = [forecasts.c.programme, span]
    order = (due, forecasts.c.project, forecasts.c.milestone)
    names = ("programme", "project", "milestone")
    rows = (
        select(
            *(forecasts.c[name] for name in (*names, "state")),
            milestones.c.name,
            due,
            span,
            func.count().over(partition_by=same).label("total"),
            func.row_number().over(partition_by=same, order_by=order).label("number"),
        )
        .select_from(
            forecasts.outerjoin(milestones, and_(*(forecasts.c[name] == milestones.c[name] for name in names)))
        )
        .where(
            forecasts.c.programme.in_(programmes),
            forecasts.c.state.not_in([State.ACHIEVED, State.CANCELLED]),
            forecasts.c.forecast <= data_date + timedelta(days=LATER_DAYS),
        )
        .subquery()
    )
    query = (
        select(rows).where(rows.c.number <= MAX_NAMED_OF_MANY).order_by(rows.c.programme, rows.c.span, rows.c.number)
    )
    found: dict[str, list[DueList]] = {programme: [DueList(), DueList(), DueList()] for programme in programmes}
    for row in connection.execute(query):
        item = DueMilestone(MilestoneRef(row.project, row.milestone), row.due, State(row.state), row.name)
        named = [*found[row.programme][row.span].named, item]
        found[row.programme][row.span] = DueList(row.total, named)
    return {programme: Upcoming(*lists) for programme, lists in found.items()}
