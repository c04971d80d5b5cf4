"""The databases that tests get are real, fresh, and gone afterwards."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, create_engine, inspect, text

from models.database.engine import dispose_engine, make_engine
from tests.helpers.databases import DatabaseFactory


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def test_both_databases_keep_what_is_written(database_url: str) -> None:
    with connected(database_url) as connection:
        assert inspect(connection).get_table_names() == []
        connection.execute(text("CREATE TABLE milestones (name TEXT)"))
        connection.execute(text("INSERT INTO milestones VALUES ('permit-approved 🏗')"))
    with connected(database_url) as connection:
        assert connection.execute(text("SELECT name FROM milestones")).scalars().all() == ["permit-approved 🏗"]


def test_another_process_reaches_the_database_by_its_url_in_the_environment(database_url: str) -> None:
    program = (
        "import os, sqlalchemy\n"
        "engine = sqlalchemy.create_engine(os.environ['DATABASE'])\n"
        "with engine.begin() as connection: connection.execute(sqlalchemy.text('CREATE TABLE seen (n INTEGER)'))\n"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "DATABASE": database_url}, check=True)
    with connected(database_url) as connection:
        assert inspect(connection).get_table_names() == ["seen"]
    assert "%" not in database_url.partition("?")[2]


def test_two_fresh_databases_know_nothing_of_each_other(databases: DatabaseFactory, database_url: str) -> None:
    kind = database_url.partition(":")[0].partition("+")[0]
    with databases.new_database(kind) as one, databases.new_database(kind) as other:
        assert len({one, other, database_url}) == 3
        with connected(one) as connection:
            connection.execute(text("CREATE TABLE here (n INTEGER)"))
        with connected(other) as connection:
            assert inspect(connection).get_table_names() == []


def test_a_postgresql_database_goes_although_a_connection_to_it_was_left_open(
    databases: DatabaseFactory, postgresql_url: str
) -> None:
    present = text("SELECT count(*) FROM pg_database WHERE datname = :name")
    with databases.new_database("postgresql") as url:
        left = create_engine(url).connect()
        assert left.execute(present, {"name": left.engine.url.database}).scalar_one() == 1
    with connected(postgresql_url) as connection:
        assert connection.execute(present, {"name": left.engine.url.database}).scalar_one() == 0
    left.invalidate()


def test_postgresql_has_room_for_many_connections_and_keeps_its_promises(postgresql_url: str) -> None:
    with connected(postgresql_url) as connection:
        assert int(connection.execute(text("SHOW max_connections")).scalar_one()) >= 50
        assert connection.execute(text("SHOW fsync")).scalar_one() == "on"
        assert connection.execute(text("SHOW server_encoding")).scalar_one() == "UTF8"


def test_a_connection_that_a_thread_still_uses_is_closed_when_it_is_returned(postgresql_url: str) -> None:
    engine = make_engine(postgresql_url)
    with engine.connect() as connection:
        used = connection.connection.dbapi_connection
        dispose_engine(engine)
        assert connection.scalar(text("SELECT 1")) == 1

    assert isinstance(used, psycopg.Connection)
    assert used.closed
