"""What is asked of the database about milestones, and the facts that answer it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models.database.claims import read_facts
from models.database.engine import DatabaseError, check_schema, first_line, reading, shown
from models.database.queries import believe
from models.domain.claims import Facts, MilestoneKey, ProjectKey
from models.domain.events import SLUG
from models.domain.timestamps import Instant, parse_instant
from models.errors import MilepostError

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: More digits than any clock has: the end of a day, and still before the next.
_DAY_END: Final = f"T23:59:59.{'9' * 30}Z"
_NAME = re.compile(rf"({SLUG})/({SLUG})/({SLUG})")


class QuestionError(MilepostError):
    """What was asked for is not there, or cannot be; the message is one line that says what to do."""


class Question(NamedTuple):
    """What is to be shown."""

    data_date: date
    programme: str | None = None
    project: str | None = None
    #: Fold only claims stamped up to then; None: all there are.
    as_of: Instant | None = None

    @property
    def then(self) -> str:
        """Say of which past it is, for the end of a phrase; nothing when it is the present."""
        return f" as of {self.as_of[:19]}Z" if self.as_of else ""


def read_day(text: str) -> date:
    """Return the day that `YYYY-MM-DD` names; raises `ValueError` with the reason."""
    if _DAY.fullmatch(text) is None:
        raise ValueError(f"not a day like 2026-12-31: {text[:64]!r}")
    return date.fromisoformat(text)


def read_as_of(text: str) -> Instant:
    """Return the instant that a timestamp names, or the end of a day in UTC; raises `ValueError` with the reason."""
    return parse_instant(f"{read_day(text)}{_DAY_END}" if _DAY.fullmatch(text) else text)


def read_name(text: str) -> MilestoneKey:
    """Return the milestone that `programme/project/milestone` names, there or not; raises `QuestionError`."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise QuestionError(
            f"not the name of a milestone: {text[:200]!r}; say PROGRAMME/PROJECT/MILESTONE, as in "
            "north/quay/permit-approved: `milepost status` shows those there are"
        )
    return MilestoneKey(*match.groups())


@contextmanager
def asking(engine: Engine) -> Iterator[Connection]:
    """Open a transaction in which every query sees the same moment.

    Raises `DatabaseError`, on one line, when the database cannot be read or is not one that this program knows.
    """
    check_schema(engine)
    try:
        with reading(engine) as connection:
            yield connection
    except DBAPIError as error:
        raise DatabaseError(f"database {shown(engine)} cannot be read: {first_line(error)}") from None


def read_answer(connection: Connection, question: Question) -> Facts:
    """Return the facts of the programme asked about, or of all.

    Raises `QuestionError` for a programme or a project that no event names.
    """
    if question.as_of is not None:
        facts = believe(connection, question.as_of, question.programme)
    else:
        facts = read_facts(connection, None if question.programme is None else [question.programme])
    _check_known(facts, question.programme, question.project, question.then)
    return facts


def check_milestone(facts: Facts, key: MilestoneKey, then: str = "") -> None:
    """Raise `QuestionError` for a milestone that no event names."""
    _check_known(facts, key.programme, key.project, then)
    if key not in facts.existing_milestones():
        raise QuestionError(
            f"no milestone {key.milestone!r} in project {key.project!r} of programme {key.programme!r}{then}: "
            f"`milepost status {key.programme} --project {key.project}` shows those there are"
        )


def _check_known(facts: Facts, programme: str | None, project: str | None, then: str) -> None:
    if programme is not None and programme not in facts.existing_programmes():
        raise QuestionError(f"no programme {programme!r}{then}: `milepost status` without a name shows those there are")
    if project is None:
        return
    projects = facts.existing_projects()
    if programme is None:
        if project not in {key.project for key in projects}:
            raise QuestionError(
                f"no project {project!r} in any programme{then}: `milepost status` shows those there are"
            )
    elif ProjectKey(programme, project) not in projects:
        raise QuestionError(
            f"no project {project!r} in programme {programme!r}{then}: "
            f"`milepost status {programme}` shows those there are"
        )
