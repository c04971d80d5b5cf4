"""Creates and upgrades the schema with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from models.database.engine import DatabaseError, driver_message, redacted_url


def migrate(engine: Engine) -> None:
    """Create or upgrade the tables. Idempotent. Raises `DatabaseError` when that fails."""
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
        raise DatabaseError(f"database {redacted_url(engine)} cannot be prepared: {driver_message(error)}") from None
