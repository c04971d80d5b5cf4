"""What changes under a running worker: it catches up by itself, or stops with a line that says what to do."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from sqlalchemy import delete

from deploy.topics import ensure_topics
from models.database import tables
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.recorder import count_events, load_facts
from tests.helpers.workers import WorkerProcess, publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report


def last_line(worker: WorkerProcess) -> str:
    """Return the one line that a worker ended with by itself."""
    worker.process.wait(60)
    assert worker.process.returncode == 1, worker.log_text
    assert "Traceback" not in worker.log_text
    [line] = [line for line in worker.log_text.splitlines() if line.startswith("milepost:")]
    return line


def test_a_worker_starts_anew_when_partitions_were_added_and_says_what_is_missing(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings, store = sqlite_settings, Recorder(make_engine(sqlite_settings.database))
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
            admin.create_partitions({settings.events_topic: 6})
        wait_until(lambda: "`milepost init --partitions 6`" in worker.log_text, "the worker says what to do")
        assert f"topic {settings.events_topic} has 6 partitions and had 4 when this worker started" in worker.log_text
        assert worker.get("/ready")[0] == 0

        enlarged = settings.model_copy(update={"partitions": 6})
        ensure_topics(enlarged, enlarge=True)
        worker.wait_until_ready()

        publish(enlarged, [numbered_report(number) for number in range(60)], key_of=lambda event: event["id"].encode())
        wait_until(lambda: count_events(store) == 60, "the new partitions are read too")
        wait_until(lambda: len(worker.scrape().labels("milepost_position")) == 6, "their positions are shown")
        assert worker.process.poll() is None
        assert worker.log_text.count("serving on") == 2
        assert "Traceback" not in worker.log_text
    store.engine.dispose()


def test_a_database_that_is_emptied_is_filled_again_although_nothing_new_comes(
    fresh_settings: Settings, tmp_path: Path
) -> None:
    settings, store = fresh_settings, Recorder(make_engine(fresh_settings.database))
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(number) for number in range(20)])
        wait_until(lambda: (worker.scrape().value("milepost_position") or 0) == 20, "all is recorded and seen")
        facts = load_facts(store)[0]
        with write_transaction(store.engine) as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(delete(table))
        wait_until(lambda: count_events(store) == 20, "all is recorded again")

        assert load_facts(store)[0] == facts
        assert worker.process.poll() is None
        assert "went back" in worker.log_text
    store.engine.dispose()


def test_a_sqlite_file_that_is_removed_stops_a_worker_before_it_writes_where_nobody_reads(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings = sqlite_settings
    file = Path(settings.database.removeprefix("sqlite:///"))
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        file.unlink()

        line = last_line(worker)

    assert f"database {settings.database} was removed while it was in use: run `milepost init`" in line
    assert not file.exists()


def test_tables_that_are_gone_stop_a_worker(fresh_settings: Settings, tmp_path: Path) -> None:
    settings, engine = fresh_settings, make_engine(fresh_settings.database)
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        with write_transaction(engine) as connection:
            tables.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")

        line = last_line(worker)

    assert "has no tables yet: run `milepost init`" in line
    engine.dispose()


@pytest.mark.parametrize("name", ["ledger", "forecasts"])
def test_a_single_table_that_is_gone_stops_a_worker(fresh_settings: Settings, tmp_path: Path, name: str) -> None:
    settings, engine = fresh_settings, make_engine(fresh_settings.database)
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        with write_transaction(engine) as connection:
            connection.exec_driver_sql(f"DROP TABLE {name}")
        publish(settings, [numbered_report(1)])

        line = last_line(worker)

    assert f"and no table {name}: restore a backup" in line
    engine.dispose()


def test_a_worker_serves_on_a_topic_with_another_retention_and_says_so(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings = sqlite_settings
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        events = ConfigResource(ConfigResourceType.TOPIC, settings.events_topic, {"retention.ms": "604800000"})
        admin.alter_configs([events])
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        warnings = json.loads(worker.get("/ready")[1])["warnings"]

    [(name, problem)] = warnings.items()
    assert name == f"{settings.events_topic} retention.ms"
    assert problem.startswith("retention.ms is 604800000, not -1: Kafka deletes records that are to be kept longer; ")
    assert f"WARNING  milepost.worker: topic {settings.events_topic}: {problem}" in worker.log_text
