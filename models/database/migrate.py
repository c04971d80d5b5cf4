"""Creates and upgrades the schema with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from models.data_folder import make_folder
from models.database.engine import MISSING_RIGHT_SQLSTATES, DatabaseError, driver_message, redacted_url, sqlite_file


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables; creates a SQLite file. Idempotent. Raises `DatabaseError` when that fails."""
    _create_sqlite_file(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    try:
        # Not `write_transaction`: its check of the schema would hide the error that is reported below.
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                # The second of two concurrent migrations waits; SQLite's write transaction has the same effect.
                connection.execute(select(func.pg_advisory_xact_lock(0x4D494C45504F5354)))  # any constant is good
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
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


def _create_sqlite_file(engine: Engine) -> None:
    if (file := sqlite_file(engine)) is None or file.exists():
        return
    try:
        make_folder(file.parent)
        file.touch()
    except OSError as error:
        raise DatabaseError(f"database {redacted_url(engine)} cannot be created: {error.strerror}") from None
