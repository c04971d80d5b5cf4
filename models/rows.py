"""Facts to rows and back, and the SQL that merges two claims about the same thing as `models.milestones` does."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ARRAY,
    Case,
    Connection,
    MappingResult,
    RowMapping,
    Table,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

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

Row = dict[str, Any]
Insert = postgresql.Insert | sqlite.Insert
_AT_ONCE: Final = 500


def insert_into(table: Table, dialect: str) -> Insert:
    """Return the dialect's INSERT, the one that knows ON CONFLICT."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _winners(table: Table, statement: Insert) -> dict[str, Case[Any]]:
    """Return what each register of a table becomes when a row meets another: the winner of both."""
    new, old = statement.excluded, table.c
    winners = {}
    for column in table.c:
        if (register := column.info.get("register")) is None:
            continue
        stamp, oldest = register
        better = new[stamp] < old[stamp] if oldest else new[stamp] > old[stamp]
        wins = new[stamp].is_not(None) & or_(old[stamp].is_(None), better)
        winners[column.name] = case((wins, new[column.name]), else_=old[column.name])
    return winners


def write_rows(connection: Connection, table: Table, rows: Sequence[Row], *, merge: bool) -> int:
    """Insert rows; where a key is there already, merge its registers, or leave it. Return how many were written.

    PostgreSQL takes rows as one array for each column, one statement however many; in either database a few hundred
    at a time, because what SQLAlchemy prepares for thousands is larger than the thousands.
    """
    return sum(_write(connection, table, rows[at : at + _AT_ONCE], merge=merge) for at in range(0, len(rows), _AT_ONCE))


def _write(connection: Connection, table: Table, rows: Sequence[Row], *, merge: bool) -> int:
    names = list(rows[0])
    statement = insert_into(table, connection.dialect.name)
    parameters: Row | Sequence[Row] = rows
    if connection.dialect.name == "postgresql":
        arrays = [bindparam(f"all_{name}", type_=ARRAY(table.c[name].type)) for name in names]
        statement = statement.from_select(names, select(*(func.unnest(array) for array in arrays)))
        parameters = {f"all_{name}": [row[name] for row in rows] for name in names}
    winners = _winners(table, statement) if merge else {}
    if winners:
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=winners)
    else:
        statement = statement.on_conflict_do_nothing()
    return connection.execute(statement, parameters, execution_options={"preserve_rowcount": True}).rowcount


def rows_of(facts: Facts) -> dict[Table, list[Row]]:
    """Return the rows that hold facts, sorted by key so that two writers lock them in one order."""
    return {
        tables.programmes: [
            {
                "programme": name,
                "registered_stamp": programme.registered,
                **_registers(programme, "name", "investment", "jobs"),
            }
            for name, programme in sorted(facts.programmes.items())
        ],
        tables.projects: [
            {
                **key._asdict(),
                "registered_stamp": project.registered,
                "withdrawn_stamp": project.withdrawn,
                **_registers(project, "name", "kind", "site", "investment", "jobs"),
            }
            for key, project in sorted(facts.projects.items())
        ],
        tables.sites: [
            {"programme": programme, "project": project, "site": site}
            for programme, project, site in sorted(facts.sites)
        ],
        tables.milestones: [
            {
                **key._asdict(),
                **_claim("baseline", milestone.baseline, amount=False),
                **_claim("planned", milestone.planned),
                **_claim("estimated", milestone.estimated),
                **_claim("actual", milestone.actual),
                "cancelled_stamp": milestone.cancelled,
            }
            for key, milestone in sorted(facts.milestones.items())
        ],
        tables.dependencies: [
            {
                **key._asdict(),
                "lag_days": dependency.declared.value if dependency.declared else None,
                "declared_stamp": dependency.declared.stamp if dependency.declared else None,
                "withdrawn_stamp": dependency.withdrawn,
            }
            for key, dependency in sorted(facts.dependencies.items())
        ],
    }


def _registers(known: Project | Programme, *names: str) -> Row:
    row: Row = {}
    for name in names:
        register: Register[Any] | None = getattr(known, name)
        row[name], row[f"{name}_stamp"] = (register.value, register.stamp) if register else (None, None)
    return row


def _claim(name: str, claim: Claim | None, *, amount: bool = True) -> Row:
    row: Row = {name: claim.date if claim else None, f"{name}_stamp": claim.stamp if claim else None}
    if amount:
        row[f"{name}_amount"] = claim.amount if claim else None
    return row


def read_facts(connection: Connection, programmes: Sequence[str] | None = None) -> Facts:
    """Return the facts of some programmes, or of all."""

    def rows(table: Table) -> MappingResult:
        query = select(table)
        if programmes is not None:
            query = query.where(table.c.programme.in_(programmes))
        return connection.execute(query).mappings()

    facts = Facts()
    for row in rows(tables.programmes):
        programme = Programme(registered=row["registered_stamp"])
        _read_registers(programme, row, "name", "investment", "jobs")
        # The row is there from the first event on; only a registration names the programme by itself.
        if programme.registered is not None:
            facts.programmes[row["programme"]] = programme
    for row in rows(tables.projects):
        project = Project(registered=row["registered_stamp"], withdrawn=row["withdrawn_stamp"])
        _read_registers(project, row, "name", "kind", "site", "investment", "jobs")
        facts.projects[ProjectKey(row["programme"], row["project"])] = project
    for row in rows(tables.sites):
        facts.sites.add(SiteKey(row["programme"], row["project"], row["site"]))
    for row in rows(tables.milestones):
        facts.milestones[MilestoneKey(row["programme"], row["project"], row["milestone"])] = Milestone(
            baseline=_read_claim(row, "baseline"),
            planned=_read_claim(row, "planned"),
            estimated=_read_claim(row, "estimated"),
            actual=_read_claim(row, "actual"),
            cancelled=row["cancelled_stamp"],
        )
    for row in rows(tables.dependencies):
        declared: Stamp | None = row["declared_stamp"]
        facts.dependencies[DependencyKey(*(row[name] for name in DependencyKey._fields))] = Dependency(
            declared=None if declared is None else Register(declared, row["lag_days"]),
            withdrawn=row["withdrawn_stamp"],
        )
    return facts


def _read_registers(known: Project | Programme, row: RowMapping, *names: str) -> None:
    for name in names:
        if (stamp := row[f"{name}_stamp"]) is not None:
            value = msgspec.convert(row[name], Money) if name == "investment" else row[name]
            setattr(known, name, Register(stamp, value))


def _read_claim(row: RowMapping, name: str) -> Claim | None:
    stamp = row[f"{name}_stamp"]
    if stamp is None:
        return None
    amount = row.get(f"{name}_amount")
    return Claim(stamp, row[name], None if amount is None else msgspec.convert(amount, Money))
