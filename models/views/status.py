"""The status of every milestone on a data date, and the dependencies that were set aside because they close a cycle."""

from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Engine

from models.database.claims import read_revisions
from models.domain.assumptions import AssumedMove, Assumption, AssumptionError, assume, assumed_moves, find_programme
from models.domain.claims import DependencyKey, Facts
from models.domain.impact import NO_IMPACT, HeldUp, Impact, measure_impacts
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneStatus, Schedule, State, compute_schedule
from models.views.names import NO_NAMES, Names, names_by_programme
from models.views.queries import MilestoneQuery, QueryError, load_facts_for, query_transaction

#: Amounts are numbers in JSON, with all their digits.
encode_json: Final = msgspec.json.Encoder(decimal_format="number").encode


class StatusRow(Struct, frozen=True):
    """A milestone; the fields of `status --json` in the contract's order."""

    programme: str
    project: str
    milestone: str
    #: What people call it.
    name: str | None
    baseline: date | None
    planned: date | None
    estimated: date | None
    actual: date | None
    forecast: date | None
    slip_days: int | None
    float_days: int | None
    state: State
    driver: str | None
    #: The current revision of the programme.
    revision: int
    #: How many milestones wait for it, and how many of them it moves.
    dependents: int
    moved: int
    #: What stands behind the projects of those that it moves.
    held_up: HeldUp
    #: Only in a picture with assumed dates: its forecast without them, and that the picture has some.
    forecast_as_said: date | UnsetType | None = UNSET
    assumed: Literal[True] | UnsetType = UNSET


class StatusReport(NamedTuple):
    """The result of a status query."""

    data_date: date
    #: In the order of rows.
    rows: Sequence[StatusRow]
    #: Dependencies set aside, from or to the queried milestones; sorted by stamp.
    cyclic: Sequence[DependencyKey]
    #: What is assumed, and which of all milestones of the programme move with that.
    assumptions: Sequence[Assumption] = ()
    moves: Sequence[AssumedMove] = ()
    #: By programme.
    names: Mapping[str, Names] = MappingProxyType({})

    def names_of(self, programme: str) -> Names:
        """Return the names in a programme."""
        return self.names.get(programme, NO_NAMES)


def read_status(engine: Engine, query: MilestoneQuery) -> StatusReport:
    """Return the status of the queried milestones.

    Raises `DatabaseError`, and `QueryError` for a programme or project that no event names, and for assumptions that
    make no sense.
    """
    with query_transaction(engine) as connection:
        revisions = read_revisions(connection)
        facts = load_facts_for(connection, query)
    schedule = as_said = compute_schedule(facts, query.data_date)
    if query.assumptions:
        schedule = compute_schedule(_assume(facts, query), query.data_date, as_said)
    impacts = measure_impacts(schedule.statuses, facts.projects)
    statuses = sorted(
        (status for status in schedule.statuses if query.project in {None, status.project}),
        key=milestone_sort_key,
    )
    without = as_said if query.assumptions else None
    rows = [
        status_row(status, revisions.get(status.programme, 0), impacts.get(status.key, NO_IMPACT), without)
        for status in statuses
    ]
    cyclic = [key for key in schedule.cyclic if query.project in {None, key.project, key.after_project}]
    moves = assumed_moves(as_said, schedule) if query.assumptions else ()
    names = names_by_programme(facts, {row.programme for row in rows})
    return StatusReport(query.data_date, rows, cyclic, query.assumptions, moves, names)


def _assume(facts: Facts, query: MilestoneQuery) -> Facts:
    """Return the facts with what is assumed; raises `QueryError`."""
    try:
        programme = query.programme or find_programme(facts, query.assumptions)
        return assume(facts, programme, query.assumptions)
    except AssumptionError as error:
        raise QueryError(f"{error}{query.as_of_phrase}: no picture is drawn") from None


def status_row(status: MilestoneStatus, revision: int, impact: Impact, as_said: Schedule | None = None) -> StatusRow:
    """Return a milestone's status as a row; where dates are assumed, with the schedule without them."""
    row = StatusRow(
        status.programme,
        status.project,
        status.milestone,
        status.name,
        status.baseline,
        status.planned,
        status.estimated,
        status.actual,
        status.forecast,
        status.slip_days,
        status.float_days,
        status.state,
        None if status.driver is None else str(status.driver),
        revision,
        status.dependents,
        *impact,
    )
    if as_said is None:
        return row
    forecast = as_said.statuses[as_said.network.index_of[status.key]].forecast
    return msgspec.structs.replace(row, forecast_as_said=forecast, assumed=True)


def describe_cycle(dependency: DependencyKey) -> str:
    """Return the sentence that reports a dependency that was set aside."""
    successor, predecessor = "/".join(dependency.successor), "/".join(dependency.predecessor)
    return f"{successor} does not wait for {predecessor}: that would close a cycle, so the dependency is set aside"


def status_to_json(rows: Sequence[StatusRow]) -> bytes:
    """Return the rows as a JSON list, one object a line."""
    return b"[" + b",\n ".join(map(encode_json, rows)) + b"]\n"
