"""The roles of docs/database.md: each does its whole work with its rights, and a right that is missing is named."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consumers.audit import audit
from deploy.cli import app
from models.configured_engine import open_configured_engine
from models.database.engine import DatabaseError, check_schema, make_engine
from models.database.migrate import migrate
from models.database.rights import READER_TABLE_RIGHTS, WORKER_TABLE_RIGHTS, require_table_rights
from models.database.tables import metadata
from models.views.queries import query_transaction
from tests.conftest import prepare_topics
from tests.helpers.databases import connected
from tests.helpers.event_generators import random_events
from tests.helpers.postgresql_servers import (
    OWNER,
    PASSWORDS,
    READER,
    WORKER,
    PostgresqlServer,
    documented_scripts,
    postgresql_program,
    running_server,
)
from tests.helpers.workers import board_process, publish, wait_until, worker_process

TABLES = sorted(metadata.tables)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """Give a server with the roles and tables of the documentation."""
    with running_server() as server:
        server.make_installation()
        yield server


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """Give the name of a database with tables and rights."""
    with server.copy_of_installation() as name:
        yield name


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def refusal(url: str, needed: tuple[str, ...]) -> str:
    """Return what a process that needs these rights says at its start, without the URL."""
    engine = make_engine(url)
    try:
        check_schema(engine)
        require_table_rights(engine, needed)
    except DatabaseError as error:
        return re.sub(r"^database \S+ ?", "", str(error))
    finally:
        engine.dispose()
    return ""


@contextmanager
def without(server: PostgresqlServer, database: str, right: str, role: str) -> Iterator[None]:
    """Take a right away while the block runs."""
    server.administrate(f"REVOKE {right} FROM {role}", database=database)
    try:
        yield
    finally:
        server.administrate(f"GRANT {right} TO {role}", database=database)


def test_every_part_does_its_work_with_the_rights_of_its_role_and_shows_no_password(
    kafka: str, server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    events = random_events(11, 600, with_dependencies=True)
    settings = prepare_topics(kafka, server.url(WORKER, database))
    reader = server.url(READER, database)
    publish(settings, events)
    # In the environment alone: arguments can be seen by everybody on the machine.
    with worker_process(settings, tmp_path) as worker, board_process(reader, tmp_path) as board:
        worker.wait_until_ready()
        board.wait_until_ready()
        wait_until(lambda: worker.scrape().value("milepost_events_total") == len(events), "all events are counted")
        wait_until(lambda: "programme-0" in board.get("/")[1], "the board shows what was recorded")
        pages = [board.get("/")[1], worker.get("/")[1], worker.get("/metrics")[1], worker.get("/ready")[1]]
        arguments = Path(f"/proc/{worker.pid}/cmdline").read_text()
    with open_configured_engine(settings.model_copy(update={"database": reader})) as engine:
        differences, summary = audit(settings, engine)
    assert (differences, summary.unread) == ([], 0)
    outputs = [milepost(*command, "--database", reader) for command in (["status"], ["rebuild", "--diff"])]
    outputs.append(milepost("rebuild", "--database", server.url(WORKER, database)))
    assert [result.exit_code for result in outputs] == [0, 0, 0]
    # An owner may repeat `init`; nobody else may make a table.
    engine = make_engine(server.url(OWNER, database))
    migrate(engine)
    engine.dispose()
    shown = "".join([*pages, arguments, worker.log_text, board.log_text, server.log_text, *(r.output for r in outputs)])
    for password in PASSWORDS.values():
        assert password not in shown


def test_every_right_that_a_worker_lacks_is_named_with_its_table(server: PostgresqlServer, database: str) -> None:
    assert refusal(server.url(WORKER, database), WORKER_TABLE_RIGHTS) == ""
    for table in TABLES:
        for right in WORKER_TABLE_RIGHTS:
            with without(server, database, f"{right} ON {table}", WORKER):
                told = refusal(server.url(WORKER, database), WORKER_TABLE_RIGHTS)
            assert told == f"role {WORKER} lacks {right} on {table}: grant them to it"


def test_every_right_that_a_reader_lacks_is_named_with_its_table_by_every_command(
    server: PostgresqlServer, database: str
) -> None:
    url = server.url(READER, database)
    assert refusal(url, READER_TABLE_RIGHTS) == ""
    for table in TABLES:
        with without(server, database, f"SELECT ON {table}", READER):
            assert refusal(url, READER_TABLE_RIGHTS) == f"role {READER} lacks SELECT on {table}: grant them to it"
            engine = make_engine(url)
            with pytest.raises(DatabaseError, match=f"lacks SELECT on {table}:"), query_transaction(engine):
                pass
            engine.dispose()
    with without(server, database, "SELECT ON ledger", READER):
        for command in (["status"], ["explain", "a/b/c"], ["history", "a/b/c"], ["rebuild", "--diff"], ["audit"]):
            result = milepost(*command, "--database", url)
            [line] = result.stderr.splitlines()
            assert (result.exit_code, line.endswith(f"role {READER} lacks SELECT on ledger: grant them to it")) == (
                1,
                True,
            )


@pytest.mark.parametrize(
    ("right", "told"),
    [
        (
            "SELECT ON alembic_version",
            f"may not be read by role {WORKER}: permission denied for table alembic_version;",
        ),
        (
            "USAGE ON SCHEMA public",
            f"has no schema that role {WORKER} may use: grant USAGE on the schema of the tables",
        ),
        ("CONNECT ON DATABASE {database}", 'permission denied for database "{database}"'),
    ],
)
def test_what_comes_before_the_tables_is_named_too(
    server: PostgresqlServer, database: str, right: str, told: str
) -> None:
    with without(server, database, right.format(database=database), WORKER):
        assert told.format(database=database) in refusal(server.url(WORKER, database), WORKER_TABLE_RIGHTS)


def test_tables_of_a_newer_version_come_with_their_rights(server: PostgresqlServer, database: str) -> None:
    # What a migration does, as the owner.
    with connected(server.url(OWNER, database)) as connection:
        connection.exec_driver_sql("CREATE TABLE newer (n integer)")
    with connected(server.url(WORKER, database)) as connection:
        connection.exec_driver_sql("INSERT INTO newer VALUES (1)")
        connection.exec_driver_sql("UPDATE newer SET n = 2")
    with connected(server.url(READER, database)) as connection:
        assert connection.exec_driver_sql("SELECT n FROM newer").scalar_one() == 2


def test_neither_worker_nor_reader_makes_tables(server: PostgresqlServer, database: str) -> None:
    server.administrate("UPDATE alembic_version SET version_num = '0001'", database=database)
    for role in (WORKER, READER):
        result = milepost("init", "--database", server.url(role, database))
        [line] = result.stderr.splitlines()
        assert result.exit_code == 1
        assert f"role {role} may not create the tables: " in line
        assert line.endswith("run `milepost init` as the schema's owner, or grant USAGE, CREATE on it")


def test_a_dump_that_is_restored_as_documented_has_the_rows_and_the_rights(
    server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    server.administrate("INSERT INTO positions VALUES ('milepost.events', 0, 42)", database=database)
    dump = tmp_path / "dump"
    connection_options = [f"--host={server.folder}", f"--port={server.port}", "--username=postgres"]
    options = [*connection_options, "--format=custom", f"--file={dump}"]
    subprocess.run([postgresql_program("pg_dump"), *options, database], check=True)
    script = documented_scripts()[1].replace("milepost.dump", str(dump))
    names = {"milepost": database, "milepost_before": f"{database}_before", "milepost_restored": f"{database}_restored"}
    server.paste(re.sub(r"\bmilepost(?:_before|_restored)?\b", lambda match: names[match[0]], script))
    with connected(server.url(READER, database)) as connection:
        assert connection.exec_driver_sql("SELECT next_offset FROM positions").scalar_one() == 42
    assert refusal(server.url(WORKER, database), WORKER_TABLE_RIGHTS) == ""
    assert refusal(server.url(READER, database), READER_TABLE_RIGHTS) == ""
    server.administrate(f"DROP DATABASE {database}_before WITH (FORCE)")
