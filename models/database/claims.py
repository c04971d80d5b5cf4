"""Winning claims in SQL: facts to rows, and rows to facts, of whole programmes or since a revision of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Result, Select, Table, bindparam, exists, or_, select

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

_PROGRAMME_REGISTERS: Final = ("name", "investment", "jobs")
_PROJECT_REGISTERS: Final = ("name", "kind", "site", "investment", "jobs")


def _register_columns(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield from (name, f"{name}_stamp")


#: The columns of each table, in the order in which rows are written and read here.
_COLUMNS: Final[Mapping[Table, Sequence[str]]] = {
    tables.programmes: ("programme", "registered_stamp", *_register_columns(_PROGRAMME_REGISTERS)),
    tables.projects: (
        *(*ProjectKey._fields, "revision", "registered_stamp", "withdrawn_stamp"),
        *_register_columns(_PROJECT_REGISTERS),
    ),
    tables.sites: (*SiteKey._fields, "revision"),
    tables.milestones: (
        *(*MilestoneKey._fields, "revision"),
        *("baseline", "baseline_stamp"),
        *("planned", "planned_stamp", "planned_amount"),
        *("estimated", "estimated_stamp", "estimated_amount"),
        *("actual", "actual_stamp", "actual_amount"),
        "cancelled_stamp",
    ),
    tables.dependencies: (*DependencyKey._fields, "revision", "lag_days", "declared_stamp", "withdrawn_stamp"),
}
_NULL_BASELINE: Final = (None, None)
_NULL_CLAIM: Final = (None, None, None)


def facts_to_rows(facts: Facts, revisions: Mapping[str, int]) -> dict[Table, Rows]:
    """Return the rows of facts, at the current revision of each programme; sorted by key, the order of row locks."""
    rows: dict[Table, list[Sequence[Any]]] = {
        tables.programmes: [
            (name, programme.registered, *_register_values(programme, _PROGRAMME_REGISTERS))
            for name, programme in sorted(facts.programmes.items())
        ],
        tables.projects: [
            (
                *(*key, revisions[key[0]], project.registered, project.withdrawn),
                *_register_values(project, _PROJECT_REGISTERS),
            )
            for key, project in sorted(facts.projects.items())
        ],
        tables.sites: [(*key, revisions[key[0]]) for key in sorted(facts.sites)],
        tables.milestones: [
            _milestone_row(key, milestone, revisions[key[0]]) for key, milestone in sorted(facts.milestones.items())
        ],
        tables.dependencies: [
            (
                *(*key, revisions[key[0]]),
                *((claims.declared.value, claims.declared.stamp) if claims.declared else (None, None)),
                claims.withdrawn,
            )
            for key, claims in sorted(facts.dependencies.items())
        ],
    }
    return {table: Rows(_COLUMNS[table], values) for table, values in rows.items()}


def _register_values(owner: ProjectClaims | ProgrammeClaims, names: Sequence[str]) -> Iterator[Any]:
    for name in names:
        register: Register[Any] | None = getattr(owner, name)
        yield from (register.value, register.stamp) if register else (None, None)


def _milestone_row(key: MilestoneKey, milestone: MilestoneClaims, revision: int) -> Sequence[Any]:
    # Written out, because it runs for nearly every event.
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


def changed_since_condition(
    programme: ColumnElement[str], revision: ColumnElement[int | None], count: int
) -> ColumnElement[bool]:
    """Return a condition for rows of `count` programmes written after a revision of each.

    Its parameters are those of `changed_since_parameters`, so that a query can be built once and cached: building it
    costs more than executing it for a few rows, and every recalculation needs several.
    """
    return or_(
        *(
            (programme == bindparam(f"programme_{number}")) & (revision > bindparam(f"revision_{number}"))
            for number in range(count)
        )
    )


def changed_since_parameters(since: Mapping[str, int]) -> dict[str, Any]:
    """Return the parameters of `changed_since_condition` for a revision of each programme."""
    parameters: dict[str, Any] = {}
    for number, (programme, revision) in enumerate(since.items()):
        parameters[f"programme_{number}"], parameters[f"revision_{number}"] = programme, revision
    return parameters


#: Returns the rows of a table, with its `_COLUMNS`.
_SelectRows = Callable[[Table], Sequence[Any]]

#: Rows that the driver converts to Python objects at once: some milliseconds.
_FETCH_SIZE: Final = 500
#: The revision before the first.
FROM_START: Final = -1


class ChangedFacts(NamedTuple):
    """The facts written after a revision of each programme."""

    facts: Facts
    #: The newest revision of these rows, by programme and project.
    newest_revisions: Mapping[tuple[str, ...], int]


def load_facts(connection: Connection, programmes: Sequence[str] | None = None) -> Facts:
    """Return the facts of some programmes, or of all."""

    def select_rows(table: Table) -> Sequence[Any]:
        query = _select_columns(table)
        return connection.execute(query if programmes is None else query.where(table.c.programme.in_(programmes))).all()

    return _build_facts(select_rows, {})


def load_changed_since(connection: Connection, since: Mapping[str, int]) -> ChangedFacts:
    """Return the facts written after a revision of each programme; registered attributes of programmes always.

    Facts that a retraction removed are not among them: see `ledger.read_retractions`.
    """
    newest_revisions: dict[tuple[str, ...], int] = {}
    if not since:
        return ChangedFacts(Facts(), newest_revisions)
    parameters = changed_since_parameters(since)
    unchanged = set()
    if FROM_START not in since.values():
        # Most events report milestones: one query instead of three that usually return no row.
        [changed] = connection.execute(_select_has_changed_since(len(since)), parameters)
        unchanged = {table for table, has_changed in zip(_RARELY_CHANGED, changed, strict=True) if not has_changed}

    def select_rows(table: Table) -> Sequence[Any]:
        if table is tables.programmes:
            return connection.execute(_select_columns(table).where(table.c.programme.in_(since))).all()
        if table in unchanged:
            return ()
        return _fetch_in_chunks(connection.execute(_select_changed_since(table, len(since)), parameters))

    return ChangedFacts(_build_facts(select_rows, newest_revisions), newest_revisions)


def _fetch_in_chunks(result: Result[*tuple[Any, ...]]) -> Sequence[Any]:
    # The driver holds the GIL while it converts the rows of one call.
    rows: list[Any] = []
    while chunk := result.fetchmany(_FETCH_SIZE):
        rows += chunk
    return rows


_RARELY_CHANGED: Final = (tables.projects, tables.sites, tables.dependencies)


@lru_cache(maxsize=64)
def _select_has_changed_since(count: int) -> Select[*tuple[Any, ...]]:
    return select(
        *(
            exists().where(changed_since_condition(table.c.programme, table.c.revision, count))
            for table in _RARELY_CHANGED
        )
    )


@lru_cache(maxsize=64)
def _select_changed_since(table: Table, count: int) -> Select[Any]:
    return _select_columns(table).where(changed_since_condition(table.c.programme, table.c.revision, count))


def _select_columns(table: Table) -> Select[Any]:
    return select(*(table.c[name] for name in _COLUMNS[table]))


def _build_facts(select_rows: _SelectRows, newest_revisions: dict[tuple[str, ...], int]) -> Facts:
    facts = Facts()

    def track_revision(project: tuple[str, ...], revision: int) -> None:
        if revision > newest_revisions.get(project, FROM_START):
            newest_revisions[project] = revision

    for name, registered, *registers in select_rows(tables.programmes):
        # The row exists from the first event on; only a registration makes it a fact.
        if registered is not None:
            facts.programmes[name] = programme_claims = ProgrammeClaims(registered=registered)
            _set_registers(programme_claims, _PROGRAMME_REGISTERS, registers)
    for programme, project, revision, registered, withdrawn, *registers in select_rows(tables.projects):
        facts.projects[ProjectKey(programme, project)] = project_claims = ProjectClaims(
            registered=registered, withdrawn=withdrawn
        )
        _set_registers(project_claims, _PROJECT_REGISTERS, registers)
        track_revision((programme, project), revision)
    for programme, project, site, revision in select_rows(tables.sites):
        facts.sites.add(SiteKey(programme, project, site))
        track_revision((programme, project), revision)
    for programme, project, milestone, revision, *claims, cancelled in select_rows(tables.milestones):
        (
            baseline,
            baseline_stamp,
            planned,
            planned_stamp,
            planned_amount,
            estimated,
            estimated_stamp,
            estimated_amount,
            actual,
            actual_stamp,
            actual_amount,
        ) = claims
        facts.milestones[MilestoneKey(intern(programme), intern(project), intern(milestone))] = MilestoneClaims(
            None if baseline_stamp is None else Claim(baseline_stamp, baseline),
            None if planned_stamp is None else Claim(planned_stamp, planned, _to_money(planned_amount)),
            None if estimated_stamp is None else Claim(estimated_stamp, estimated, _to_money(estimated_amount)),
            None if actual_stamp is None else Claim(actual_stamp, actual, _to_money(actual_amount)),
            cancelled,
        )
        track_revision((programme, project), revision)
    for *key, revision, lag_days, declared, withdrawn in select_rows(tables.dependencies):
        facts.dependencies[DependencyKey(*map(intern, key))] = DependencyClaims(
            None if declared is None else Register(declared, lag_days), withdrawn
        )
        track_revision((key[0], key[1]), revision)
    return facts


def _set_registers(owner: ProjectClaims | ProgrammeClaims, names: Sequence[str], columns: Sequence[Any]) -> None:
    for name, value, stamp in zip(names, columns[::2], columns[1::2], strict=True):
        if stamp is not None:
            setattr(owner, name, Register(Stamp(stamp), _to_money(value) if name == "investment" else value))


def _to_money(amount: Any) -> Money | None:  # noqa: ANN401 - JSON
    return None if amount is None else msgspec.convert(amount, Money)
