"""Stopping while Kafka is silent: a machine or a cluster is shut down just then, and nobody should be alarmed by it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.kafka.broker import RunningBroker, run_broker
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.settings import Settings
from tests.conftest import prepare_settings
from tests.helpers.notify import notify_process, system_block, write_targets
from tests.helpers.recorder import count_events
from tests.helpers.secure_kafka import SecureKafka
from tests.helpers.workers import (
    WorkerProcess,
    free_port,
    publish,
    publish_records,
    read_topic,
    wait_until,
    worker_process,
)
from tests.integration.test_streams import numbered_report

EVENTS = 200


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Give a broker of its own, which may be suspended."""
    with run_broker(tmp_path_factory.mktemp("kafka"), port=free_port(), report_progress=lambda _: None) as running:
        yield running


@pytest.fixture
def settings(broker: RunningBroker, tmp_path: Path) -> Settings:
    """Give topics on that broker, and a database."""
    return prepare_settings(broker.bootstrap_servers, f"sqlite:///{tmp_path / 'milepost.db'}")


@contextmanager
def suspended(broker: RunningBroker | SecureKafka) -> Iterator[None]:
    """Have the broker take connections, and answer nothing, until the block ends."""
    process = psutil.Process(broker.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def accepted(worker: WorkerProcess) -> float:
    """Return how many events a worker has recorded."""
    page = worker.scrape()
    return sum(value for labels, value in page.series("milepost_events_total") if labels["outcome"] == "accepted")


def stop_calmly(process: WorkerProcess, settings: Settings) -> None:
    """Stop a process; assert that it ends with 0 in time, logs nothing that alarms, and calls no silence an answer."""
    seconds = process.stop()
    assert process.process.returncode == 0, process.log_text
    assert seconds < settings.stop_seconds
    for alarm in ("ERROR", "CRITICAL", "Traceback", "answers again"):
        assert alarm not in process.log_text


@pytest.mark.parametrize("noticed", [False, True])
def test_a_worker_stops_with_0_while_kafka_is_silent(
    *, noticed: bool, settings: Settings, broker: RunningBroker, tmp_path: Path
) -> None:
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        wait_until(lambda: accepted(worker) == 1, "the event is recorded")
        with suspended(broker):
            if noticed:
                wait_until(lambda: "Kafka does not answer" in worker.log_text, "the outage is noticed", 30)
            stop_calmly(worker, settings)


def test_a_worker_with_a_login_stops_with_0_while_kafka_is_silent(
    secure_kafka: SecureKafka, sqlite_url: str, tmp_path: Path
) -> None:
    prepared = prepare_settings(secure_kafka.address("admin"), sqlite_url)
    overrides = {name: getattr(prepared, name) for name in ("database", "prefix", "group", "log_end_seconds")}
    with worker_process(secure_kafka.settings(**overrides), tmp_path) as worker:
        worker.wait_until_ready()
        publish(prepared, [numbered_report(1)])
        wait_until(lambda: accepted(worker) == 1, "the event is recorded")
        with suspended(secure_kafka):
            stop_calmly(worker, prepared)


@pytest.mark.parametrize("waits_for", ["its signals", "its dead letter"])
def test_what_a_worker_was_doing_when_it_stopped_without_kafka_is_done_by_the_next(
    waits_for: str, settings: Settings, broker: RunningBroker, tmp_path: Path
) -> None:
    has_rejection = waits_for == "its dead letter"
    recorder = Recorder(make_engine(settings.database))
    with (
        closing(sqlite3.connect(settings.database.removeprefix("sqlite:///"), isolation_level=None)) as database,
        worker_process(settings, tmp_path) as worker,
    ):
        worker.wait_until_ready()
        database.execute("BEGIN IMMEDIATE")
        if has_rejection:
            publish_records(settings, [(b"north", [], b"no event")])
        publish(settings, [numbered_report(number) for number in range(EVENTS)])
        wait_until(lambda: (worker.scrape().value("milepost_lag_seconds") or 0) > 0.5, "the events wait")
        with suspended(broker):
            database.execute("ROLLBACK")
            if has_rejection:
                wait_until(lambda: is_locked(database), "a transaction waits for the dead letter")
            else:
                wait_until(lambda: count_events(recorder) > 0, "events are recorded whose signals wait")
            stop_calmly(worker, settings)

    with worker_process(settings, tmp_path) as worker:
        wait_until(lambda: count_events(recorder) == EVENTS, "the next worker has recorded all events")
        wait_until(
            lambda: bool(worker.scrape("/metrics/milestones").series("milepost_milestone_forecast_timestamp_seconds")),
            "the next worker has their forecast",
        )
        if has_rejection:
            wait_until(lambda: bool(read_topic(settings, settings.dead_letters_topic)), "the dead letter is there")
    recorder.engine.dispose()


def is_locked(database: sqlite3.Connection) -> bool:
    """Return whether another connection is writing."""
    database.execute("PRAGMA busy_timeout = 0")
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    database.execute("ROLLBACK")
    return False


def test_notify_stops_with_0_while_kafka_is_silent(settings: Settings, broker: RunningBroker, tmp_path: Path) -> None:
    targets = write_targets(tmp_path, system_block("operations", f"http://127.0.0.1:{free_port()}/"))
    with notify_process(settings, tmp_path, targets) as notify:
        notify.wait_until_ready()
        with suspended(broker):
            stop_calmly(notify, settings)
