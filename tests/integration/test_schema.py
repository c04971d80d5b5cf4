"""The schema: migrations, collations, and the errors that say what to do about another schema."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text, update
from sqlalchemy.exc import OperationalError

import models.domain.events
from models.database import tables
from models.database.consistency import diff_with_ledger
from models.database.engine import (
    DatabaseError,
    check_schema,
    make_engine,
    read_transaction,
    sqlite_file,
    write_transaction,
)
from models.database.migrate import migrate
from models.database.recorder import Recorder
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    migrated_engine,
    new_recorder,
    order_independent_rows,
    plan_event,
    record_batch,
    retraction_event,
)


def head() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(Path(models.__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def test_the_schema_this_program_knows_is_the_last_migrations() -> None:
    assert head() == tables.SCHEMA_REVISION


def test_the_migrations_make_exactly_the_tables_of_the_program(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*tables.metadata.tables, "alembic_version"}
        for table in tables.metadata.sorted_tables:
            found = inspect(connection).get_columns(table.name)
            assert [column["name"] for column in found] == [column.name for column in table.c]


def test_names_sort_by_code_point_in_the_database(engine: Engine) -> None:
    names = ["ab", "a.b", "a-z", "B", "é", "🏗", "\uffff", "e\N{COMBINING ACUTE ACCENT}", "a b", "Ab"]
    recorder = new_recorder(engine)
    log = TopicLog()
    record_batch(recorder, *[log.append(plan_event(name)) for name in names])
    with read_transaction(engine) as connection:
        found = connection.scalars(select(tables.ledger.c.id).order_by(tables.ledger.c.id)).all()
    assert found == sorted(names)


def test_names_and_stamps_sort_by_code_point_whatever_the_locale_of_the_server(shared_recorder: Recorder) -> None:
    amounts = {"planned_amount", "estimated_amount", "actual_amount"}
    free_text = {"name", "investment", "jobs", "correlationid"} | amounts
    query = text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text'"
    )
    with read_transaction(shared_recorder.engine) as connection:
        found = {(table, column): collation for table, column, collation in connection.execute(query)}
    assert {column for (_, column), collation in found.items() if collation != "C"} == free_text
    assert {found["ledger", "source"], found["milestones", "baseline_stamp"], found["projects", "kind"]} == {"C"}


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    recorder = new_recorder(engine)
    record_batch(recorder, TopicLog().append(plan_event("1")))
    before = order_independent_rows(engine)
    migrate(engine)
    migrate(engine)
    check_schema(engine)
    assert order_independent_rows(engine) == before
    assert recorder.read_positions(TOPIC)[0] == 1


def test_two_processes_that_prepare_the_same_database_at_once_leave_it_ready(database_url: str) -> None:
    program = (
        "import sys\n"
        "from models.database.engine import DatabaseError, make_engine; from models.database.migrate import migrate\n"
        "engine = make_engine(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: migrate(engine)\n"
        "except DatabaseError as error: print(error)\n"
        "else: print('done')\n"
    )
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    # Whoever comes second waits, and finds it done.
    assert told == [("done\n", "")] * 2
    engine = make_engine(database_url)
    check_schema(engine)
    migrate(engine)
    engine.dispose()


def test_names_that_were_in_reports_before_milestones_had_names_count_after_the_migration(engine: Engine) -> None:
    recorder, log = new_recorder(engine), TopicLog()
    events = [plan_event(f"{number}", day=number) for number in range(1, 5)]
    for event, name in zip(events, ("Permit", "Permit \0 of the wharf", "taken back", None), strict=True):
        event["data"]["name"] = name
    record_batch(recorder, *[log.append(event) for event in (*events, retraction_event("3", day=5))])
    before = order_independent_rows(engine)
    with write_transaction(engine) as connection:
        # As the release before made it.
        for column in ("name", "name_stamp"):
            connection.execute(text(f"ALTER TABLE milestones DROP COLUMN {column}"))
        connection.execute(text("ALTER TABLE positions DROP COLUMN newest_event_ms"))
        connection.execute(
            update(tables.ledger).where(tables.ledger.c.id.in_(["1", "2", "3"])).values(digest=b"x" * 16)
        )
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    migrate(engine)
    assert order_independent_rows(engine) == before
    assert diff_with_ledger(engine) == []
    with read_transaction(engine) as connection:
        assert connection.scalars(select(tables.milestones.c.name)).all() == ["Permit \0 of the wharf"]


def engine_of_empty_database(url: str) -> Engine:
    """Return an engine on a database that exists and has no tables; an empty file is one of SQLite."""
    engine = make_engine(url)
    if (file := sqlite_file(engine)) is not None:
        file.touch()
    return engine


def complaint(engine: Engine) -> str:
    with pytest.raises(DatabaseError) as error:
        check_schema(engine)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_database_without_tables_is_reported(database_url: str) -> None:
    engine = engine_of_empty_database(database_url)
    try:
        assert complaint(engine).endswith(" has no tables yet: run `milepost init`")
    finally:
        engine.dispose()


def test_a_database_of_another_schema_is_reported(engine: Engine) -> None:
    check_schema(engine)
    for found, told in {
        "0000": f"has schema 0000, this program needs {tables.SCHEMA_REVISION}: run `milepost init`",
        "9999": f"has schema 9999, newer than {tables.SCHEMA_REVISION} which this program knows: update milepost",
    }.items():
        with write_transaction(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
        assert complaint(engine).endswith(told)
    with pytest.raises(DatabaseError, match="has a schema newer than this program knows: update milepost"):
        migrate(engine)


def test_a_half_made_schema_is_reported_and_left_as_it_was(database_url: str) -> None:
    engine = engine_of_empty_database(database_url)
    with write_transaction(engine) as connection:
        tables.ledger.create(connection)
    with pytest.raises(DatabaseError, match=r"cannot be prepared: .*ledger.*already exists") as error:
        migrate(engine)
    assert len(str(error.value).splitlines()) == 1
    assert inspect(engine).get_table_names() == ["ledger"]
    engine.dispose()


def test_a_server_that_does_not_answer_is_reported_without_its_password() -> None:
    engine = make_engine("postgresql://milepost:open-sesame@127.0.0.1:1/milepost")
    line = complaint(engine)
    assert line.startswith("database postgresql+psycopg://milepost:***@127.0.0.1:1/milepost does not answer: ")
    assert "open-sesame" not in line
    with pytest.raises(DatabaseError) as error:
        migrate(engine)
    assert "cannot be prepared" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    engine = make_engine(f"sqlite:///{tmp_path / 'folder'}")
    assert complaint(engine).endswith("does not answer: unable to open database file")


def test_a_database_that_is_not_there_is_not_created_by_reading(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'new' / 'folder' / 'x.db'}")
    assert complaint(engine) == f"there is no database at {tmp_path / 'new' / 'folder' / 'x.db'}: run `milepost init`"
    with pytest.raises(DatabaseError, match="there is no database"):
        Recorder(engine).read_positions(TOPIC)
    assert list(tmp_path.iterdir()) == []
    migrate(engine)
    check_schema(engine)
    engine.dispose()


def test_a_database_in_a_folder_that_may_only_be_read_is_read_and_nothing_is_written_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with migrated_engine(f"sqlite:///{tmp_path / 'an #odd? 100%name.db'}"):
        pass
    before = sorted(path.name for path in tmp_path.iterdir())
    # The file system would tell, but lets root write.
    monkeypatch.setattr("models.database.engine.os.access", lambda *_: False)
    engine = make_engine(f"sqlite:///{tmp_path / 'an #odd? 100%name.db'}")
    check_schema(engine)
    with pytest.raises(OperationalError, match="readonly"), write_transaction(engine) as connection:
        connection.execute(text("DELETE FROM positions"))
    engine.dispose()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_database_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = make_engine(f"sqlite:///{tmp_path / 'file' / 'x.db'}")
    assert complaint(engine).endswith("cannot be opened: Not a directory")
    with pytest.raises(DatabaseError, match="cannot be"):
        migrate(engine)


@pytest.mark.parametrize("folder", [".milepost", "new/.milepost/sub"])
def test_the_data_folder_of_a_database_is_for_its_owner_alone(folder: str, tmp_path: Path) -> None:
    (tmp_path / ".milepost").mkdir(mode=0o755)
    with migrated_engine(f"sqlite:///{tmp_path / folder / 'x.db'}"):
        [data_folder] = [each for each in (tmp_path / folder / "x.db").parents if each.name == ".milepost"]
        assert data_folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_name_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    with migrated_engine(f"sqlite:///{tmp_path / 'shared' / 'x.db'}"):
        assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk\n" * 1000)
    engine = make_engine(f"sqlite:///{tmp_path / 'notes.txt'}")
    assert complaint(engine).endswith("does not answer: file is not a database")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "MILEPOST_DATABASE is no SQLAlchemy URL"),
        ("", "MILEPOST_DATABASE is no SQLAlchemy URL"),
        ("mysql://host/name", "MILEPOST_DATABASE: mysql is neither sqlite nor postgresql"),
        ("postgresql+asyncpg://host/name", "MILEPOST_DATABASE: postgresql+asyncpg is neither sqlite nor postgresql"),
    ],
)
def test_a_url_that_cannot_work_is_reported(url: str, told: str) -> None:
    with pytest.raises(DatabaseError) as error:
        make_engine(url)
    assert str(error.value).startswith(told)
    assert len(str(error.value).splitlines()) == 1


def test_a_sqlite_file_that_was_removed_or_replaced_takes_no_more_writes(tmp_path: Path) -> None:
    file = tmp_path / "milepost.db"
    for what in ("removed", "replaced"):
        engine = make_engine(f"sqlite:///{file}")
        migrate(engine)
        recorder = Recorder(engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})
        # Kept elsewhere, so that a new file cannot come to the same place on the disk.
        file.rename(tmp_path / f"{what}.db")
        if what == "replaced":
            file.touch()
        with pytest.raises(DatabaseError) as error:
            recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})

        assert str(error.value) == (
            f"database sqlite:///{file} was {what} while it was in use: run `milepost init`, then start again"
        )
        engine.dispose()
        file.unlink(missing_ok=True)
