"""Facts to rows, and the SQL that merges two claims about the same thing as `models.domain.claims` does."""
# What was written of each programme after a revision of it: a condition, put together once for so many programmes.
#
# To put a query together costs more than to execute it for a few rows, and every drawing asks several.
# Rows to facts: of all that there is, or of what was written after a revision.

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Result,
    Select,
    Table,
    bindparam,
    exists,
    or_,
    select,
)

from models.database import tables
from models.database.upsert import Rows
from models.domain.claims import (
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
from models.domain.events import Money
from models.domain.timestamps import Stamp


def rows_of(facts: Facts, revisions: Mapping[str, int]) -> dict[Table, Rows]:
    """Return the rows that hold facts, of the revisions that their programmes have now.

    They are sorted by key so that two writers lock them in one order.
    """
    return {
        tables.programmes: Rows(
            ("programme", "registered_stamp", *_named(_OF_PROGRAMME)),
            [
                (name, programme.registered, *_registers(programme, _OF_PROGRAMME))
                for name, programme in sorted(facts.programmes.items())
            ],
        ),
        tables.projects: Rows(
            (*ProjectKey._fields, "revision", "registered_stamp", "withdrawn_stamp", *_named(_OF_PROJECT)),
            [
                (*key, revisions[key[0]], project.registered, project.withdrawn, *_registers(project, _OF_PROJECT))
                for key, project in sorted(facts.projects.items())
            ],
        ),
        tables.sites: Rows(
            (*SiteKey._fields, "revision"),
            [(*key, revisions[key[0]]) for key in sorted(facts.sites)],
        ),
        tables.milestones: Rows(
            _OF_MILESTONE,
            [_milestone(key, milestone, revisions[key[0]]) for key, milestone in sorted(facts.milestones.items())],
        ),
        tables.dependencies: Rows(
            (*DependencyKey._fields, "revision", "lag_days", "declared_stamp", "withdrawn_stamp"),
            [
                (
                    *key,
                    revisions[key[0]],
                    dependency.declared.value if dependency.declared else None,
                    dependency.declared.stamp if dependency.declared else None,
                    dependency.withdrawn,
                )
                for key, dependency in sorted(facts.dependencies.items())
            ],
        ),
    }


_OF_PROGRAMME: Final = ("name", "investment", "jobs")
_OF_PROJECT: Final = ("name", "kind", "site", "investment", "jobs")


def _named(registers: Sequence[str]) -> Iterator[str]:
    for name in registers:
        yield from (name, f"{name}_stamp")


def _registers(known: Project | Programme, names: Sequence[str]) -> Iterator[Any]:
    for name in names:
        register: Register[Any] | None = getattr(known, name)
        yield from (register.value, register.stamp) if register else (None, None)


_OF_MILESTONE: Final = (
    *(*MilestoneKey._fields, "revision"),
    *("baseline", "baseline_stamp"),
    *("planned", "planned_stamp", "planned_amount"),
    *("estimated", "estimated_stamp", "estimated_amount"),
    *("actual", "actual_stamp", "actual_amount"),
    "cancelled_stamp",
)


def _milestone(key: MilestoneKey, milestone: Milestone, revision: int) -> Sequence[Any]:
    # Written out, because this is done for nearly every event. A claim is a stamp, a date and an amount.
    baseline, planned, estimated, actual = milestone.baseline, milestone.planned, milestone.estimated, milestone.actual
    return (
        *key,
        revision,
        *((baseline.date, baseline.stamp) if baseline else _NO_DATE),
        *((planned.date, planned.stamp, planned.amount) if planned else _NO_CLAIM),
        *((estimated.date, estimated.stamp, estimated.amount) if estimated else _NO_CLAIM),
        *((actual.date, actual.stamp, actual.amount) if actual else _NO_CLAIM),
        milestone.cancelled,
    )


_NO_DATE: Final = (None, None)
_NO_CLAIM: Final = (None, None, None)


def written_since(
    programme: ColumnElement[str], revision: ColumnElement[int | None], count: int
) -> ColumnElement[bool]:
    """Return the condition for so many programmes, to be executed with `parameters`."""
    return or_(
        *(
            (programme == bindparam(f"programme_{number}")) & (revision > bindparam(f"revision_{number}"))
            for number in range(count)
        )
    )


def parameters(since: Mapping[str, int]) -> dict[str, Any]:
    """Return what a condition of as many programmes is executed with."""
    named: dict[str, Any] = {}
    for number, (programme, revision) in enumerate(since.items()):
        named[f"programme_{number}"], named[f"revision_{number}"] = programme, revision
    return named


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

    What a retraction removed is not: `ledger.read_strikes` tells of whom all is to be forgotten first.
    """
    revisions: dict[tuple[str, ...], int] = {}
    if not since:
        return Recalled(Facts(), revisions)
    bound = parameters(since)
    still = set()
    if NEVER_READ not in since.values():
        # Most events are reports of milestones: one question instead of three that most often have no answer.
        [asked] = connection.execute(_any_written_since(len(since)), bound)
        still = {table for table, is_written in zip(_SELDOM, asked, strict=True) if not is_written}

    def rows(table: Table, *names: str) -> Sequence[Any]:
        if table is tables.programmes:
            query = select(*(table.c[name] for name in names)).where(table.c.programme.in_(since))
            return connection.execute(query).all()
        if table in still:
            return ()
        return _some_by_some(connection.execute(_written_since(table, names, len(since)), bound))

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
        exists().where(written_since(table.c.programme, table.c.revision, count)) for table in _SELDOM
    ]
    return select(*asked)


@lru_cache(maxsize=64)
def _written_since(table: Table, names: Sequence[str], count: int) -> Select[Any]:
    written = written_since(table.c.programme, table.c.revision, count)
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
