"""The status of every milestone on a data date, and the dependencies that were set aside because they close a cycle."""

from collections.abc import Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Engine

from models.database.claims import read_revisions
from models.domain.assumptions import AssumedMove, Assumption, AssumptionError, assume, assumed_moves
from models.domain.claims import DependencyKey, Facts
from models.domain.impact import NO_IMPACT, HeldUp, Impact, measure_impacts
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneStatus, State, compute_schedule
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


class AssumedStatusRow(StatusRow, frozen=True):
    """A milestone in a picture with assumed dates."""

    #: Its forecast without the assumptions.
    forecast_as_said: date | None
    assumed: Literal[True] = True


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
    rows = [
        status_row(status, revisions.get(status.programme, 0), impacts.get(status.key, NO_IMPACT))
        for status in statuses
    ]
    cyclic = [key for key in schedule.cyclic if query.project in {None, key.project, key.after_project}]
    if not query.assumptions:
        return StatusReport(query.data_date, rows, cyclic)
    forecasts = {status.key: status.forecast for status in as_said.statuses}
    assumed_rows = [
        AssumedStatusRow(**msgspec.structs.asdict(row), forecast_as_said=forecasts[status.key])
        for row, status in zip(rows, statuses, strict=True)
    ]
    moves = assumed_moves(as_said, schedule)
    return StatusReport(query.data_date, assumed_rows, cyclic, query.assumptions, moves)


def _assume(facts: Facts, query: MilestoneQuery) -> Facts:
    """Return the facts with what is assumed; raises `QueryError`."""
    programmes = [query.programme] if query.programme is not None else sorted(facts.existing_programmes())
    if len(programmes) != 1:
        raise QueryError(
            f"there are {len(programmes)} programmes: name the one of which dates are assumed, as in"
            " `milepost status PROGRAMME --assume PROJECT/MILESTONE=DAY`"
        )
    try:
        return assume(facts, programmes[0], query.assumptions)
    except AssumptionError as error:
        raise QueryError(f"{error}{query.as_of_suffix}: no picture is drawn") from None


def status_row(status: MilestoneStatus, revision: int, impact: Impact) -> StatusRow:
    """Return a milestone's status as a row."""
    return StatusRow(
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


def describe_cycle(dependency: DependencyKey) -> str:
    """Return the sentence that reports a dependency that was set aside."""
    successor, predecessor = "/".join(dependency.successor), "/".join(dependency.predecessor)
    return f"{successor} does not wait for {predecessor}: that would close a cycle, so the dependency is set aside"


def status_to_json(rows: Sequence[StatusRow]) -> bytes:
    """Return the rows as a JSON list, one object a line."""
    return b"[" + b",\n ".join(map(encode_json, rows)) + b"]\n"
