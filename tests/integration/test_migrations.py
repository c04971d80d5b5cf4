"""The schema is upgraded under programs of the version before: a migration only adds what they need not know."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from models.database.consistency import diff_with_ledger
from models.database.engine import DatabaseError, check_schema, make_engine, read_transaction, sqlite_file
from models.database.migrate import migrate
from tests.helpers.recorder import TOPIC, TopicLog, new_recorder, plan_event, record_batch, retraction_event
from tests.helpers.schema_versions import (
    NEWER_REVISION,
    incompatible_changes,
    make_newer_version,
    reflect_tables,
    required_row,
    revisions,
    start_migration,
    upgrade_to,
)
from tests.helpers.workers import wait_until

#: What a migration must not do, on both databases, and what is said of it.
_FORBIDDEN = {
    "DROP TABLE topics": "table topics is gone",
    "ALTER TABLE topics RENAME TO subjects": "table topics is gone",
    "ALTER TABLE projects DROP COLUMN kind": "column projects.kind is gone",
    "ALTER TABLE projects RENAME COLUMN kind TO sort": "column projects.kind is gone",
    "CREATE UNIQUE INDEX one_name ON projects (name)": "table projects has a new restriction: unique index one_name",
}
#: What SQLite cannot do.
_FORBIDDEN_IN_POSTGRESQL = {
    "ALTER TABLE projects ALTER kind TYPE varchar(9)": "column projects.kind was",
    "ALTER TABLE projects ALTER kind SET NOT NULL": "column projects.kind was",
    "ALTER TABLE projects ALTER revision DROP DEFAULT": "column projects.revision was",
    'ALTER TABLE projects ALTER kind TYPE text COLLATE "POSIX"': "column projects.kind was",
    "ALTER TABLE projects ADD COLUMN sort text NOT NULL": "column projects.sort is new, and an older program",
    "ALTER TABLE projects ADD CHECK (kind <> 'park')": "table projects has a new restriction: CheckConstraint",
    "ALTER TABLE projects ADD FOREIGN KEY (programme) REFERENCES programmes": "table projects has a new restriction",
}


@pytest.fixture
def empty_engine(database_url: str) -> Iterator[sa.Engine]:
    """Give an engine of a database without tables."""
    engine = make_engine(database_url)
    if (file := sqlite_file(engine)) is not None:
        file.touch()
    yield engine
    engine.dispose()


def changes_by_statement(engine: sa.Engine, statement: str) -> list[str]:
    """Return what is said of a change to the present tables."""
    upgrade_to(engine, "head")
    before = reflect_tables(engine)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
        connection.commit()
    return list(incompatible_changes(before, reflect_tables(engine)))


def test_each_migration_only_adds_what_the_version_before_need_not_know(empty_engine: sa.Engine) -> None:
    first, *later = revisions()
    upgrade_to(empty_engine, first)
    for revision in later:
        before = reflect_tables(empty_engine)
        upgrade_to(empty_engine, revision)
        assert list(incompatible_changes(before, reflect_tables(empty_engine))) == [], revision


@pytest.mark.parametrize("statement", _FORBIDDEN)
def test_a_change_that_the_version_before_cannot_work_with_is_found(empty_engine: sa.Engine, statement: str) -> None:
    found = changes_by_statement(empty_engine, statement)
    assert any(change.startswith(_FORBIDDEN[statement]) for change in found), found


@pytest.mark.parametrize("statement", _FORBIDDEN_IN_POSTGRESQL)
def test_a_stricter_column_or_table_is_found(postgresql_url: str, statement: str) -> None:
    engine = make_engine(postgresql_url)
    found = changes_by_statement(engine, statement)
    engine.dispose()
    assert any(change.startswith(_FORBIDDEN_IN_POSTGRESQL[statement]) for change in found), found


@pytest.mark.parametrize("complete", [False, True], ids=["what it must fill", "every column"])
def test_the_newest_schema_takes_the_rows_of_every_older_version(empty_engine: sa.Engine, *, complete: bool) -> None:
    older = {}
    for revision in revisions():
        upgrade_to(empty_engine, revision)
        older[revision] = reflect_tables(empty_engine)
    for revision, known in older.items():
        for table in known.sorted_tables:
            row = required_row(table, complete=complete)
            with empty_engine.connect() as connection, connection.begin() as transaction:
                connection.execute(sa.delete(table))
                connection.execute(sa.insert(table).values(row))
                [found] = connection.execute(sa.select(table)).mappings()
                assert row.items() <= dict(found).items(), f"{table.name} as of {revision}"
                transaction.rollback()


def test_this_version_works_on_the_schema_of_a_newer_one_and_does_not_start_on_it(
    database_url: str, tmp_path: Path
) -> None:
    engine = make_engine(database_url)
    migrate(engine)
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(recorder, log.append(plan_event("1")), log.append(plan_event("2", day=2)))
    program = start_migration(database_url, make_newer_version(tmp_path / "newer"))
    assert program.communicate(timeout=60)[0] == "done\n"
    # What runs goes on: with new events, known ones and retractions.
    record_batch(recorder, log.append(plan_event("3", day=3)), log.append(plan_event("1")))
    record_batch(recorder, log.append(retraction_event("3", day=5)))
    assert diff_with_ledger(engine) == []
    assert recorder.read_positions(TOPIC)[0] == 5
    # What starts says in one line that another version is due.
    for refused in (check_schema, migrate):
        with pytest.raises(DatabaseError, match=r"newer than .*this program knows: update milepost") as error:
            refused(engine)
        assert len(str(error.value).splitlines()) == 1
    with read_transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == NEWER_REVISION
    engine.dispose()


def test_a_migration_that_waits_for_a_lock_keeps_no_worker_waiting(postgresql_url: str, tmp_path: Path) -> None:
    engine = make_engine(postgresql_url)
    migrate(engine)
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(recorder, log.append(plan_event("0")))
    waits, ending = [0.0], threading.Event()

    def record() -> None:
        while not ending.is_set():
            began = time.monotonic()
            record_batch(recorder, log.append(plan_event(f"{began}")))
            waits.append(time.monotonic() - began)

    query = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")

    def is_waiting() -> bool:
        with read_transaction(engine) as connection:
            return bool(connection.scalar(query))

    recording = threading.Thread(target=record, daemon=True)
    with engine.connect() as reader:
        # A reader that takes its time, such as a dump.
        reader.execute(sa.text("SELECT count(*) FROM positions"))
        program = start_migration(postgresql_url, make_newer_version(tmp_path / "newer"))
        try:
            recording.start()
            for _ in range(2):
                wait_until(is_waiting, "the migration waits for the reader")
                wait_until(lambda: not is_waiting(), "the migration lets others pass")
                recorded = len(waits)
                wait_until(lambda: len(waits) > recorded, "a batch is recorded meanwhile")  # noqa: B023 - called here
        finally:
            reader.rollback()
            told = program.communicate(timeout=60)[0]
            ending.set()
            recording.join(60)
    assert told == "done\n"
    assert max(waits) < 5
    assert diff_with_ledger(engine) == []
    engine.dispose()
