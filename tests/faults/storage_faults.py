"""Faults of what the database keeps: no room left, an older copy put in its place, another one in its place."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from models.database import tables
from models.database.engine import make_engine, write_transaction
from models.database.migrate import migrate
from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.faults.small_disk import SmallFileSystem, small_file_system
from tests.helpers.workers import wait_until

_TABLE_NAMES = [table.name for table in tables.metadata.sorted_tables]


def _fill_and_free(disk: SmallFileSystem, log_message: str, scenario: Scenario) -> None:
    disk.fill()
    try:
        wait_until(lambda: log_message in scenario.workers[0].log_text, "the worker is told that there is no room")
        time.sleep(scenario.rng.uniform(3, 6))
        assert scenario.workers[0].process.poll() is None
    finally:
        disk.free()


def fill_sqlite_disk(scenario: Scenario) -> float:
    """Leave no room on the file system that the database file is on."""
    assert scenario.engine.url.database is not None
    _fill_and_free(SmallFileSystem(Path(scenario.engine.url.database).parent), "database or disk is full", scenario)
    return measure_recovery(scenario)


def fill_postgresql_disk(scenario: Scenario) -> float:
    """Leave no room on the file system that the ledger is on."""
    server = scenario.postgresql.data_dir.stat().st_uid
    own = create_engine(scenario.engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with small_file_system(64, server) as disk, own.connect() as connection:
        space = disk.folder / "space"
        space.mkdir()
        os.chown(space, server, -1)
        connection.execute(text(f"CREATE TABLESPACE small LOCATION '{space}'"))
        try:
            _move_ledger(scenario, "small")
            _fill_and_free(disk, "No space left on device", scenario)
            recovery = measure_recovery(scenario)
        finally:
            _move_ledger(scenario, "pg_default")
            connection.execute(text("DROP TABLESPACE small"))
    return recovery


def _move_ledger(scenario: Scenario, tablespace: str) -> None:
    with write_transaction(scenario.engine) as connection:
        connection.execute(text(f"ALTER TABLE ledger SET TABLESPACE {tablespace}"))


def restore_older_copy(scenario: Scenario) -> float:
    """Put a copy that is some seconds old in the place of all there is, under a worker that writes."""
    with scenario.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        for name in _TABLE_NAMES:
            connection.execute(text(f"CREATE TABLE older_{name} AS TABLE {name}"))
        connection.commit()
    time.sleep(scenario.rng.uniform(3, 6))

    def restored() -> bool:
        with (
            suppress(DBAPIError),
            write_transaction(scenario.engine) as connection,
        ):  # a deadlock with a batch: once more
            connection.execute(text(f"TRUNCATE {', '.join(_TABLE_NAMES)}"))
            for name in _TABLE_NAMES:
                connection.execute(text(f"INSERT INTO {name} SELECT * FROM older_{name}"))  # noqa: S608 - our own
                connection.execute(text(f"DROP TABLE older_{name}"))
            return True
        return False

    before = scenario.recorded_records
    wait_until(restored, "the copy is in place")
    assert scenario.recorded_records < before
    return measure_recovery(scenario)


def recreate_database(scenario: Scenario) -> float:
    """Delete the database, and put an empty one in its place."""
    name = scenario.engine.url.database
    empty = scenario.engine.url.set(database=f"{name}_new")
    admin = create_engine(
        scenario.engine.url.set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {empty.database} TEMPLATE template0 ENCODING 'UTF8'"))
        engine = make_engine(empty.render_as_string(hide_password=False))
        migrate(engine)
        engine.dispose()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        time.sleep(scenario.rng.uniform(0, 2))
        connection.execute(text(f"ALTER DATABASE {empty.database} RENAME TO {name}"))
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    "no room on the disk of a SQLite file": Fault(fill_sqlite_disk, backend="small"),
    "no room on the disk that PostgreSQL's ledger is on": Fault(fill_postgresql_disk),
    "the database restored from an older copy": Fault(restore_older_copy),
    "the database deleted, and made anew": Fault(recreate_database),
}
