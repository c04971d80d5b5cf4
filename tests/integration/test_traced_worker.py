"""The worker that the benchmarks watch: it is the one that users run, and tells what it does."""

from datetime import UTC, datetime
from pathlib import Path

from models.settings import Settings
from tests.benchmarks.programmes import initial_events, realistic_plan
from tests.benchmarks.trace import BatchCommitted
from tests.benchmarks.traced_worker import running_traced_worker
from tests.helpers.workers import publish


def test_the_worker_of_the_benchmarks_tells_what_it_records_and_what_it_shows(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    plan = realistic_plan("north", 20, datetime.now(UTC).date())
    count = publish(sqlite_settings, initial_events(plan))

    with running_traced_worker(sqlite_settings, tmp_path) as worker:
        worker.wait_until_recorded(count)
        worker.wait_until_shown({"north": 1})

    assert sum(batch.events for batch in worker.trace(BatchCommitted)) == count
