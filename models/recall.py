"""Rows to facts: of all that there is, or of what was written after a revision."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Result, Select, Table, exists, select

from models import since as since_revisions
from models import tables
from models.events import Money
from models.instants import Stamp
from models.milestones import (
    Claim,
    Dependency,
    DependencyKey,
    Facts,
    Milestone,
    MilestoneKey,
    Programme,
    Project,
    ProjectKey,
    Register,
    SiteKey,
)

#: Returns the wanted rows of a table, of its columns by name.
_Rows = Callable[..., Sequence[Any]]

#: How many rows are made Python of in one go: some milliseconds.
_AT_ONCE: Final = 500
#: Everything, where a revision is asked for.
NEVER_READ: Final = -1


class Recalled(NamedTuple):
    """What was written after some revisions."""

    facts: Facts
    #: The newest revision of the rows of each project that are among them.
    revisions: Mapping[tuple[str, ...], int]


def read_facts(connection: Connection, programmes: Sequence[str] | None = None) -> Facts:
    """Return the facts of some programmes, or of all."""

    def rows(table: Table, *names: str) -> Sequence[Any]:
        query = select(*(table.c[name] for name in names))
        return connection.execute(query if programmes is None else query.where(table.c.programme.in_(programmes))).all()

    return _read(rows, {})


def recall(connection: Connection, since: Mapping[str, int]) -> Recalled:
    """Return what was written of each programme after a revision; what is announced for it is always there.

    What a retraction removed is not: `models.ledger.read_strikes` tells of whom everything is to be forgotten first.
    """
    revisions: dict[tuple[str, ...], int] = {}
    if not since:
        return Recalled(Facts(), revisions)
    parameters = since_revisions.parameters(since)
    still = set()
    if NEVER_READ not in since.values():
        # Most events are reports of milestones: one question instead of three that most often have no answer.
        [asked] = connection.execute(_any_written_since(len(since)), parameters)
        still = {table for table, is_written in zip(_SELDOM, asked, strict=True) if not is_written}

    def rows(table: Table, *names: str) -> Sequence[Any]:
        if table is tables.programmes:
            query = select(*(table.c[name] for name in names)).where(table.c.programme.in_(since))
            return connection.execute(query).all()
        if table in still:
            return ()
        return _some_by_some(connection.execute(_written_since(table, names, len(since)), parameters))

    return Recalled(_read(rows, revisions), revisions)


def _some_by_some(result: Result[*tuple[Any, ...]]) -> Sequence[Any]:
    """Return all rows, without holding up other threads: the driver makes Python of rows in one go, however many."""
    rows: list[Any] = []
    while some := result.fetchmany(_AT_ONCE):
        rows += some
    return rows


#: What events seldom speak of.
_SELDOM: Final = (tables.projects, tables.sites, tables.dependencies)


@lru_cache(maxsize=64)
def _any_written_since(count: int) -> Select[*tuple[Any, ...]]:
    asked: list[ColumnElement[Any]] = [
        exists().where(since_revisions.written_since(table.c.programme, table.c.revision, count)) for table in _SELDOM
    ]
    return select(*asked)


@lru_cache(maxsize=64)
def _written_since(table: Table, names: Sequence[str], count: int) -> Select[Any]:
    written = since_revisions.written_since(table.c.programme, table.c.revision, count)
    return select(*(table.c[name] for name in names)).where(written)


def _read(rows: _Rows, revisions: dict[tuple[str, ...], int]) -> Facts:
    facts = Facts()

    def seen(project: tuple[str, ...], revision: int) -> None:
        if revision > revisions.get(project, NEVER_READ):
            revisions[project] = revision

    known: Programme | Project
    for name, registered, *registers in rows(tables.programmes, "programme", "registered_stamp", *_ANNOUNCED):
        # The row is there from the first event on; only a registration names the programme by itself.
        if registered is not None:
            facts.programmes[name] = known = Programme(registered=registered)
            _set_registers(known, ("name", "investment", "jobs"), registers)
    names = ("name", "kind", "site", "investment", "jobs")
    for programme, project, revision, registered, withdrawn, *registers in rows(tables.projects, *_PROJECT):
        facts.projects[ProjectKey(programme, project)] = known = Project(registered, withdrawn)
        _set_registers(known, names, registers)
        seen((programme, project), revision)
    for programme, project, site, revision in rows(tables.sites, "programme", "project", "site", "revision"):
        facts.sites.add(SiteKey(programme, project, site))
        seen((programme, project), revision)
    for programme, project, milestone, revision, *claims, cancelled in rows(tables.milestones, *_MILESTONE):
        first, first_said, planned, said, amount, estimated, then, its_amount, actual, at_last, last_amount = claims
        facts.milestones[MilestoneKey(intern(programme), intern(project), intern(milestone))] = Milestone(
            None if first_said is None else Claim(first_said, first),
            None if said is None else Claim(said, planned, _money(amount)),
            None if then is None else Claim(then, estimated, _money(its_amount)),
            None if at_last is None else Claim(at_last, actual, _money(last_amount)),
            cancelled,
        )
        seen((programme, project), revision)
    for *key, revision, lag_days, declared, withdrawn in rows(tables.dependencies, *_DEPENDENCY):
        facts.dependencies[DependencyKey(*map(intern, key))] = Dependency(
            None if declared is None else Register(declared, lag_days), withdrawn
        )
        seen((key[0], key[1]), revision)
    return facts


def _columns(*names: str) -> tuple[str, ...]:
    """Return registers as columns: each its value and its stamp."""
    return tuple(column for name in names for column in (name, f"{name}_stamp"))


_ANNOUNCED: Final = _columns("name", "investment", "jobs")
_PROJECT: Final = (
    *("programme", "project", "revision", "registered_stamp", "withdrawn_stamp"),
    *_columns("name", "kind", "site", "investment", "jobs"),
)
_MILESTONE: Final = (
    *("programme", "project", "milestone", "revision", "baseline", "baseline_stamp"),
    *(f"{name}{what}" for name in ("planned", "estimated", "actual") for what in ("", "_stamp", "_amount")),
    "cancelled_stamp",
)
_DEPENDENCY: Final = (*DependencyKey._fields, "revision", "lag_days", "declared_stamp", "withdrawn_stamp")


def _set_registers(known: Project | Programme, names: Sequence[str], columns: Sequence[Any]) -> None:
    for name, value, stamp in zip(names, columns[::2], columns[1::2], strict=True):
        if stamp is not None:
            setattr(known, name, Register(Stamp(stamp), _money(value) if name == "investment" else value))


def _money(amount: Any) -> Money | None:  # noqa: ANN401 - JSON
    return None if amount is None else msgspec.convert(amount, Money)
