"""A worker that is stuck ends itself and says why; one that waits for Kafka or the database does not."""

import time
from pathlib import Path

import psutil
from sqlalchemy import column, func, make_url, select, table

from deploy.kafka.broker import run_broker
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.settings import Settings
from tests.conftest import prepare_settings
from tests.helpers.recorder import count_events
from tests.helpers.workers import WorkerProcess, publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report

#: The smallest there may be.
LIMIT = 12.0


def impatient(settings: Settings) -> Settings:
    return settings.model_copy(update={"stuck_seconds": LIMIT})


def test_a_blocked_loop_ends_the_worker_with_what_everything_was_doing(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    with worker_process(impatient(sqlite_settings), tmp_path, MILEPOST_FAILPOINT="block-loop=hang@3") as worker:
        worker.process.wait(60)

        assert worker.process.returncode == 70
        assert "failpoint block-loop=hang@3 is set" in worker.log_text
        assert "the worker is stuck: the event loop did not move for 12 s" in worker.log_text
        assert "Stack for <Task" in worker.log_text
        assert "failpoints.py" in worker.log_text
        assert "Thread 0x" in worker.log_text


def test_a_recording_thread_that_hangs_ends_the_worker_and_the_next_one_reads_on(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings, store = impatient(sqlite_settings), Recorder(make_engine(sqlite_settings.database))
    with worker_process(settings, tmp_path, MILEPOST_FAILPOINT="before-commit=hang@2") as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        wait_until(lambda: count_events(store) == 1, "the first event is recorded")
        publish(settings, [numbered_report(2)])
        answers: list[tuple[int, str]] = []

        def says_so() -> bool:
            answers.append(worker.get("/live"))
            return answers[-1][0] == 503

        wait_until(says_so, "the worker says that it is not alive")
        worker.process.wait(60)

        assert worker.process.returncode == 70
        assert "did not move for 12 s" in answers[-1][1]
        assert f"the worker is stuck: {settings.events_topic}:" in worker.log_text
        assert "failpoints.py" in worker.log_text
    with worker_process(settings, tmp_path) as worker:
        wait_until(lambda: count_events(store) == 2, "the second event is read again")


def test_a_rebalance_that_does_not_end_ends_the_worker_and_the_other_takes_over(
    postgresql_settings: Settings, tmp_path: Path
) -> None:
    settings, store = impatient(postgresql_settings), Recorder(make_engine(postgresql_settings.database))
    with worker_process(settings, tmp_path, MILEPOST_FAILPOINT="before-commit=hang@2") as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        wait_until(lambda: count_events(store) == 1, "the first event is recorded")
        publish(settings, [numbered_report(2)])
        # What is in hand is to be finished before partitions are given away, and it never is.
        with worker_process(settings, tmp_path) as other:
            worker.process.wait(60)

            assert worker.process.returncode == 70
            assert "the worker is stuck: a rebalance did not move for 12 s" in worker.log_text
            wait_until(lambda: count_events(store) == 2, "the other reads the second event")
            other.wait_until_ready()
    store.engine.dispose()


def test_a_worker_outlives_a_lock_that_is_held_for_long(postgresql_settings: Settings, tmp_path: Path) -> None:
    settings, store = impatient(postgresql_settings), Recorder(make_engine(postgresql_settings.database))
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        with write_transaction(store.engine) as connection:
            connection.exec_driver_sql("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
            publish(settings, [numbered_report(1)])
            wait_until(lambda: "lock timeout" in worker.log_text, "the worker is told of the lock")
            stays_alive(worker)
        wait_until(lambda: count_events(store) == 1, "the event is recorded")
        assert worker.process.poll() is None
    store.engine.dispose()


def outlives(worker: WorkerProcess, pid: int, metric: str) -> None:
    """Stop a process for more than the limit; the worker must be there afterwards, and alive all the while."""
    stopped = psutil.Process(pid)
    family = [stopped, *stopped.children(recursive=True)]
    for one in family:
        one.suspend()
    try:
        away = wait_until(lambda: worker.scrape().value(metric) == 0, f"{metric} is 0")
        assert away < 60
        stays_alive(worker)
    finally:
        for one in reversed(family):
            one.resume()


def stays_alive(worker: WorkerProcess) -> None:
    """Look for longer than the limit: every answer must be that it is alive."""
    deadline = time.monotonic() + 1.3 * LIMIT

    def over() -> bool:
        assert worker.process.poll() is None, worker.log_text
        assert worker.get("/live")[0] == 200
        return time.monotonic() > deadline

    wait_until(over, "the limit is over")


def test_a_worker_outlives_a_kafka_that_does_not_answer(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    with run_broker(folder, report_progress=lambda _: None) as broker:
        settings = impatient(prepare_settings(broker.bootstrap_servers, f"sqlite:///{tmp_path}/milepost.db"))
        store = Recorder(make_engine(settings.database))
        with worker_process(settings, tmp_path) as worker:
            worker.wait_until_ready()
            outlives(worker, broker.pid, "milepost_kafka_up")
            publish(settings, [numbered_report(1)])
            wait_until(lambda: count_events(store) == 1, "the event is recorded")
            assert worker.process.poll() is None


def test_a_worker_outlives_connections_that_the_database_refuses(postgresql_settings: Settings, tmp_path: Path) -> None:
    settings = impatient(postgresql_settings)
    name = make_url(settings.database).database
    store = Recorder(make_engine(settings.database))
    admin = make_engine(make_url(settings.database).set(database="postgres").render_as_string(hide_password=False))
    activity = select(column("pid")).select_from(table("pg_stat_activity")).where(column("datname") == name).subquery()
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(select(func.pg_terminate_backend(column("pid"))).select_from(activity))
            publish(settings, [numbered_report(1)])
            wait_until(lambda: worker.scrape().value("milepost_database_up") == 0, "the database is away")
            stays_alive(worker)
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        wait_until(lambda: count_events(store) == 1, "the event is recorded")
        assert worker.process.poll() is None
    admin.dispose()
    store.engine.dispose()
