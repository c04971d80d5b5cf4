"""`milepost status`: how every milestone stands on a day, and which dependencies were set aside to tell it."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Engine, select

from models.database.tables import programmes
from models.domain.claims import DependencyKey
from models.domain.events import place
from models.domain.schedule import State, picture
from models.views.queries import Question, asking, read_answer


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


class Status(NamedTuple):
    """What was asked for, as it stands."""

    data_date: date
    #: By programme, project and the catalogue's order.
    rows: Sequence[Row]
    #: Dependencies of what was asked for, either way, that would close a cycle; in the order of their stamps.
    set_aside: Sequence[DependencyKey]


def read_status(engine: Engine, question: Question) -> Status:
    """Return how the milestones stand.

    Raises `DatabaseError`, and `QuestionError` for a programme or project that no event names.
    """
    with asking(engine) as connection:
        revisions = dict(connection.execute(select(programmes.c.programme, programmes.c.revision)).all())
        facts = read_answer(connection, question)
    drawn = picture(facts, question.data_date)
    standings = sorted(
        (standing for standing in drawn.standings if question.project in {None, standing.project}),
        key=lambda standing: (standing.programme, standing.project, place(standing.milestone)),
    )
    rows = [
        Row(
            **{name: getattr(standing, name) for name in Row.__struct_fields__ if name not in {"driver", "revision"}},
            driver=str(standing.driver) if standing.driver else None,
            revision=revisions.get(standing.programme, 0),
        )
        for standing in standings
    ]
    set_aside = [key for key in drawn.set_aside if question.project in {None, key.project, key.after_project}]
    return Status(question.data_date, rows, set_aside)


def told_set_aside(key: DependencyKey) -> str:
    """Return what people are told of a dependency that was set aside."""
    return (
        f"{key.programme}/{key.project}/{key.milestone} does not wait for "
        f"{key.programme}/{key.after_project}/{key.after_milestone}: that would close a cycle, "
        "so the dependency is set aside"
    )


def as_json(rows: Sequence[Row]) -> bytes:
    """Return the rows as a JSON list, one object a line."""
    lines = b",\n ".join(map(msgspec.json.encode, rows))
    return b"[" + lines + b"]\n"
