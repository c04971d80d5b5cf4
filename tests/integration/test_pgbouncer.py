"""Through PgBouncer in transaction mode: a real one, of the version that is installed, with TLS on both sides."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import Engine, text

from consumers.audit import audit
from consumers.rights import Role
from deploy.cli.options import utc_now
from deploy.doctor import examine
from models.configured_engine import open_configured_engine
from models.database.engine import make_engine, read_transaction, write_transaction
from models.database.recorder import Recorder
from models.settings import Settings
from tests.conftest import prepare_topics
from tests.helpers.event_generators import random_events
from tests.helpers.postgresql_servers import OWNER, READER, WORKER, PostgresqlServer, running_pgbouncer, running_server
from tests.helpers.recorder import count_events, migrated_engine
from tests.helpers.workers import board_process, publish, wait_until, worker_process

#: Fewer than a server has for one worker and one board, so that each of theirs serves several clients.
_POOL_SIZE: Final = 3
#: A minute's worth, which a developer's run does not wait for.
_EVENTS: Final = 100_000 if os.environ.get("CI") == "true" else 20_000


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """Give a server with the roles and tables of the documentation."""
    with running_server() as server:
        server.make_installation()
        yield server


@pytest.fixture(scope="module")
def pool(server: PostgresqlServer) -> Iterator[int]:
    """Give the port of a PgBouncer before the server."""
    with running_pgbouncer(server, f"default_pool_size = {_POOL_SIZE}") as port:
        yield port


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """Give the name of a database with tables and rights."""
    with server.copy_of_installation() as name:
        yield name


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    engine = make_engine(url, lock_timeout_ms=4_321)
    try:
        yield engine
    finally:
        engine.dispose()


# A minute and a half on two cores that nobody else uses.
@pytest.mark.timeout(400)
def test_what_two_workers_record_through_it_is_counted_and_audited_and_equal(
    kafka: str, server: PostgresqlServer, pool: int, database: str, tmp_path: Path
) -> None:
    settings = prepare_topics(kafka, server.url(WORKER, database, port=pool))
    distinct = random_events(13, _EVENTS * 9 // 10, programmes=40, projects=20, with_dependencies=True)
    # Some again, so that some batches are not new, and COPY is refused.
    published = publish(settings, [*distinct, *distinct[: _EVENTS // 10]])
    assert published == _EVENTS
    with (
        worker_process(settings, tmp_path) as one,
        worker_process(settings, tmp_path) as other,
        board_process(server.url(READER, database, port=pool), tmp_path) as board,
        open_configured_engine(settings) as engine,
    ):
        recorder = Recorder(engine)
        wait_until(
            lambda: sum(recorder.read_positions(settings.events_topic).values()) == published, "all is recorded", 300
        )
        for process in (one, other, board):
            process.wait_until_ready()
            assert "WARNING" not in process.log_text
        assert count_events(recorder) == len(distinct)
        differences, summary = audit(settings, engine)
        assert differences == []
        assert (summary.records_read, summary.accepted, summary.duplicates) == (published, len(distinct), _EVENTS // 10)


def test_every_transaction_has_the_lock_timeout_and_leaves_none_to_the_next_client(
    server: PostgresqlServer, pool: int, database: str
) -> None:
    shown = text("SHOW lock_timeout")
    with engine_of(server.url(WORKER, database, port=pool)) as engine:
        for _ in range(20):
            with write_transaction(engine) as connection:
                assert connection.scalar(shown) == "4321ms"
            with read_transaction(engine) as connection:
                assert connection.scalar(shown) == "4321ms"
                assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    with psycopg.connect(server.url(WORKER, database, port=pool)) as other_client:
        assert other_client.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_nothing_is_prepared_where_a_pool_answers_and_something_is_where_the_server_does(
    server: PostgresqlServer, pool: int, database: str
) -> None:
    prepared = text("SELECT count(*) FROM pg_prepared_statements")
    for port, is_prepared, expected in ((None, True, True), (None, False, False), (pool, True, False)):
        engine = make_engine(server.url(WORKER, database, port=port), is_prepared=is_prepared)
        with engine.connect() as connection:
            for _ in range(10):
                connection.execute(text("SELECT 1"))
            assert (connection.scalar(prepared) != 0) is expected
        engine.dispose()


def test_the_doctor_says_that_a_pool_answers_and_whose_certificate_it_has(
    server: PostgresqlServer, pool: int, database: str
) -> None:
    settings = Settings(database=server.url(READER, database, port=pool))
    found = {each.check: each for each in examine(settings, Role.BOARD, utc_now)}
    assert all(each.is_ok and not each.is_warning for each in found.values()), found
    assert found["pool"].detail == "a pool answers, as PgBouncer is: statements are not prepared"
    assert found["TLS to PostgreSQL"].detail.startswith("localhost has a certificate of ")
    off = settings.model_copy(update={"database_prepared": False})
    found = {each.check: each for each in examine(off, Role.BOARD, utc_now)}
    assert "makes no difference" in found["pool"].detail


def test_two_clients_that_share_a_connection_of_the_server_execute_what_each_of_them_says(
    server: PostgresqlServer, database: str
) -> None:
    with (
        running_pgbouncer(server, "default_pool_size = 1") as port,
        engine_of(server.url(WORKER, database, port=port)) as one,
        engine_of(server.url(WORKER, database, port=port)) as other,
    ):
        for number in range(10):
            for engine, name in ((one, "one"), (other, "other")):
                with engine.begin() as connection:
                    # Of the same parameters, so that a statement of the other would not be noticed otherwise.
                    answer = connection.execute(text(f"SELECT '{name}', CAST(:number AS integer)"), {"number": number})
                    assert answer.one() == (name, number)


def test_the_owner_makes_the_tables_through_it(server: PostgresqlServer, pool: int, database: str) -> None:
    server.administrate("DROP SCHEMA public CASCADE", f"CREATE SCHEMA public AUTHORIZATION {OWNER}", database=database)
    with migrated_engine(server.url(OWNER, database, port=pool)) as engine:
        assert count_events(Recorder(engine)) == 0


def test_the_setting_switches_prepared_statements_off(server: PostgresqlServer, database: str) -> None:
    settings = Settings(database=server.url(WORKER, database), database_prepared=False)
    with open_configured_engine(settings) as engine, engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.prepare_threshold is None
