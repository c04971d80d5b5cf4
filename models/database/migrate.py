"""Creates and upgrades the schema with Alembic, while workers of the version before may run."""

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from models.data_folder import make_folder
from models.database.engine import MISSING_RIGHT_SQLSTATES, DatabaseError, driver_message, redacted_url, sqlite_file
from models.database.tables import SCHEMA_REVISION, checkpoints, positions

#: How long a migration waits for a lock of a table before it lets pass whoever came after it, and how long it then
#: stays away; and for how long it tries.
_LOCK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
_TRYING_SECONDS: Final = 120.0
#: Lock not available; deadlock: workers lock the tables in an order of their own.
_LOCKED_SQLSTATES: Final = frozenset({"55P03", "40P01"})


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables; creates a SQLite file. Idempotent. Raises `DatabaseError` when that fails."""
    _create_sqlite_file(engine)
    ends = time.monotonic() + _TRYING_SECONDS
    try:
        while not _upgrade(engine, is_last_attempt=time.monotonic() > ends):
            time.sleep(_PAUSE_SECONDS)
    except CommandError as error:
        if "locate revision" not in str(error):
            raise
        raise DatabaseError(
            f"database {redacted_url(engine)} has a schema newer than this program knows: update milepost"
        ) from None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in MISSING_RIGHT_SQLSTATES:
            raise DatabaseError(
                f"database {redacted_url(engine)}: role {engine.url.username} may not create the tables:"
                f" {driver_message(error)}; run `milepost init` as the schema's owner, or grant USAGE, CREATE on it"
            ) from None
        raise DatabaseError(f"database {redacted_url(engine)} cannot be prepared: {driver_message(error)}") from None


def _upgrade(engine: Engine, *, is_last_attempt: bool) -> bool:
    """Upgrade the tables; return whether that was possible, or raise at the last attempt."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    try:
        # Not `write_transaction`: its check of the schema would hide the error that `migrate` reports.
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                # The second of two concurrent migrations waits; SQLite's write transaction has the same effect.
                connection.execute(select(func.pg_advisory_xact_lock(0x4D494C45504F5354)))  # any constant is good
                # Whoever wants a table after a migration that waits for it waits too: workers must not wait for long.
                connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
                _exclude_writers(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        if is_last_attempt or getattr(error.orig, "sqlstate", None) not in _LOCKED_SQLSTATES:
            raise
        return False
    return True


def _exclude_writers(connection: Connection) -> None:
    """Lock what every writer locks first, before anything else: otherwise workers would be in deadlocks with this."""
    if MigrationContext.configure(connection).get_current_revision() not in {None, SCHEMA_REVISION}:
        for table in (positions, checkpoints):
            connection.execute(text(f"LOCK TABLE {table.name}"))


def _create_sqlite_file(engine: Engine) -> None:
    if (file := sqlite_file(engine)) is None or file.exists():
        return
    try:
        make_folder(file.parent)
        file.touch()
    except OSError as error:
        raise DatabaseError(f"database {redacted_url(engine)} cannot be created: {error.strerror}") from None
