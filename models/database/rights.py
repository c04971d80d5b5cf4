"""What a role of PostgreSQL may do with the tables. A SQLite file has no roles."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, text

from models.database import tables
from models.database.engine import DatabaseError, redacted_url

#: The rights of a worker on every table (contract, section 12).
WORKER_TABLE_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
#: Those of a process that only shows.
READER_TABLE_RIGHTS: Final = ("SELECT",)

_LACKING: Final = text(
    "SELECT named, allowed FROM unnest(CAST(:tables AS text[])) AS named, unnest(CAST(:rights AS text[])) AS allowed"
    " WHERE NOT has_table_privilege(quote_ident(named), allowed)"
)
_MAY_CREATE: Final = text("SELECT current_schema(), has_schema_privilege(quote_ident(current_schema()), 'CREATE')")


def require_table_rights(engine: Engine, needed: Sequence[str] = WORKER_TABLE_RIGHTS) -> None:
    """Raise `DatabaseError` that names every right that the role lacks, before anything needs one.

    Who needs to write is told, too, when the server is a standby.
    """
    if engine.dialect.name != "postgresql":
        return
    is_writer = set(needed) > set(READER_TABLE_RIGHTS)
    lacking: dict[str, list[str]] = defaultdict(list)
    with engine.connect() as connection:
        role = connection.scalar(text("SELECT current_user"))
        parameters = {"tables": list(tables.metadata.tables), "rights": list(needed)}
        for table, right in connection.execute(_LACKING, parameters):
            lacking[table].append(right)
        is_read_only = connection.scalar(text("SHOW transaction_read_only")) == "on"
    # Most often the same rights are missing on every table, and are named once.
    tables_by_rights: dict[str, list[str]] = defaultdict(list)
    for table, rights in lacking.items():
        tables_by_rights[", ".join(right for right in needed if right in rights)].append(table)
    if tables_by_rights:
        grants = "; ".join(f"{rights} on {', '.join(sorted(names))}" for rights, names in tables_by_rights.items())
        raise DatabaseError(f"database {redacted_url(engine)}: role {role} lacks {grants}: grant them to it")
    if is_writer and is_read_only:
        raise DatabaseError(
            f"database {redacted_url(engine)} takes no writes, as a standby: name the primary, or with several hosts"
            " target_session_attrs=read-write"
        )


def require_right_to_create_tables(engine: Engine) -> None:
    """Raise `DatabaseError` unless the role may create tables, as `milepost init` does."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        schema, is_allowed = connection.execute(_MAY_CREATE).one()
        role = connection.scalar(text("SELECT current_user"))
    if schema is None:
        problem = f"has no schema that role {role} may use: grant USAGE, CREATE on the schema of the tables"
    elif not is_allowed:
        problem = f"role {role} lacks CREATE on schema {schema}: grant it, or run `milepost init` as the schema's owner"
    else:
        return
    raise DatabaseError(f"database {redacted_url(engine)}: {problem}")
