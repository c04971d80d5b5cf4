"""Connections to a real PostgreSQL with TLS and passwords: who is believed, which host is taken, new passwords."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from consumers.audit import audit
from consumers.rights import Role
from deploy.cli.options import utc_now
from deploy.doctor import Finding, examine
from models.configured_engine import make_configured_engine, open_configured_engine
from models.database.engine import DatabaseError, ErrorKind, check_schema, classify_error, make_engine
from models.database.recorder import Recorder
from models.database.rights import require_table_rights
from models.settings import Settings
from tests.conftest import prepare_topics
from tests.helpers.certificates import Authority
from tests.helpers.databases import connected
from tests.helpers.event_generators import random_events
from tests.helpers.postgresql_servers import (
    DATABASE,
    HOST,
    OTHER_HOST,
    OWNER,
    PASSWORDS,
    READER,
    WORKER,
    PostgresqlServer,
    running_server,
)
from tests.helpers.recorder import count_events
from tests.helpers.workers import free_port, publish, wait_until, worker_process


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """Give a server with the roles and tables of the documentation."""
    with running_server() as server:
        server.make_installation()
        yield server


def refusal(url: str) -> str:
    """Return the one line that a command says about a database."""
    engine = make_engine(url)
    try:
        check_schema(engine)
        require_table_rights(engine)
    except DatabaseError as error:
        line = str(error)
        assert "\n" not in line
        assert not [word for word in PASSWORDS.values() if word in line]
        return line
    finally:
        engine.dispose()
    return ""


def of_hosts(url: str, *hosts: tuple[str, int], **parameters: str) -> str:
    """Return a URL with several hosts, written as libpq has them."""
    parsed = make_url(url)
    before, _, behind = url.partition(f"@{parsed.host}:{parsed.port}/")
    listed = ",".join(f"{host}:{port}" for host, port in hosts)
    return f"{before}@{listed}/{behind}" + "".join(f"&{name}={value}" for name, value in parameters.items())


def test_only_a_server_that_proves_its_name_is_believed(server: PostgresqlServer, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").certificate
    assert refusal(server.url(WORKER)) == ""
    assert "certificate verify failed" in refusal(server.url(WORKER, sslrootcert=str(stranger)))
    assert f'does not match host name "{OTHER_HOST}"' in refusal(server.url(WORKER, host=OTHER_HOST))
    missing = tmp_path / "nowhere.pem"
    assert f'root certificate file "{missing}" does not exist' in refusal(server.url(WORKER, sslrootcert=str(missing)))


def test_the_doctor_says_who_vouches_for_the_server_and_warns_where_nobody_does(server: PostgresqlServer) -> None:
    def tls(url: str) -> Finding:
        [found] = [
            each for each in examine(Settings(database=url), Role.BOARD, utc_now) if each.check == "TLS to PostgreSQL"
        ]
        assert found.is_ok
        return found

    verified, unverified = tls(server.url(READER)), tls(server.url(READER, sslmode="require", sslrootcert="/nowhere"))
    authority = make_url(server.url(READER)).query["sslrootcert"]
    assert not verified.is_warning
    assert verified.detail.startswith(f"{HOST} has a certificate of ")
    assert verified.detail.endswith(f", verified against {authority}")
    assert unverified.is_warning
    assert "nobody proved who answers: sslmode is require" in unverified.detail


def test_the_doctor_names_the_right_to_create_tables_that_init_lacks(server: PostgresqlServer) -> None:
    def rights(role: str) -> list[str]:
        found = examine(Settings(database=server.url(role), kafka="127.0.0.1:1"), Role.INIT, utc_now)
        return [each.detail for each in found if each.check == "rights on tables"]

    assert rights(OWNER) == ["CREATE"]
    [lacking] = rights(WORKER)
    assert f"role {WORKER} lacks CREATE on schema public: grant it, or run `milepost init` as" in lacking


def test_what_the_server_refuses_is_one_line(server: PostgresqlServer) -> None:
    assert "no encryption" in refusal(server.url(WORKER, sslmode="disable"))
    wrong = make_url(server.url(WORKER)).set(password="wrong").render_as_string(hide_password=False)  # noqa: S106 - of nobody
    assert f'password authentication failed for user "{WORKER}"' in refusal(wrong)
    assert 'database "nowhere" does not exist' in refusal(server.url(WORKER, "nowhere"))


def test_hosts_are_tried_in_turn_and_every_failure_is_told(server: PostgresqlServer) -> None:
    dead, other_dead = free_port(), free_port()
    url = server.url(WORKER)
    assert refusal(of_hosts(url, (HOST, dead), (HOST, server.port))) == ""
    told = refusal(of_hosts(url, (HOST, dead), (OTHER_HOST, server.port), (HOST, other_dead)))
    for part in (f"port {dead} failed", f'host name "{OTHER_HOST}"', f"port {other_dead} failed"):
        assert part in told


def test_workers_follow_the_primary_after_a_failover(kafka: str, tmp_path: Path) -> None:
    events = random_events(17, 1_200, programmes=4)
    with running_server() as primary:
        primary.make_installation()
        with running_server(standby_of=primary) as standby:
            hosts = (HOST, standby.port), (HOST, primary.port)
            # A standby takes no worker, and says why.
            assert "takes no writes, as a standby" in refusal(standby.url(WORKER))
            url = of_hosts(primary.url(WORKER), *hosts, target_session_attrs="read-write")
            assert refusal(url) == ""
            assert "takes no writes, as a standby" in refusal(of_hosts(primary.url(WORKER), *hosts))
            settings = prepare_topics(kafka, url)
            # A reader is served by the standby.
            with connected(standby.url(READER)) as connection:
                assert connection.scalar(text("SELECT pg_is_in_recovery()")) is True
            with worker_process(settings, tmp_path) as worker:
                worker.wait_until_ready()
                publish(settings, events[:600])
                with primary.connect(DATABASE) as administrator:
                    positions = "SELECT coalesce(sum(next_offset), 0) FROM positions"
                    wait_until(lambda: administrator.execute(positions).fetchone() == (600,), "the first are recorded")
                primary.process.send_signal(3)  # as in a crash: nothing more reaches the standby
                primary.process.wait(60)
                publish(settings, events[600:])
                standby.administrate("SELECT pg_promote()")
                engine = make_engine(standby.url(WORKER))
                recorder = Recorder(engine)

                def recorded() -> int:
                    return sum(recorder.read_positions(settings.events_topic).values())

                wait_until(lambda: recorded() == len(events), "the rest is recorded at the new primary")
                worker.wait_until_ready()
                assert worker.process.poll() is None
                assert "Traceback" not in worker.log_text
            assert count_events(recorder) == len(events)
            differences, summary = audit(settings, engine)
            assert (differences, summary.unread) == ([], 0)
            engine.dispose()


def write_url(file: Path, server: PostgresqlServer, password: str) -> None:
    file.write_text(make_url(server.url(WORKER)).set(password=password).render_as_string(hide_password=False) + "\n")


@contextmanager
def other_password(server: PostgresqlServer, password: str) -> Iterator[None]:
    """Change the worker's password while the block runs, and end its connections."""
    end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename LIKE 'milepost%'"
    server.administrate(f"ALTER ROLE {WORKER} PASSWORD '{password}'", end)
    try:
        yield
    finally:
        server.administrate(f"ALTER ROLE {WORKER} PASSWORD '{PASSWORDS[WORKER]}'")


def test_a_password_in_a_file_is_read_again_for_each_new_connection(server: PostgresqlServer, tmp_path: Path) -> None:
    file = tmp_path / "url"
    write_url(file, server, PASSWORDS[WORKER])
    settings = Settings(database_file=file)
    assert make_url(settings.database).password == PASSWORDS[WORKER]
    engine = make_configured_engine(settings)
    one = text("SELECT 1")
    with engine.connect() as connection:
        assert connection.scalar(one) == 1
    with other_password(server, "changed"):
        with pytest.raises(OperationalError, match="password authentication failed"):
            engine.connect()
        write_url(file, server, "changed")
        with engine.connect() as connection:
            assert connection.scalar(one) == 1
        engine.dispose()
        file.write_text("changed")
        with pytest.raises(OperationalError, match="holds no URL of a database"):
            engine.connect()
        file.unlink()
        with pytest.raises(OperationalError, match="No such file") as error:
            engine.connect()
        assert classify_error(error.value) is ErrorKind.TRANSIENT
    engine.dispose()


def test_a_password_file_of_libpq_serves_as_well(server: PostgresqlServer, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:{WORKER}:{PASSWORDS[WORKER].replace(':', chr(92) + ':')}\n")
    file.chmod(0o600)
    url = make_url(server.url(WORKER, passfile=str(file)))._replace(password=None)
    assert refusal(url.render_as_string()) == ""


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [("", ("milepost", "4MB")), ("&application_name=board&options=-c%20work_mem%3D8MB", ("board", "8MB"))],
)
def test_what_the_url_says_of_a_connection_wins(
    server: PostgresqlServer, parameters: str, expected: tuple[str, str]
) -> None:
    shown = text("SELECT current_setting('application_name'), current_setting('work_mem')")
    with (
        open_configured_engine(Settings(database=server.url(WORKER) + parameters)) as engine,
        engine.connect() as connection,
    ):
        assert tuple(connection.execute(shown).one()) == expected
