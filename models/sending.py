"""What PostgreSQL is told without waiting for its answer: what is done until it has answered takes no time.

Two ways are used. `COPY` is worked on while rows still come (`models.copying`), and in libpq's pipeline mode
(PostgreSQL's manual, section 32.5) a statement is begun when it has arrived, whoever waits for it.
"""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import psycopg
from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError


def driver_of(connection: Connection) -> psycopg.Connection:
    """Return the driver's own connection to a PostgreSQL."""
    return cast("psycopg.Connection", connection.connection.driver_connection)


@contextmanager
def raising_as_statements_do(connection: Connection, what: str) -> Iterator[None]:
    """Raise what the driver raises in the block as `DBAPIError`, as SQLAlchemy does for what it executes itself."""
    try:
        yield
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(cast("DBAPIModule.Error", error), connection.connection, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            what, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


@contextmanager
def sending(connection: Connection) -> Iterator[Callable[[], None]]:
    """Only send the statements of the block; they are done when it ends, and what is wrong with them is raised then.

    Yields what is to be called when the last of them is on its way: from then on the database works by itself. Nothing
    may be asked of a statement's result, not even how many rows it was. SQLite is done with each at once.
    """
    if connection.dialect.name != "postgresql":
        yield lambda: None
        return
    driver = driver_of(connection)

    def all_sent() -> None:
        # The driver sends as much as the server takes at once, and the rest with the next statement.
        writable = select.poll()
        writable.register(driver.pgconn.socket, select.POLLOUT)
        while driver.pgconn.flush():
            writable.poll()

    with raising_as_statements_do(connection, "statements in a pipeline"), driver.pipeline():
        yield all_sent
