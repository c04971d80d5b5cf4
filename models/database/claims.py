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
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProgrammeClaims,
    ProjectClaims,
    ProjectKey,
    Register,
    SiteKey,
)
from models.domain.events import Money
from models.domain.timestamps import Stamp


def facts_to_rows(facts: Facts, revisions: Mapping[str, int]) -> dict[Table, Rows]:
    """Return the rows that hold facts, of the revisions that their programmes have now.

    They are sorted by key so that two writers lock them in one order.
    """
    return {
        tables.programmes: Rows(
            ("programme", "registered_stamp", *_register_columns(*_PROGRAMME_REGISTERS)),
            [
                (name, programme.registered, *_register_values(programme, _PROGRAMME_REGISTERS))
                for name, programme in sorted(facts.programmes.items())
            ],
        ),
        tables.projects: Rows(
            (
                *ProjectKey._fields,
                "revision",
                "registered_stamp",
                "withdrawn_stamp",
                *_register_columns(*_PROJECT_REGISTERS),
            ),
            [
                (
                    *key,
                    revisions[key[0]],
                    project.registered,
                    project.withdrawn,
                    *_register_values(project, _PROJECT_REGISTERS),
                )
                for key, project in sorted(facts.projects.items())
            ],
        ),
        tables.sites: Rows(
            (*SiteKey._fields, "revision"),
            [(*key, revisions[key[0]]) for key in sorted(facts.sites)],
        ),
        tables.milestones: Rows(
            _MILESTONE_COLUMNS,
            [_milestone_row(key, milestone, revisions[key[0]]) for key, milestone in sorted(facts.milestones.items())],
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


_PROGRAMME_REGISTERS: Final = ("name", "investment", "jobs")
_PROJECT_REGISTERS: Final = ("name", "kind", "site", "investment", "jobs")


def _register_columns(*names: str) -> tuple[str, ...]:
    """Return registers as columns: each its value and its stamp."""
    return tuple(column for name in names for column in (name, f"{name}_stamp"))


def _register_values(owner: ProjectClaims | ProgrammeClaims, names: Sequence[str]) -> Iterator[Any]:
    for name in names:
        register: Register[Any] | None = getattr(owner, name)
        yield from (register.value, register.stamp) if register else (None, None)


_MILESTONE_COLUMNS: Final = (
    *(*MilestoneKey._fields, "revision"),
    *("baseline", "baseline_stamp"),
    *("planned", "planned_stamp", "planned_amount"),
    *("estimated", "estimated_stamp", "estimated_amount"),
    *("actual", "actual_stamp", "actual_amount"),
    "cancelled_stamp",
)


def _milestone_row(key: MilestoneKey, milestone: MilestoneClaims, revision: int) -> Sequence[Any]:
    # Written out, because this is done for nearly every event. A claim is a stamp, a date and an amount.
    baseline, planned, estimated, actual = milestone.baseline, milestone.planned, milestone.estimated, milestone.actual
    return (
        *key,
        revision,
        *((baseline.date, baseline.stamp) if baseline else _NULL_BASELINE),
        *((planned.date, planned.stamp, planned.amount) if planned else _NULL_CLAIM),
        *((estimated.date, estimated.stamp, estimated.amount) if estimated else _NULL_CLAIM),
        *((actual.date, actual.stamp, actual.amount) if actual else _NULL_CLAIM),
        milestone.cancelled,
    )


_NULL_BASELINE: Final = (None, None)
_NULL_CLAIM: Final = (None, None, None)


def changed_since_condition(
    programme: ColumnElement[str], revision: ColumnElement[int | None], count: int
) -> ColumnElement[bool]:
    """Return the condition for so many programmes, to be executed with `parameters`."""
    return or_(
        *(
            (programme == bindparam(f"programme_{number}")) & (revision > bindparam(f"revision_{number}"))
            for number in range(count)
        )
    )


def changed_since_parameters(since: Mapping[str, int]) -> dict[str, Any]:
    """Return what a condition of as many programmes is executed with."""
    named: dict[str, Any] = {}
    for number, (programme, revision) in enumerate(since.items()):
        named[f"programme_{number}"], named[f"revision_{number}"] = programme, revision
    return named


#: Returns the wanted rows of a table, of its columns by name.
_SelectRows = Callable[..., Sequence[Any]]

#: How many rows are made Python of in one go: some milliseconds.
_FETCH_SIZE: Final = 500
#: Everything, where a revision is asked for.
FROM_START: Final = -1


class ChangedFacts(NamedTuple):
    """What was written after some revisions."""

    facts: Facts
    #: The newest revision of the rows of each project that are among them.
    newest_revisions: Mapping[tuple[str, ...], int]


def load_facts(connection: Connection, programmes: Sequence[str] | None = None) -> Facts:
    """Return the facts of some programmes, or of all."""

    def select_rows(table: Table, *names: str) -> Sequence[Any]:
        query = select(*(table.c[name] for name in names))
        return connection.execute(query if programmes is None else query.where(table.c.programme.in_(programmes))).all()

    return _build_facts(select_rows, {})


def load_changed_since(connection: Connection, since: Mapping[str, int]) -> ChangedFacts:
    """Return what was written of each programme after a revision; what is announced for it is always there.

    What a retraction removed is not: `ledger.read_strikes` tells of whom all is to be forgotten first.
    """
    revisions: dict[tuple[str, ...], int] = {}
    if not since:
        return ChangedFacts(Facts(), revisions)
    bound = changed_since_parameters(since)
    still = set()
    if FROM_START not in since.values():
        # Most events are reports of milestones: one question instead of three that most often have no answer.
        [asked] = connection.execute(_select_has_changed_since(len(since)), bound)
        still = {table for table, is_written in zip(_RARELY_CHANGED, asked, strict=True) if not is_written}

    def select_rows(table: Table, *names: str) -> Sequence[Any]:
        if table is tables.programmes:
            query = select(*(table.c[name] for name in names)).where(table.c.programme.in_(since))
            return connection.execute(query).all()
        if table in still:
            return ()
        return _fetch_in_chunks(connection.execute(_select_changed_since(table, names, len(since)), bound))

    return ChangedFacts(_build_facts(select_rows, revisions), revisions)


def _fetch_in_chunks(result: Result[*tuple[Any, ...]]) -> Sequence[Any]:
    """Return all rows, without holding up other threads: the driver makes Python of rows in one go, however many."""
    rows: list[Any] = []
    while some := result.fetchmany(_FETCH_SIZE):
        rows += some
    return rows


#: What events seldom speak of.
_RARELY_CHANGED: Final = (tables.projects, tables.sites, tables.dependencies)


@lru_cache(maxsize=64)
def _select_has_changed_since(count: int) -> Select[*tuple[Any, ...]]:
    asked: list[ColumnElement[Any]] = [
        exists().where(changed_since_condition(table.c.programme, table.c.revision, count)) for table in _RARELY_CHANGED
    ]
    return select(*asked)


@lru_cache(maxsize=64)
def _select_changed_since(table: Table, names: Sequence[str], count: int) -> Select[Any]:
    written = changed_since_condition(table.c.programme, table.c.revision, count)
    return select(*(table.c[name] for name in names)).where(written)


def _build_facts(select_rows: _SelectRows, newest_revisions: dict[tuple[str, ...], int]) -> Facts:
    facts = Facts()

    def track_revision(project: tuple[str, ...], revision: int) -> None:
        if revision > newest_revisions.get(project, FROM_START):
            newest_revisions[project] = revision

    known: ProgrammeClaims | ProjectClaims
    for name, registered, *registers in select_rows(
        tables.programmes, "programme", "registered_stamp", *_PROGRAMME_COLUMNS
    ):
        # The row is there from the first event on; only a registration names the programme by itself.
        if registered is not None:
            facts.programmes[name] = known = ProgrammeClaims(registered=registered)
            _set_registers(known, ("name", "investment", "jobs"), registers)
    names = ("name", "kind", "site", "investment", "jobs")
    for programme, project, revision, registered, withdrawn, *registers in select_rows(
        tables.projects, *_PROJECT_COLUMNS
    ):
        facts.projects[ProjectKey(programme, project)] = known = ProjectClaims(registered, withdrawn)
        _set_registers(known, names, registers)
        track_revision((programme, project), revision)
    for programme, project, site, revision in select_rows(tables.sites, "programme", "project", "site", "revision"):
        facts.sites.add(SiteKey(programme, project, site))
        track_revision((programme, project), revision)
    for programme, project, milestone, revision, *claims, cancelled in select_rows(
        tables.milestones, *_MILESTONE_COLUMNS
    ):
        first, first_said, planned, said, amount, estimated, then, its_amount, actual, at_last, last_amount = claims
        facts.milestones[MilestoneKey(intern(programme), intern(project), intern(milestone))] = MilestoneClaims(
            None if first_said is None else Claim(first_said, first),
            None if said is None else Claim(said, planned, _to_money(amount)),
            None if then is None else Claim(then, estimated, _to_money(its_amount)),
            None if at_last is None else Claim(at_last, actual, _to_money(last_amount)),
            cancelled,
        )
        track_revision((programme, project), revision)
    for *key, revision, lag_days, declared, withdrawn in select_rows(tables.dependencies, *_DEPENDENCY_COLUMNS):
        facts.dependencies[DependencyKey(*map(intern, key))] = DependencyClaims(
            None if declared is None else Register(declared, lag_days), withdrawn
        )
        track_revision((key[0], key[1]), revision)
    return facts


_PROGRAMME_COLUMNS: Final = _register_columns(*_PROGRAMME_REGISTERS)
_PROJECT_COLUMNS: Final = (
    *("programme", "project", "revision", "registered_stamp", "withdrawn_stamp"),
    *_register_columns(*_PROJECT_REGISTERS),
)
_DEPENDENCY_COLUMNS: Final = (*DependencyKey._fields, "revision", "lag_days", "declared_stamp", "withdrawn_stamp")


def _set_registers(owner: ProjectClaims | ProgrammeClaims, names: Sequence[str], columns: Sequence[Any]) -> None:
    for name, value, stamp in zip(names, columns[::2], columns[1::2], strict=True):
        if stamp is not None:
            setattr(owner, name, Register(Stamp(stamp), _to_money(value) if name == "investment" else value))


def _to_money(amount: Any) -> Money | None:  # noqa: ANN401 - JSON
    return None if amount is None else msgspec.convert(amount, Money)
