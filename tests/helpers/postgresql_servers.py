"""PostgreSQL as a production has it, beside the shared server of `databases`: Debian's, with TLS, passwords, a standby.

Its programs, and PgBouncer, come from Debian; without them a test is skipped, but in CI it fails.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL

from deploy.child_process import is_listening
from tests.helpers.certificates import Authority
from tests.helpers.recorder import migrated_engine
from tests.helpers.workers import free_port, wait_until

#: What docs/database.md makes.
DATABASE: Final = "milepost"
OWNER: Final = "milepost_owner"
WORKER: Final = "milepost_worker"
READER: Final = "milepost_reader"
#: With characters that a URL has to escape.
PASSWORDS: Final = {OWNER: "owner: 0@w/n?r", WORKER: "worker: w#rk%r", READER: "reader: r&ad=r"}
#: A name for which servers have certificates, and one for which they have none.
HOST: Final = "localhost"
OTHER_HOST: Final = "127.0.0.2"
_FOLDERS: Final = "/usr/lib/postgresql"
#: Whose the servers are when the tests run as root, as which neither of them starts.
_SYSTEM_USER: Final = "postgres"
#: TLS with a password for everybody but the administrator, who comes by the socket.
_ACCESS: Final = """\
local all,replication postgres trust
hostssl all,replication all 127.0.0.0/8 scram-sha-256
"""
_POOL_SETTINGS: Final = """\
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
server_tls_sslmode = verify-full
server_tls_ca_file = {authority}
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
{settings}
"""
_SERVER_SETTINGS: Final = """\
listen_addresses = '127.0.0.1,127.0.0.2'
port = {port}
unix_socket_directories = '{folder}'
ssl = on
ssl_cert_file = '{certificate}'
ssl_key_file = '{key}'
max_wal_size = 4GB
shared_buffers = 256MB
"""


def documented_scripts() -> list[str]:
    """Return the SQL of docs/database.md, in its order."""
    page = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
    return [block.partition("```")[0] for block in page.split("```sql\n")[1:]]


def _require(found: str | None, name: str, package: str) -> str:
    if found is None:
        end_test = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end_test(f"{name} is not on this machine: apt-get install {package}")
    return found


def postgresql_program(name: str) -> str:
    """Return the path of a program of Debian's newest PostgreSQL."""
    versions = sorted(Path(_FOLDERS).glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return _require(str(versions[-1]) if versions else None, f"PostgreSQL's {name}", "postgresql")


def pgbouncer_program() -> str:
    """Return the path of PgBouncer; `MILEPOST_TEST_PGBOUNCER` names another one than Debian's."""
    found = os.environ.get("MILEPOST_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
    return _require(found, "pgbouncer", "pgbouncer")


def pgbouncer_version() -> tuple[int, int]:
    """Return the version of PgBouncer."""
    told = subprocess.run([pgbouncer_program(), "--version"], check=True, capture_output=True, text=True).stdout
    major, minor = told.split()[1].split(".")[:2]
    return int(major), int(minor)


@contextmanager
def _server_folder() -> Iterator[Path]:
    """Give a folder that belongs to the user whose the servers are; its path is short, as for sockets."""
    with tempfile.TemporaryDirectory(prefix="milepost-pg-") as folder:
        _hand_over(Path(folder))
        yield Path(folder)


def _hand_over(*paths: Path) -> None:
    """Make files, or a folder, those of the user whose the servers are, and of nobody else."""
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            shutil.chown(path, _SYSTEM_USER, pwd.getpwnam(_SYSTEM_USER).pw_gid)


def _as_system_user() -> dict[str, Any]:
    return {"user": _SYSTEM_USER, "group": _SYSTEM_USER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd="/", **_as_system_user())
    try:
        yield process
    finally:
        # SIGINT ends both kinds of server without waiting for their clients.
        process.send_signal(2)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


class PostgresqlServer:
    """A server that runs, with TLS and passwords."""

    def __init__(self, folder: Path, port: int, authority: Authority, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.port, self.authority, self.process = folder, port, authority, process

    @property
    def log_text(self) -> str:
        """What the server logged."""
        return (self.folder / "log").read_text()

    def administrate(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the administrator, each by itself."""
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the administrator, by the socket."""
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)

    def url(self, role: str, database: str = DATABASE, *, port: int | None = None, **parameters: str) -> str:
        """Return the URL of a database by TLS, as the authority's certificate proves; parameters change that.

        Another port of this machine is that of a pool before the server.
        """
        query = {"sslmode": "verify-full", "sslrootcert": str(self.authority.certificate), **parameters}
        host = query.pop("host", HOST)
        url = URL.create("postgresql", role, PASSWORDS[role], host, port or self.port, database, query)
        return url.render_as_string(hide_password=False).replace("%2F", "/").replace(" ", "%20")

    def make_installation(self) -> None:
        """Make roles, database and tables as docs/database.md says, with the passwords of the tests."""
        self.make_roles()
        with migrated_engine(self.url(OWNER)):
            pass

    def make_roles(self) -> None:
        """Make roles and an empty database as docs/database.md says, with the passwords of the tests."""
        script = documented_scripts()[0]
        for role, password in PASSWORDS.items():
            script = script.replace(f"{role} LOGIN PASSWORD '…'", f"{role} LOGIN PASSWORD '{password}'")
        assert "…" not in script
        self.paste(script)

    def paste(self, script: str) -> None:
        """Let psql execute a script as the administrator."""
        # What the script itself calls finds the same server, and programs of its version.
        environment = {
            **os.environ,
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PATH": f"{Path(postgresql_program('psql')).parent}:{os.environ['PATH']}",
        }
        command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres"]
        subprocess.run(command, input=script, env=environment, check=True, text=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def copy_of_installation(self) -> Iterator[str]:
        """Give the name of a database with the tables and rights of the installation, and no rows."""
        name = f"copy_{uuid4().hex[:12]}"
        # Rights on a database, other than on what is in it, are not copied.
        self.administrate(
            f"CREATE DATABASE {name} TEMPLATE {DATABASE} OWNER {OWNER}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {name} TO {WORKER}, {READER}",
        )
        try:
            yield name
        finally:
            self.administrate(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_server(settings: str = "", standby_of: PostgresqlServer | None = None) -> Iterator[PostgresqlServer]:
    """Run a server until the block ends; a standby has the data of another one, and follows it."""
    initdb, postgres = postgresql_program("initdb"), postgresql_program("postgres")
    with _server_folder() as folder:
        data, port = folder / "data", free_port()
        authority = Authority(folder, "authority") if standby_of is None else standby_of.authority
        if standby_of is None:
            command = [
                initdb,
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--encoding=UTF8",
                f"--pgdata={data}",
            ]
        else:
            source = f"host={standby_of.folder} port={standby_of.port} user=postgres"
            command = [
                *(postgresql_program("pg_basebackup"), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
                *(f"--pgdata={data}", f"--dbname={source}"),
            ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **_as_system_user())
        server_certificate = authority.issue(f"server-{port}")
        _hand_over(*server_certificate)
        (data / "pg_hba.conf").write_text(_ACCESS)
        with (data / "postgresql.conf").open("a") as configuration:
            certificate, key = server_certificate
            configuration.write(
                _SERVER_SETTINGS.format(port=port, folder=folder, certificate=certificate, key=key) + settings
            )
        with _running([postgres, "-D", str(data)], folder / "log") as process:
            server = PostgresqlServer(folder, port, authority, process)
            wait_until(lambda: _answers(server), "the server answers")
            yield server


@contextmanager
def running_pgbouncer(server: PostgresqlServer, settings: str = "") -> Iterator[int]:
    """Run PgBouncer in transaction mode before a server, with TLS on both sides; gives its port."""
    program = pgbouncer_program()
    with _server_folder() as folder:
        port, authority = free_port(), server.authority
        issued = authority.issue(f"pool-{port}")
        _hand_over(*issued)
        (folder / "users.txt").write_text("".join(f'"{user}" "{word}"\n' for user, word in PASSWORDS.items()))
        (folder / "pgbouncer.ini").write_text(
            _POOL_SETTINGS.format(
                host=HOST,
                server_port=server.port,
                port=port,
                folder=folder,
                authority=authority.certificate,
                certificate=issued[0],
                key=issued[1],
                settings=settings,
            )
        )
        log = folder / "log"
        with _running([program, str(folder / "pgbouncer.ini")], log) as process:

            def listens() -> bool:
                assert process.poll() is None, log.read_text()
                return is_listening("127.0.0.1", port)

            wait_until(listens, "PgBouncer listens")
            yield port


def _answers(server: PostgresqlServer) -> bool:
    assert server.process.poll() is None, server.log_text
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True
