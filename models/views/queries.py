"""What is asked of the database about milestones, and the facts that answer it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models.database.claims import load_facts
from models.database.engine import DatabaseError, check_schema, driver_message, read_transaction, redacted_url
from models.database.queries import fold_as_of
from models.domain.claims import Facts, MilestoneKey, ProjectKey
from models.domain.events import SLUG_PATTERN
from models.domain.timestamps import Instant, parse_instant
from models.errors import MilepostError

_DAY_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: More digits than any clock has: the end of a day, and still before the next.
_END_OF_DAY: Final = f"T23:59:59.{'9' * 30}Z"
_MILESTONE_NAME_PATTERN = re.compile(rf"({SLUG_PATTERN})/({SLUG_PATTERN})/({SLUG_PATTERN})")


class QueryError(MilepostError):
    """What was asked for is not there, or cannot be; the message is one line that says what to do."""


class MilestoneQuery(NamedTuple):
    """What is to be shown."""

    data_date: date
    programme: str | None = None
    project: str | None = None
    #: Fold only claims stamped up to then; None: all there are.
    as_of: Instant | None = None

    @property
    def as_of_suffix(self) -> str:
        """Say of which past it is, for the end of a phrase; nothing when it is the present."""
        return f" as of {self.as_of[:19]}Z" if self.as_of else ""


def parse_day(text: str) -> date:
    """Return the day that `YYYY-MM-DD` names; raises `ValueError` with the reason."""
    if _DAY_PATTERN.fullmatch(text) is None:
        raise ValueError(f"not a day like 2026-12-31: {text[:64]!r}")
    return date.fromisoformat(text)


def parse_as_of(text: str) -> Instant:
    """Return the instant that a timestamp names, or the end of a day in UTC; raises `ValueError` with the reason."""
    return parse_instant(f"{parse_day(text)}{_END_OF_DAY}" if _DAY_PATTERN.fullmatch(text) else text)


def parse_milestone_name(text: str) -> MilestoneKey:
    """Return the milestone that `programme/project/milestone` names, there or not; raises `QuestionError`."""
    match = _MILESTONE_NAME_PATTERN.fullmatch(text)
    if match is None:
        raise QueryError(
            f"not the name of a milestone: {text[:200]!r}; say PROGRAMME/PROJECT/MILESTONE, as in "
            "north/quay/permit-approved: `milepost status` shows those there are"
        )
    return MilestoneKey(*match.groups())


@contextmanager
def query_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction in which every query sees the same moment.

    Raises `DatabaseError`, on one line, when the database cannot be read or is not one that this program knows.
    """
    check_schema(engine)
    try:
        with read_transaction(engine) as connection:
            yield connection
    except DBAPIError as error:
        raise DatabaseError(f"database {redacted_url(engine)} cannot be read: {driver_message(error)}") from None


def load_facts_for(connection: Connection, query: MilestoneQuery) -> Facts:
    """Return the facts of the programme asked about, or of all.

    Raises `QuestionError` for a programme or a project that no event names.
    """
    if query.as_of is not None:
        facts = fold_as_of(connection, query.as_of, query.programme)
    else:
        facts = load_facts(connection, None if query.programme is None else [query.programme])
    _require_known(facts, query.programme, query.project, query.as_of_suffix)
    return facts


def require_milestone(facts: Facts, key: MilestoneKey, as_of_suffix: str = "") -> None:
    """Raise `QuestionError` for a milestone that no event names."""
    _require_known(facts, key.programme, key.project, as_of_suffix)
    if key not in facts.existing_milestones():
        raise QueryError(
            f"no milestone {key.milestone!r} in project {key.project!r} of programme {key.programme!r}{as_of_suffix}: "
            f"`milepost status {key.programme} --project {key.project}` shows those there are"
        )


def _require_known(facts: Facts, programme: str | None, project: str | None, as_of_suffix: str) -> None:
    if programme is not None and programme not in facts.existing_programmes():
        raise QueryError(
            f"no programme {programme!r}{as_of_suffix}: `milepost status` without a name shows those there are"
        )
    if project is None:
        return
    projects = facts.existing_projects()
    if programme is None:
        if project not in {key.project for key in projects}:
            raise QueryError(
                f"no project {project!r} in any programme{as_of_suffix}: `milepost status` shows those there are"
            )
    elif ProjectKey(programme, project) not in projects:
        raise QueryError(
            f"no project {project!r} in programme {programme!r}{as_of_suffix}: "
            f"`milepost status {programme}` shows those there are"
        )
