"""Faults of what the database keeps: no room left, an older copy put in its place, another one in its place."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from models.database import tables
from models.database.engine import connect, writing
from models.database.migrate import migrate
from tests.faults.fault import Fault
from tests.faults.scene import Scene, measured
from tests.faults.small_disk import SmallDisk, small_disk
from tests.workers import wait_until

_NAMES = [table.name for table in tables.metadata.sorted_tables]


def _be_full(disk: SmallDisk, said: str, scene: Scene) -> None:
    disk.fill()
    try:
        wait_until(lambda: said in scene.workers[0].log, "the worker is told that there is no room")
        time.sleep(scene.rng.uniform(3, 6))
        assert scene.workers[0].process.poll() is None
    finally:
        disk.free()


def fill_the_disk_of_sqlite(scene: Scene) -> float:
    """Leave no room on the file system that the database file is on."""
    assert scene.engine.url.database is not None
    _be_full(SmallDisk(Path(scene.engine.url.database).parent), "database or disk is full", scene)
    return measured(scene)


def fill_the_disk_of_postgresql(scene: Scene) -> float:
    """Leave no room on the file system that the ledger is on."""
    server = scene.postgresql.folder.stat().st_uid
    own = create_engine(scene.engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with small_disk(64, server) as disk, own.connect() as connection:
        space = disk.folder / "space"
        space.mkdir()
        os.chown(space, server, -1)
        connection.execute(text(f"CREATE TABLESPACE small LOCATION '{space}'"))
        try:
            _move_the_ledger(scene, "small")
            _be_full(disk, "No space left on device", scene)
            recovery = measured(scene)
        finally:
            _move_the_ledger(scene, "pg_default")
            connection.execute(text("DROP TABLESPACE small"))
    return recovery


def _move_the_ledger(scene: Scene, space: str) -> None:
    with writing(scene.engine) as connection:
        connection.execute(text(f"ALTER TABLE ledger SET TABLESPACE {space}"))


def restore_an_older_copy(scene: Scene) -> float:
    """Put a copy that is some seconds old in the place of all there is, under a worker that writes."""
    with scene.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        for name in _NAMES:
            connection.execute(text(f"CREATE TABLE older_{name} AS TABLE {name}"))
        connection.commit()
    time.sleep(scene.rng.uniform(3, 6))

    def restored() -> bool:
        with suppress(DBAPIError), writing(scene.engine) as connection:  # a deadlock with a batch: once more
            connection.execute(text(f"TRUNCATE {', '.join(_NAMES)}"))
            for name in _NAMES:
                connection.execute(text(f"INSERT INTO {name} SELECT * FROM older_{name}"))  # noqa: S608 - our own
                connection.execute(text(f"DROP TABLE older_{name}"))
            return True
        return False

    before = scene.recorded
    wait_until(restored, "the copy is in place")
    assert scene.recorded < before
    return measured(scene)


def make_anew(scene: Scene) -> float:
    """Delete the database, and put an empty one in its place."""
    name = scene.engine.url.database
    empty = scene.engine.url.set(database=f"{name}_new")
    admin = create_engine(scene.engine.url.set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {empty.database} TEMPLATE template0 ENCODING 'UTF8'"))
        engine = connect(empty.render_as_string(hide_password=False))
        migrate(engine)
        engine.dispose()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        time.sleep(scene.rng.uniform(0, 2))
        connection.execute(text(f"ALTER DATABASE {empty.database} RENAME TO {name}"))
    return measured(scene)


FAULTS: Mapping[str, Fault] = {
    "no room on the disk of a SQLite file": Fault(fill_the_disk_of_sqlite, database="small"),
    "no room on the disk that PostgreSQL's ledger is on": Fault(fill_the_disk_of_postgresql),
    "the database restored from an older copy": Fault(restore_an_older_copy),
    "the database deleted, and made anew": Fault(make_anew),
}
