"""The rows of `milepost status`: how every milestone stands on a day."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from deploy.printing import Column, print_rows
from models.belief import believe
from models.catalogue import place
from models.database import DatabaseError, check_schema, first_line, reading, shown
from models.instants import Instant, parse_instant
from models.milestones import Facts, ProjectKey
from models.rows import read_facts
from models.schedule import State, picture
from models.tables import programmes

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: More digits than any clock has: the end of a day, and still before the next.
_DAY_END: Final = f"T23:59:59.{'9' * 30}Z"


class StatusError(Exception):
    """What was asked for is not there; the message is one line."""


class Question(NamedTuple):
    """What is to be shown."""

    data_date: date
    programme: str | None = None
    project: str | None = None
    #: Fold only claims stamped up to then; None: all there are.
    as_of: Instant | None = None


class Row(Struct, frozen=True):
    """One milestone; the fields are those of `status --json`, in the contract's order."""

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
    #: Of the programme, as it is now.
    revision: int


def read_day(text: str) -> date:
    """Return the day that `YYYY-MM-DD` names; raises `ValueError` with the reason."""
    if _DAY.fullmatch(text) is None:
        raise ValueError(f"not a day like 2026-12-31: {text[:64]!r}")
    return date.fromisoformat(text)


def read_as_of(text: str) -> Instant:
    """Return the instant that a timestamp names, or the end of a day in UTC; raises `ValueError` with the reason."""
    return parse_instant(f"{read_day(text)}{_DAY_END}" if _DAY.fullmatch(text) else text)


def read_status(engine: Engine, question: Question) -> list[Row]:
    """Return the milestones, by programme, project and the catalogue's order.

    Raises `DatabaseError`, and `StatusError` for a programme or project that no event names.
    """
    check_schema(engine)
    try:
        facts, revisions = _read(engine, question)
    except DBAPIError as error:
        raise DatabaseError(f"database {shown(engine)} cannot be read: {first_line(error)}") from None
    _check_known(facts, question)
    standings = sorted(
        picture(facts, question.data_date),
        key=lambda standing: (standing.programme, standing.project, place(standing.milestone)),
    )
    return [
        Row(
            **{name: getattr(standing, name) for name in Row.__struct_fields__ if name != "revision"},
            revision=revisions.get(standing.programme, 0),
        )
        for standing in standings
        if question.project in {None, standing.project}
    ]


def _read(engine: Engine, question: Question) -> tuple[Facts, Mapping[str, int]]:
    with reading(engine) as connection:
        revisions = dict(connection.execute(select(programmes.c.programme, programmes.c.revision)).all())
        if question.as_of is not None:
            return believe(connection, question.as_of, question.programme), revisions
        return read_facts(connection, None if question.programme is None else [question.programme]), revisions


def _check_known(facts: Facts, question: Question) -> None:
    then = f" as of {question.as_of[:19]}Z" if question.as_of else ""
    programme, project = question.programme, question.project
    if programme is not None and programme not in facts.existing_programmes():
        raise StatusError(f"no programme {programme!r}{then}: `milepost status` without a name shows those there are")
    if project is None:
        return
    projects = facts.existing_projects()
    if programme is not None and ProjectKey(programme, project) not in projects:
        raise StatusError(f"no project {project!r} in programme {programme!r}{then}")
    if project not in {key.project for key in projects}:
        raise StatusError(f"no project {project!r} in any programme{then}")


def as_json(rows: Sequence[Row]) -> bytes:
    """Return the rows as a JSON list, one object a line."""
    lines = b",\n ".join(map(msgspec.json.encode, rows))
    return b"[" + lines + b"]\n"


_STYLES: Final[dict[str, str]] = {
    State.CANCELLED: "dim strike",
    State.ACHIEVED: "green",
    State.UNKNOWN: "dim",
    State.OVERDUE: "bold red",
    State.BLOCKED: "magenta",
    State.SLIPPING: "yellow",
    State.PLANNED: "cyan",
}
_COLUMNS: Final = (
    Column("programme"),
    Column("project"),
    Column("milestone"),
    Column("baseline"),
    Column("planned", spare=3),
    Column("estimated", spare=1),
    Column("actual", spare=2),
    Column("forecast"),
    Column("slip", right=True),
    Column("float", right=True, spare=4),
    Column("state", styles=_STYLES),
    Column("driver"),
)


def print_status(rows: Sequence[Row], *, terminal: bool) -> None:
    """Print the rows for people: in a pipe as one list of columns, in a terminal as a table a programme."""
    if not terminal:
        print_rows(_COLUMNS, [_cells(row) for row in rows])
        return
    for programme, its in groupby(rows, key=lambda row: row.programme):
        table = list(its)
        print_rows(_COLUMNS[1:], [_cells(row)[1:] for row in table], f"{programme}, revision {table[0].revision}")


def _cells(row: Row) -> list[str]:
    days = (row.baseline, row.planned, row.estimated, row.actual, row.forecast)
    return [
        row.programme,
        row.project,
        row.milestone,
        *("" if day is None else day.isoformat() for day in days),
        "" if row.slip_days is None else f"{row.slip_days:+d}" if row.slip_days else "0",
        "" if row.float_days is None else str(row.float_days),
        row.state,
        row.driver or "",
    ]
