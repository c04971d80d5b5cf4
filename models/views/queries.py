"""Queries for milestones: their parameters, the facts that they need, and errors for unknown names."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from models.database.engine import DatabaseError, check_schema, driver_message, read_transaction, redacted_url
from models.database.queries import has_programme
from models.database.rights import READER_TABLE_RIGHTS, require_table_rights
from models.domain.assumptions import Assumption
from models.domain.claims import Facts, MilestoneKey
from models.domain.events import FIRST_YEAR, LAST_YEAR, SLUG_PATTERN
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Instant, parse_instant
from models.errors import MilepostError
from models.views.picture import PictureQuery, as_of_phrase, load_picture_facts

DAY_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: The end of a day, with more digits than any clock has.
_END_OF_DAY: Final = f"T23:59:59.{'9' * 30}Z"
_SLUG_PATTERN = re.compile(SLUG_PATTERN)
#: How much of a wrong name a line repeats.
_MAX_SHOWN: Final = 200
_MILESTONE_NAME_PATTERN = re.compile(rf"({SLUG_PATTERN})/({SLUG_PATTERN})/({SLUG_PATTERN})")


class QueryError(MilepostError):
    """The queried name does not exist or is malformed."""


class MilestoneQuery(NamedTuple):
    """What to show."""

    data_date: date
    programme: str | None = None
    project: str | None = None
    #: Only events stamped up to this instant; None for all.
    as_of: Instant | None = None
    #: Dates of milestones of the programme that are taken as the newest estimates.
    assumptions: Sequence[Assumption] = ()

    @property
    def as_of_phrase(self) -> str:
        """The instant as the end of a phrase; empty for the present."""
        return as_of_phrase(self.as_of)


def parse_day(text: str) -> date:
    """Parse `YYYY-MM-DD`; raises `ValueError` with the reason."""
    if DAY_PATTERN.fullmatch(text) is None:
        raise ValueError(f"not a day like 2026-12-31: {text[:64]!r}")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a day that there is: {text!r}") from None


def parse_data_date(text: str) -> date:
    """Parse a day for which a schedule can be calculated; raises `ValueError` with the reason."""
    day = parse_day(text)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"not a day of the years {FIRST_YEAR} to {LAST_YEAR}: {text!r}")
    return day


def parse_as_of(text: str) -> Instant:
    """Parse a timestamp, or a day as its end in UTC; raises `ValueError` with the reason."""
    return _parse_day_or_instant(text, _END_OF_DAY)


def parse_since(text: str) -> Instant:
    """Parse a timestamp, or a day as its beginning in UTC; raises `ValueError` with the reason."""
    return _parse_day_or_instant(text, "T00:00:00Z")


def _parse_day_or_instant(text: str, time_of_day: str) -> Instant:
    if DAY_PATTERN.fullmatch(text):
        return parse_instant(f"{parse_day(text)}{time_of_day}")
    try:
        return parse_instant(text)
    except ValueError as error:
        raise ValueError(f"not a day like 2026-02-03, and no time: {error}") from None


def parse_milestone_name(text: str) -> MilestoneKey:
    """Parse `programme/project/milestone`; raises `QueryError`. The milestone need not exist."""
    match = _MILESTONE_NAME_PATTERN.fullmatch(text)
    if match is None:
        raise QueryError(
            f"not the name of a milestone: {text[:_MAX_SHOWN]!r}; use PROGRAMME/PROJECT/MILESTONE, as in "
            "north/quay/permit-approved: `milepost status` shows those there are"
        )
    return MilestoneKey(*match.groups())


def parse_assumption(text: str, separator: str) -> Assumption:
    """Parse `project/milestone`, a separator and a day; raises `ValueError` with the reason."""
    name, _, day = text.partition(separator)
    project, _, milestone = name.partition("/")
    if not (day and _SLUG_PATTERN.fullmatch(project) and _SLUG_PATTERN.fullmatch(milestone)):
        example = f"quay/permit-approved{separator}2026-12-31"
        raise ValueError(f"not a milestone and a day like {example}: {text[:_MAX_SHOWN]!r}")
    return Assumption(MilestoneRef(project, milestone), parse_data_date(day))


@contextmanager
def query_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a read-only transaction in which all queries see one snapshot.

    Raises `DatabaseError` when the database may not or cannot be read, or has another schema.
    """
    check_schema(engine)
    try:
        require_table_rights(engine, READER_TABLE_RIGHTS)
        with read_transaction(engine) as connection:
            yield connection
    except DBAPIError as error:
        raise DatabaseError(f"database {redacted_url(engine)} cannot be read: {driver_message(error)}") from None


def load_facts_for(connection: Connection, query: MilestoneQuery) -> Facts:
    """Return the facts of the queried programme, or of all.

    Raises `QueryError` for a programme or a project that no event names.
    """
    if query.programme is not None and _SLUG_PATTERN.fullmatch(query.programme) is None:
        # No programme is called that, and a database does not take every text.
        raise _unknown_programme(query.programme, query.as_of_phrase)
    facts = load_picture_facts(connection, PictureQuery(as_of=query.as_of), query.programme)
    _require_known(facts, query.programme, query.project, query.as_of_phrase)
    return facts


def require_programme(connection: Connection, programme: str) -> None:
    """Raise `QueryError` for a programme that no event names."""
    # No programme is called what is no slug, and a database does not take every text.
    if _SLUG_PATTERN.fullmatch(programme) is None or not has_programme(connection, programme):
        raise _unknown_programme(programme, "")


def require_milestone(facts: Facts, key: MilestoneKey, as_of: str = "") -> None:
    """Raise `QueryError` for a milestone that no event names."""
    _require_known(facts, key.programme, key.project, as_of)
    if key not in facts.existing_milestones():
        raise QueryError(
            f"no milestone {key.milestone!r} in project {key.project!r} of programme {key.programme!r}{as_of}: "
            f"`milepost status {key.programme} --project {key.project}` shows those there are"
        )


def _require_known(facts: Facts, programme: str | None, project: str | None, as_of: str) -> None:
    if programme is not None and programme not in facts.existing_programmes():
        raise _unknown_programme(programme, as_of)
    projects = {key.project for key in facts.existing_projects() if programme in {None, key.programme}}
    if project is not None and project not in projects:
        place = "any programme" if programme is None else f"programme {programme!r}"
        command = " ".join(filter(None, ("milepost status", programme)))
        raise QueryError(f"no project {project[:_MAX_SHOWN]!r} in {place}{as_of}: `{command}` shows those there are")


def _unknown_programme(programme: str, as_of: str) -> QueryError:
    return QueryError(
        f"no programme {programme[:_MAX_SHOWN]!r}{as_of}: `milepost status` without a name shows those there are"
    )
