"""PostgreSQL's engine: its URL, how connections are made, and how each transaction begins.

Nothing is asked of a session that outlives a transaction, so that PgBouncer in transaction mode can stand between.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL

from models.database.postgresql import libpq_pipeline

#: What each connection is made with, unless the URL says otherwise.
_CONNECTION_PARAMETERS: Final = {
    "connect_timeout": 5,
    "application_name": "milepost",
    # A server that vanished silently is detected in 10 + 3 x 3 s, not after hours.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
#: What stands before the hosts of a URL, several hosts, and what stands behind them.
_SEVERAL_HOSTS: Final = re.compile(r"(postgres(?:ql)?(?:\+[a-z]+)?://(?:[^/?#]*@)?)([^@/?#]*,[^@/?#]*)((?:[/?].*)?)")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")


class Credentials(NamedTuple):
    """User and password of a new connection."""

    user: str | None
    password: str | None


def parse_postgresql_url(text: str) -> URL:
    """Return a SQLAlchemy URL, as `make_url` does; several hosts may stand in it as libpq has them.

    That is `//one:5432,two:5432/name` (PostgreSQL's manual, section 32.1.1.2). Raises `ArgumentError` and `ValueError`.
    """
    match = _SEVERAL_HOSTS.fullmatch(text)
    if match is None:
        return make_url(text)
    before, written, behind = match.groups()
    hosts = [_HOST.fullmatch(host) for host in written.split(",")]
    if not all(hosts):
        raise ValueError("a host or a port that cannot be one")
    names, ports = zip(*((host[1].strip("[]"), host[2] or "") for host in hosts if host), strict=True)
    query = {"host": ",".join(names)} | ({"port": ",".join(ports)} if any(ports) else {})
    return make_url(before + behind).update_query_dict(query)


def make_postgresql_engine(
    url: URL,
    lock_timeout_ms: int,
    *,
    is_prepared: bool = True,
    read_credentials: Callable[[], Credentials] | None = None,
) -> Engine:
    """Return an engine. A statement waits so long for a lock before it fails as transient.

    `read_credentials` gives user and password for each new connection, in the place of those in the URL. A `ValueError`
    of it is an error of the connection, which is made again like after every other one.
    """
    parameters = {name: value for name, value in _CONNECTION_PARAMETERS.items() if name not in url.query}
    engine = create_engine(
        url,
        pool_size=5,
        pool_pre_ping=True,
        # The locks of `recorder` keep workers apart: a stricter default of the database would only make them roll back
        # each other's batches.
        isolation_level="READ COMMITTED",
        connect_args=parameters if is_prepared else parameters | {"prepare_threshold": None},
    )
    if is_prepared:
        _prepare_nothing_behind_pools(engine)
    if read_credentials is not None:
        _use_credentials(engine, read_credentials)
    set_lock_timeout = f"SET LOCAL lock_timeout = {lock_timeout_ms}"

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # Together with the BEGIN that the driver sends before it: one round trip for both.
        with libpq_pipeline(connection):
            connection.exec_driver_sql(set_lock_timeout)

    return engine


def _use_credentials(engine: Engine, read_credentials: Callable[[], Credentials]) -> None:
    @event.listens_for(engine, "do_connect")
    def _on_connect(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        try:
            credentials = read_credentials()
        except ValueError as error:
            raise psycopg.OperationalError(str(error)) from None
        options.update(user=credentials.user, password=credentials.password)


def _prepare_nothing_behind_pools(engine: Engine) -> None:
    """Switch prepared statements off on each connection to a pool.

    A pool hands one server's connection to many clients, and each has to find its own statements there. PgBouncer
    before 1.21 does not see to that. A newer one was seen to lose count of them among pipelines and COPY: 1.25.1 waited
    for ever, or said that a statement of its own exists already.
    """

    @event.listens_for(engine, "connect")
    def _on_connect(connection: psycopg.Connection, _record: object) -> None:
        connection.autocommit = True
        answering = connection.execute("SELECT pg_backend_pid()").fetchone()
        connection.autocommit = False
        # A pool greets with a number of its own.
        if answering != (connection.info.backend_pid,):
            connection.prepare_threshold = None
