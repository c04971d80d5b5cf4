"""Two versions of the schema side by side: what a migration changes, and a newer version of Milepost than this one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.sql.schema import ColumnCollectionConstraint

from models.database import tables

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("models", "streams", "consumers", "deploy")
_MIGRATIONS: Final = Path("models/migrations")
#: The revision that `make_newer_version` adds.
NEWER_REVISION: Final = f"{int(tables.SCHEMA_REVISION) + 1:04}"

_SAMPLES: Final[Mapping[type, Any]] = {bool: False, int: 1, bytes: b"x", str: "x", date: date(2026, 1, 1)}

#: Everything that a migration may do to the tables of an older program.
_ALLOWED_MIGRATION: Final = f'''"""All that an expand-only migration may do."""

import sqlalchemy as sa
from alembic import op

revision = "{NEWER_REVISION}"
down_revision = "{tables.SCHEMA_REVISION}"


def upgrade() -> None:
    for name in sorted(sa.inspect(op.get_bind()).get_table_names()):
        if name != "alembic_version":
            op.add_column(name, sa.Column("later_text", sa.Text))
            op.add_column(name, sa.Column("later_number", sa.BigInteger, nullable=False, server_default="0"))
            op.create_index("ix_" + name + "_later", name, ["later_number"])
    op.create_table("later", sa.Column("name", sa.Text, primary_key=True))
'''


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_ROOT / _MIGRATIONS))
    return config


def revisions() -> list[str]:
    """Return the revisions of the migrations, the oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def upgrade_to(engine: sa.Engine, revision: str) -> None:
    """Migrate a database, which exists, up to a revision."""
    config = _config()
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def reflect_tables(engine: sa.Engine) -> sa.MetaData:
    """Return the tables as they are in a database."""
    reflected = sa.MetaData()
    reflected.reflect(engine)
    return reflected


def incompatible_changes(before: sa.MetaData, after: sa.MetaData) -> Iterator[str]:
    """Yield each change that a program which knows the tables before could not work with."""
    for table in before.sorted_tables:
        if (now := after.tables.get(table.name)) is None:
            yield f"table {table.name} is gone"
            continue
        for column in table.columns:
            if (column_now := now.columns.get(column.name)) is None:
                yield f"column {table.name}.{column.name} is gone"
            elif (was := _column_shape(column)) != (shape := _column_shape(column_now)):
                yield f"column {table.name}.{column.name} was {was} and is {shape}"
        for column in now.columns:
            is_optional = column.nullable or column.server_default is not None
            if column.name not in table.columns and not is_optional:
                yield f"column {table.name}.{column.name} is new, and an older program does not fill it"
        for what in sorted(_restrictions(now) - _restrictions(table)):
            yield f"table {table.name} has a new restriction: {what}"


def _column_shape(column: sa.Column[Any]) -> Mapping[str, Any]:
    default = column.server_default
    return {
        "type": str(column.type),
        "collation": getattr(column.type, "collation", None),
        "nullable": column.nullable,
        "default": str(default.arg) if isinstance(default, sa.DefaultClause) else None,
    }


def _restrictions(table: sa.Table) -> set[str]:
    """Return what refuses rows: keys, unique indexes, checks."""
    found = {
        f"{type(constraint).__name__} {sorted(str(column.name) for column in constraint.columns)}"
        f" {getattr(constraint, 'sqltext', '')}".rstrip()
        for constraint in table.constraints
        if isinstance(constraint, ColumnCollectionConstraint)
    }
    return found | {f"unique index {index.name}" for index in table.indexes if index.unique}


def required_row(table: sa.Table, *, complete: bool) -> dict[str, Any]:
    """Return a row as a program writes it that knows this table: what it must fill, or every column."""
    return {
        column.name: _sample_value(column.type)
        for column in table.columns
        if complete or not (column.nullable or column.server_default is not None)
    }


def _sample_value(column_type: sa.types.TypeEngine[Any]) -> Any:  # noqa: ANN401 - of whatever type
    return _SAMPLES[column_type.python_type]


def make_newer_version(folder: Path) -> dict[str, str]:
    """Copy Milepost to a folder as a version with one more migration; return the environment that runs the copy."""
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / _MIGRATIONS / "versions" / f"{NEWER_REVISION}_newer.py").write_text(_ALLOWED_MIGRATION)
    module = folder / "models/database/tables.py"
    text, said = module.read_text("utf-8"), f'SCHEMA_REVISION: Final = "{tables.SCHEMA_REVISION}"'
    assert said in text
    module.write_text(text.replace(said, f'SCHEMA_REVISION: Final = "{NEWER_REVISION}"'), "utf-8")
    # Before the place where this version is installed.
    return {"PYTHONPATH": str(folder)}


def start_migration(database_url: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process of another version that migrates a database; it prints "done", or why not."""
    program = (
        "import sys\n"
        "from models.database.engine import DatabaseError, make_engine; from models.database.migrate import migrate\n"
        "try: migrate(make_engine(sys.argv[1]))\n"
        "except DatabaseError as error: print(error)\n"
        "else: print('done')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, database_url],
        # Python looks there first.
        cwd=environment["PYTHONPATH"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
