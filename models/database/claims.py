"""Winning claims in SQL: facts to rows, and rows to facts, of whole programmes or since a revision of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import chain
from sys import intern
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Result,
    Select,
    Table,
    Text,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.sql.dml import ReturningInsert

from models.database import tables
from models.database.postgresql import array_parameter, is_postgresql
from models.database.upsert import Rows, chunked, insert_into
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

_PROGRAMME_REGISTERS: Final = ("name", "investment", "jobs")
_PROJECT_REGISTERS: Final = ("name", "kind", "site", "investment", "jobs")


def _register_columns(names: Sequence[str]) -> Iterator[str]:
    return chain.from_iterable((f"{name}_stamp", name) for name in names)


#: The columns of each table, in the order in which rows are written and read here: those of a claim or a register in
#: the order of its fields.
_COLUMNS: Final[Mapping[Table, Sequence[str]]] = {
    tables.programmes: ("programme", "registered_stamp", *_register_columns(_PROGRAMME_REGISTERS)),
    tables.projects: (
        *(*ProjectKey._fields, "revision", "registered_stamp", "withdrawn_stamp"),
        *_register_columns(_PROJECT_REGISTERS),
    ),
    tables.sites: (*SiteKey._fields, "revision"),
    tables.milestones: (
        *(*MilestoneKey._fields, "revision", "cancelled_stamp", "baseline_stamp", "baseline"),
        *("planned_stamp", "planned", "planned_amount"),
        *("estimated_stamp", "estimated", "estimated_amount"),
        *("actual_stamp", "actual", "actual_amount", "name_stamp", "name"),
    ),
    tables.dependencies: (*DependencyKey._fields, "revision", "withdrawn_stamp", "declared_stamp", "lag_days"),
}
_SELECT: Final = {table: select(*(table.c[name] for name in names)) for table, names in _COLUMNS.items()}
_NULL_REGISTER: Final = (None, None)
_NULL_CLAIM: Final = (None, None, None)


def facts_to_rows(facts: Facts, revisions: Mapping[str, int]) -> dict[Table, Rows]:
    """Return the rows of facts, at the current revision of each programme; sorted by key, the order of row locks."""
    rows: dict[Table, list[Sequence[Any]]] = {
        tables.programmes: [
            (name, claims.registered, *_register_values(claims, _PROGRAMME_REGISTERS))
            for name, claims in sorted(facts.programmes.items())
        ],
        tables.projects: [
            (
                *key,
                revisions[key[0]],
                claims.registered,
                claims.withdrawn,
                *_register_values(claims, _PROJECT_REGISTERS),
            )
            for key, claims in sorted(facts.projects.items())
        ],
        tables.sites: [(*key, revisions[key[0]]) for key in sorted(facts.sites)],
        # Written out, because it runs for nearly every event.
        tables.milestones: [
            key
            + (revisions[key[0]], claims.cancelled)
            + (baseline[:2] if (baseline := claims.baseline) else _NULL_REGISTER)
            + (claims.planned or _NULL_CLAIM)
            + (claims.estimated or _NULL_CLAIM)
            + (claims.actual or _NULL_CLAIM)
            + (claims.name or _NULL_REGISTER)
            for key, claims in _sorted_by_key(facts.milestones)
        ],
        tables.dependencies: [
            (*key, revisions[key[0]], claims.withdrawn, *(claims.declared or _NULL_REGISTER))
            for key, claims in sorted(facts.dependencies.items())
        ],
    }
    return {table: Rows(_COLUMNS[table], values) for table, values in rows.items()}


def _sorted_by_key(milestones: Mapping[MilestoneKey, MilestoneClaims]) -> list[tuple[MilestoneKey, MilestoneClaims]]:
    # No slug holds a tab, or anything that sorts before it; one text is compared several times as fast as three.
    return sorted(milestones.items(), key=lambda item: "\t".join(item[0]))


def _register_values(claims: ProgrammeClaims, names: Sequence[str]) -> Iterator[Any]:
    return chain.from_iterable(getattr(claims, name) or _NULL_REGISTER for name in names)


def changed_since_condition(
    programme: ColumnElement[str], revision: ColumnElement[int | None], count: int
) -> ColumnElement[bool]:
    """Return a condition for rows of `count` programmes, `MAX_CONDITIONS` at most, written after a revision of each.

    Its parameters are those of `changed_since_parameters`, so that a query can be built once and cached: building it
    costs more than executing it for a few rows, and every recalculation needs several.
    """
    conditions = (
        (programme == bindparam(f"programme_{number}")) & (revision > bindparam(f"revision_{number}"))
        for number in range(count)
    )
    return or_(*conditions)


def changed_since_parameters(since: Mapping[str, int]) -> dict[str, Any]:
    """Return the parameters of `changed_since_condition` for a revision of each programme."""
    parameters: dict[str, Any] = {}
    for number, (programme, revision) in enumerate(since.items()):
        parameters[f"programme_{number}"], parameters[f"revision_{number}"] = programme, revision
    return parameters


#: How many programmes one query takes a revision of each of. Queries of every number of them are cached, compiled too:
#: without a limit, a crowd of programmes would fill the memory with queries.
MAX_CONDITIONS: Final = 16
#: Rows that the driver converts to Python objects at once, holding the GIL: some milliseconds.
_FETCH_SIZE: Final = 500
#: The revision before the first.
FROM_START: Final = -1
_RARELY_CHANGED: Final = (tables.projects, tables.sites, tables.dependencies)


class ChangedFacts(NamedTuple):
    """The facts written after a revision of each programme."""

    facts: Facts
    #: The newest revision of these rows, by programme and project.
    newest_revisions: Mapping[tuple[str, str], int]


def read_revisions(connection: Connection) -> dict[str, int]:
    """Return the revision of every programme: the number of batches that changed it."""
    return dict(connection.execute(select(tables.programmes.c.programme, tables.programmes.c.revision)).all())


def increment_revisions(connection: Connection, programmes: Sequence[str]) -> dict[str, int]:
    """Raise the revisions of programmes by one, and return them; locks the programmes' rows in the given order."""
    is_text = not is_postgresql(connection)
    names = msgspec.json.encode(programmes).decode() if is_text else programmes
    return dict(connection.execute(_increment_revisions_statement(connection.dialect.name), {"names": names}).all())


@lru_cache(maxsize=2)
def _increment_revisions_statement(dialect: str) -> ReturningInsert[str, int]:
    # One parameter for all names: with a row of parameters for each, SQLAlchemy and the driver would write and parse a
    # new statement for every batch.
    table = tables.programmes
    if dialect == "postgresql":
        rows = select(func.unnest(array_parameter("names", table.c.programme.type)), literal_column("1"))
    else:
        each = func.json_each(bindparam("names", type_=Text)).table_valued("value")
        # Without a condition, SQLite would take the ON of ON CONFLICT for that of a join.
        rows = select(each.c.value, literal_column("1")).where(true())
    insert = insert_into(table, dialect).from_select(["programme", "revision"], rows)
    upsert = insert.on_conflict_do_update(index_elements=[table.c.programme], set_={"revision": table.c.revision + 1})
    return upsert.returning(table.c.programme, table.c.revision)


def load_facts(connection: Connection, programmes: Sequence[str] | None = None) -> Facts:
    """Return the facts of some programmes, or of all."""

    def select_rows(table: Table) -> Iterable[Any]:
        query = _SELECT[table]
        return connection.execute(query if programmes is None else query.where(table.c.programme.in_(programmes)))

    return _build_facts(select_rows).facts


def load_changed_since(connection: Connection, since: Mapping[str, int]) -> ChangedFacts:
    """Return the facts written after a revision of each programme; registered attributes of programmes always.

    Facts that a retraction removed are not among them: see `ledger.read_retractions`.
    """
    if not since:
        return ChangedFacts(Facts(), {})
    new = [name for name, revision in since.items() if revision == FROM_START]
    #: The parameters of queries, each with the tables that have no changes.
    known: list[tuple[int, dict[str, Any], set[Table]]] = []
    for part in chunked([item for item in since.items() if item[1] != FROM_START], MAX_CONDITIONS):
        parameters = changed_since_parameters(dict(part))
        # Most events report milestones: one query instead of three that usually return no row.
        [changed] = connection.execute(_select_has_changed_since(len(part)), parameters)
        unchanged = {table for table, has_changed in zip(_RARELY_CHANGED, changed, strict=True) if not has_changed}
        known.append((len(part), parameters, unchanged))

    def select_rows(table: Table) -> Iterator[Any]:
        if table is tables.programmes or new:
            names = since if table is tables.programmes else new
            yield from _fetch(connection.execute(_SELECT[table].where(table.c.programme.in_(names))))
        if table is not tables.programmes:
            for count, parameters, unchanged in known:
                if table not in unchanged:
                    yield from _fetch(connection.execute(_select_changed_since(table, count), parameters))

    return _build_facts(select_rows)


def load_announced_projects(
    connection: Connection, programmes: Sequence[str]
) -> dict[str, dict[ProjectKey, ProjectClaims]]:
    """Return by programme the claims about those projects whose investment or jobs somebody announced."""
    columns = tables.projects.c
    is_announced = or_(columns.investment_stamp.is_not(None), columns.jobs_stamp.is_not(None))
    query = _SELECT[tables.projects].where(columns.programme.in_(programmes), is_announced)
    projects: dict[str, dict[ProjectKey, ProjectClaims]] = {name: {} for name in programmes}
    for programme, project, _, registered, withdrawn, *registers in connection.execute(query):
        claims = ProjectClaims(registered, withdrawn=withdrawn, **_to_registers(_PROJECT_REGISTERS, registers))
        projects[programme][ProjectKey(programme, project)] = claims
    return projects


def _fetch(rows: Result[Any]) -> Iterator[Any]:
    return chain.from_iterable(rows.partitions(_FETCH_SIZE))


@lru_cache(maxsize=64)
def _select_has_changed_since(count: int) -> Select[*tuple[Any, ...]]:
    conditions = (changed_since_condition(table.c.programme, table.c.revision, count) for table in _RARELY_CHANGED)
    return select(*(exists().where(condition) for condition in conditions))


@lru_cache(maxsize=64)
def _select_changed_since(table: Table, count: int) -> Select[Any]:
    return _SELECT[table].where(changed_since_condition(table.c.programme, table.c.revision, count))


def _build_facts(select_rows: Callable[[Table], Iterable[Any]]) -> ChangedFacts:
    facts, newest_revisions = Facts(), dict[tuple[str, str], int]()

    def track_revision(programme: str, project: str, revision: int) -> None:
        if revision > newest_revisions.get((programme, project), FROM_START):
            newest_revisions[programme, project] = revision

    for name, registered, *columns in select_rows(tables.programmes):
        # The row exists from the first event on; only a registration makes it a fact.
        if registered is not None:
            facts.programmes[name] = ProgrammeClaims(registered, **_to_registers(_PROGRAMME_REGISTERS, columns))
    for programme, project, revision, registered, withdrawn, *columns in select_rows(tables.projects):
        registers = _to_registers(_PROJECT_REGISTERS, columns)
        facts.projects[ProjectKey(programme, project)] = ProjectClaims(registered, withdrawn=withdrawn, **registers)
        track_revision(programme, project, revision)
    for programme, project, site, revision in select_rows(tables.sites):
        facts.sites.add(SiteKey(programme, project, site))
        track_revision(programme, project, revision)
    for programme, project, milestone, revision, cancelled, *columns in select_rows(tables.milestones):
        b_stamp, baseline, p_stamp, planned, p_amount, e_stamp, estimated, e_amount, a_stamp, *others = columns
        actual, a_amount, n_stamp, name = others
        plan = None if p_stamp is None else Claim(p_stamp, _shared(planned), _to_money(p_amount))
        if b_stamp == p_stamp and p_amount is None:
            first_plan = plan
        else:
            first_plan = None if b_stamp is None else Claim(b_stamp, _shared(baseline))
        facts.milestones[MilestoneKey(intern(programme), intern(project), intern(milestone))] = MilestoneClaims(
            first_plan,
            plan,
            None if e_stamp is None else Claim(e_stamp, _shared(estimated), _to_money(e_amount)),
            None if a_stamp is None else Claim(a_stamp, _shared(actual), _to_money(a_amount)),
            cancelled,
            None if n_stamp is None else Register(n_stamp, name),
        )
        track_revision(programme, project, revision)
    for *key, revision, withdrawn, stamp, lag_days in select_rows(tables.dependencies):
        declared = None if stamp is None else Register(stamp, lag_days)
        facts.dependencies[DependencyKey(*map(intern, key))] = DependencyClaims(declared, withdrawn)
        track_revision(key[0], key[1], revision)
    return ChangedFacts(facts, newest_revisions)


@lru_cache(maxsize=4096)
def _shared(day: date) -> date:
    """Return one object for equal dates: a worker holds hundreds of thousands, of a few thousand days."""
    return day


def _to_registers(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Register[Any]]:
    return {
        name: Register(stamp, _to_money(value) if name == "investment" else value)
        for name, stamp, value in zip(names, columns[::2], columns[1::2], strict=True)
        if stamp is not None
    }


def _to_money(amount: Any) -> Money | None:  # noqa: ANN401 - JSON
    return None if amount is None else msgspec.convert(amount, Money)
