"""`milepost worker` as a process: starting, serving, stopping, dying, and saying what is wrong."""

import json
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient
from sqlalchemy import update

from deploy.kafka.broker import run_broker
from models.database import tables
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.domain.events import DATA_TYPES, RejectionReason
from models.domain.schedule import compute_schedule
from models.settings import Settings
from streams.agents.forecast import partition_of
from streams.metrics.milestones import MILESTONE_FAMILIES
from streams.metrics.programmes import PROGRAMME_FAMILIES
from streams.web.connections import MAX_FILES
from tests.conftest import prepare_settings
from tests.helpers.event_generators import random_events, shuffled_with_duplicates
from tests.helpers.oracle import expected_milestones
from tests.helpers.recorder import count_events, json_status_row, load_facts
from tests.helpers.workers import WorkerProcess, free_port, publish, publish_records, wait_until, worker_process
from tests.integration.test_streams import numbered_report

PIPELINE = {
    "milepost_events_total",
    "milepost_rejected_total",
    "milepost_source_last_event_timestamp_seconds",
    "milepost_event_delay_seconds_count",
    "milepost_forecast_delay_seconds_count",
    "milepost_batch_seconds_count",
    "milepost_batch_events_count",
    "milepost_forecast_seconds_count",
    "milepost_forecasts_current_timestamp_seconds",
    "milepost_position",
    "milepost_log_end",
    "milepost_lag_seconds",
    "milepost_missed_records_total",
    "milepost_started_timestamp_seconds",
    "milepost_assignments_total",
    "milepost_database_up",
    "milepost_kafka_up",
    "milepost_series_dropped",
    "milepost_build_info",
}


@pytest.fixture(scope="module")
def serving(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, WorkerProcess]]:
    """Give a worker that has recorded one event and rejected one."""
    folder = tmp_path_factory.mktemp("worker")
    settings = prepare_settings(kafka, f"sqlite:///{folder}/milepost.db")
    with worker_process(settings, folder) as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        publish_records(settings, [(None, [], b"\xff")])
        wait_until(lambda: seen(worker) == 2, "both records are seen")
        wait_until(
            lambda: bool(worker.scrape("/metrics/milestones").labels("milepost_milestone_state")), "the event is shown"
        )
        wait_until(lambda: not lagging(worker), "nothing waits")
        yield settings, worker


def seen(worker: WorkerProcess) -> float:
    """Return how many events a worker has seen, whatever became of them."""
    return worker.scrape().value("milepost_events_total") or 0


def lagging(worker: WorkerProcess) -> bool:
    """Return whether a worker shows a position before the end of the log."""
    page = worker.scrape()
    return page.value("milepost_position") != page.value("milepost_log_end")


class TestServing:
    def test_every_pipeline_family_is_there_with_every_known_label_value(
        self, serving: tuple[Settings, WorkerProcess]
    ) -> None:
        settings, worker = serving
        page = worker.scrape()

        assert {name for name in PIPELINE if page.labels(name)} == PIPELINE
        reasons = {labels["reason"] for labels in page.labels("milepost_rejected_total")}
        assert reasons == {reason.value for reason in RejectionReason}
        outcomes = {(labels["outcome"], labels["type"]) for labels in page.labels("milepost_events_total")}
        assert outcomes == {
            (outcome, event_type)
            for outcome in ("accepted", "duplicate", "rejected")
            for event_type in (*DATA_TYPES, "unknown")
        }
        partitions = {labels["partition"] for labels in page.labels("milepost_missed_records_total")}
        assert partitions == {str(number) for number in range(settings.partitions)}
        assert page.value("milepost_rejected_total", reason="malformed") == 1
        assert page.value("milepost_database_up") == 1
        assert page.value("milepost_kafka_up") == 1
        assert page.value("milepost_lag_seconds") == 0
        assert page.value("milepost_event_delay_seconds_count") == 1
        assert page.value("milepost_forecast_delay_seconds_count") == 1

    def test_the_milestones_page_shows_every_family_header_and_the_event(
        self, serving: tuple[Settings, WorkerProcess]
    ) -> None:
        _, worker = serving
        status, text = worker.get("/metrics/milestones")
        page = worker.scrape("/metrics/milestones")

        assert status == 200
        names = [*(family.name for family in MILESTONE_FAMILIES), *(family.name for family in PROGRAMME_FAMILIES)]
        assert [name for name in names if f"# TYPE {name} gauge" not in text] == []
        assert page.labels("milepost_milestone_planned_timestamp_seconds") == [
            {"programme": "north", "project": "plant", "milestone": "permit-approved"}
        ]

    def test_live_and_ready_answer_with_json(self, serving: tuple[Settings, WorkerProcess]) -> None:
        _, worker = serving

        assert worker.get("/live") == (200, '{"ok": true, "reasons": {}}')
        assert worker.get("/ready") == (200, '{"ok": true, "reasons": {}}')

    @pytest.mark.parametrize(
        "path",
        [
            *("/router", "/router/", "/router/topics", "/table", "/table/", "/graph", "/graph/", "/stats", "/stats/"),
            *("/assignment", "/assignment/", "/performance/", "/leader", "/metrics/", "/docs", "/static", "/live/x"),
        ],
    )
    def test_no_page_of_faust_is_reachable(self, serving: tuple[Settings, WorkerProcess], path: str) -> None:
        _, worker = serving

        assert worker.get(path)[0] == 404

    def test_it_listens_on_nothing_but_its_own_address(self, serving: tuple[Settings, WorkerProcess]) -> None:
        _, worker = serving
        listening = {
            connection.laddr
            for connection in psutil.Process(worker.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

        assert listening == {("127.0.0.1", worker.port)}

    @pytest.mark.timing
    def test_an_event_is_shown_within_a_second(self, serving: tuple[Settings, WorkerProcess]) -> None:
        settings, worker = serving
        publish(settings, [numbered_report(2, "north/plant", "site-leased")])

        def shown() -> bool:
            labels = worker.scrape("/metrics/milestones").labels("milepost_milestone_planned_timestamp_seconds")
            return any(found["milestone"] == "site-leased" for found in labels)

        assert wait_until(shown, "the event is shown") < 1

    def test_an_idle_worker_stays_under_200_megabytes(self, serving: tuple[Settings, WorkerProcess]) -> None:
        _, worker = serving

        assert psutil.Process(worker.pid).memory_info().rss < 200 * 1024 * 1024


class TestStartingAndStopping:
    @pytest.mark.timing
    def test_it_stops_within_five_seconds_of_sigterm_and_says_nothing_bad(
        self, fresh_settings: Settings, tmp_path: Path
    ) -> None:
        with worker_process(fresh_settings, tmp_path) as worker:
            worker.wait_until_ready()

            assert worker.stop(signal.SIGTERM) < 5
            assert worker.process.returncode == 0
            assert "Traceback" not in worker.log_text
            assert "ERROR" not in worker.log_text

    @pytest.mark.timing
    def test_the_first_worker_of_a_new_broker_says_nothing_bad(self, tmp_path: Path) -> None:
        folder = tmp_path / "kafka"
        folder.mkdir()
        with run_broker(folder, report_progress=lambda _: None) as broker:
            settings = prepare_settings(broker.bootstrap_servers, f"sqlite:///{tmp_path}/milepost.db")
            with worker_process(settings, tmp_path) as worker:
                worker.wait_until_ready()

                assert worker.stop(signal.SIGTERM) < 5
                assert "ERROR" not in worker.log_text

    @pytest.mark.timing
    def test_it_stops_within_five_seconds_while_the_database_is_locked(
        self, sqlite_settings: Settings, tmp_path: Path
    ) -> None:
        with worker_process(sqlite_settings, tmp_path) as worker:
            worker.wait_until_ready()
            locked = sqlite3.connect(sqlite_settings.database.removeprefix("sqlite:///"), isolation_level=None)
            locked.execute("BEGIN IMMEDIATE")
            publish(sqlite_settings, [numbered_report(1)])
            wait_until(lambda: (worker.scrape().value("milepost_lag_seconds") or 0) > 0.5, "the event waits")

            assert worker.stop(signal.SIGTERM) < 5
            locked.close()

        assert count_events(Recorder(make_engine(sqlite_settings.database))) == 0

    def test_a_restart_continues_where_it_was(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        publish(sqlite_settings, [numbered_report(number) for number in range(20)])
        for expected in (20, 0):
            with worker_process(sqlite_settings, tmp_path) as worker:
                worker.wait_until_ready()
                wait_until(lambda: not lagging(worker), "all is read")
                assert seen(worker) == expected
                worker.stop()

    def test_a_killed_worker_loses_and_doubles_nothing(self, fresh_settings: Settings, tmp_path: Path) -> None:
        events = random_events(11, 12_000, programmes=8, projects=40)
        publish(fresh_settings, shuffled_with_duplicates(events, 11))
        settings = fresh_settings.model_copy(update={"batch": 300})
        store = Recorder(make_engine(fresh_settings.database))
        for least in (1, 5_000):
            with worker_process(settings, tmp_path) as worker:
                wait_until(lambda least=least: count_events(store) >= least, f"{least} events are recorded")  # type: ignore[misc]
                worker.stop(signal.SIGKILL)
        with worker_process(settings, tmp_path) as worker:
            worker.wait_until_ready()
            wait_until(lambda: count_events(store) == len(events) and not lagging(worker), "all is recorded")

        facts, _ = load_facts(store)
        standings = {
            (row.programme, row.project, row.milestone): (row.planned, row.actual, row.state.value)
            for row in compute_schedule(facts, fresh_day()).statuses
        }
        assert standings == {
            (row["programme"], row["project"], row["milestone"]): (
                day(row["planned"]),
                day(row["actual"]),
                row["state"],
            )
            for row in expected_milestones(events, fresh_day())
        }


class TestTwoWorkers:
    def test_two_workers_share_the_work_and_each_programme_is_shown_by_one(
        self, postgresql_settings: Settings, tmp_path: Path
    ) -> None:
        settings = postgresql_settings
        events = random_events(5, 3_000, programmes=12, projects=10, with_dependencies=True)
        with worker_process(settings, tmp_path) as one, worker_process(settings, tmp_path) as other:
            one.wait_until_ready()
            other.wait_until_ready()
            publish(settings, shuffled_with_duplicates(events, 5), key_of=lambda event: event["id"].encode())
            store = Recorder(make_engine(settings.database))
            wait_until(lambda: count_events(store) == len(events), "all is recorded")
            everything = {event["subject"].split("/")[0] for event in events}
            wait_until(lambda: shown_by(one) | shown_by(other) == everything, "every programme is shown")

            assert shown_by(one) & shown_by(other) == set()
            assert seen(one) > 0
            assert seen(other) > 0
            assert {partition_of(name, settings.partitions) for name in shown_by(one)}.isdisjoint(
                partition_of(name, settings.partitions) for name in shown_by(other)
            )

            for worker in (one, other):
                board = json.loads(worker.get("/api/programmes?limit=200")[1])
                assert {row["programme"] for row in board["programmes"]} == everything, "each board shows all of them"

            one.stop(signal.SIGKILL)
            took = wait_until(lambda: shown_by(other) == everything, "the other one takes over")
            assert took < 15

            with worker_process(settings, tmp_path) as third:
                third.wait_until_ready()
                wait_until(lambda: bool(shown_by(third)), "a third one joins and shows its share")
                wait_until(lambda: shown_by(other) | shown_by(third) == everything, "every programme is shown")
                wait_until(lambda: shown_by(other).isdisjoint(shown_by(third)), "each on one")

        facts, _ = load_facts(store)
        assert [
            json_status_row(standing) for standing in compute_schedule(facts, fresh_day()).statuses
        ] == expected_milestones(events, fresh_day())


def shown_by(worker: WorkerProcess) -> set[str]:
    """Return the programmes that a worker shows."""
    return {labels["programme"] for labels in worker.scrape("/metrics/milestones").labels("milepost_programme_info")}


def fresh_day() -> date:
    """Return the data date of these tests."""
    return date(2026, 11, 23)


def day(text: str | None) -> date | None:
    """Return an ISO day."""
    return None if text is None else date.fromisoformat(text)


class TestOneClearLine:
    @staticmethod
    @contextmanager
    def ending(settings: Settings, folder: Path) -> Iterator[WorkerProcess]:
        """Run a worker that is expected to end by itself."""
        with worker_process(settings, folder) as worker:
            worker.process.wait(60)
            yield worker

    def said(self, settings: Settings, folder: Path) -> str:
        """Return the one line that a worker ended with."""
        with self.ending(settings, folder) as worker:
            assert worker.process.returncode == 1
            [line] = [line for line in worker.log_text.splitlines() if line.startswith("milepost:")]
            assert "Traceback" not in worker.log_text
            return line

    def test_when_kafka_does_not_answer(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        port = free_port()
        away = sqlite_settings.model_copy(update={"kafka": f"127.0.0.1:{port}"})

        line = self.said(away, tmp_path)

        assert f"127.0.0.1:{port}" in line
        assert "milepost kafka" in line

    def test_when_a_topic_is_missing(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        line = self.said(sqlite_settings.model_copy(update={"prefix": "nowhere"}), tmp_path)

        assert "nowhere.events" in line
        assert "milepost init" in line

    def test_when_the_sister_topics_have_unequal_partitions(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        admin = KafkaAdminClient(bootstrap_servers=sqlite_settings.kafka)
        admin.create_partitions({sqlite_settings.programmes_topic: 7})
        wait_until(
            lambda: len(admin.describe_topics([sqlite_settings.programmes_topic])[0]["partitions"]) == 7,
            "the broker shows the new partitions",
        )
        admin.close()

        line = self.said(sqlite_settings, tmp_path)

        assert sqlite_settings.programmes_topic in line
        assert "7" in line

    def test_when_the_database_is_not_migrated(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        line = self.said(sqlite_settings.model_copy(update={"database": f"sqlite:///{tmp_path}/new.db"}), tmp_path)

        assert "milepost init" in line

    def test_when_the_database_is_newer_than_the_program(self, fresh_settings: Settings, tmp_path: Path) -> None:
        with write_transaction(make_engine(fresh_settings.database)) as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

        line = self.said(fresh_settings, tmp_path)

        assert "9999" in line
        assert "update milepost" in line

    def test_when_its_port_is_taken(self, sqlite_settings: Settings, tmp_path: Path, kafka: str) -> None:
        with worker_process(sqlite_settings, tmp_path, MILEPOST_WEB=kafka) as worker:
            worker.process.wait(60)

            assert worker.process.returncode == 1
            assert f"milepost: cannot serve on {kafka}" in worker.log_text
            assert "Traceback" not in worker.log_text

    def test_when_sqlite_has_a_worker_already(self, sqlite_settings: Settings, tmp_path: Path) -> None:
        with worker_process(sqlite_settings, tmp_path) as first:
            first.wait_until_ready()

            line = self.said(sqlite_settings, tmp_path)

            assert str(first.pid) in line
            assert "PostgreSQL" in line

    def test_when_the_topic_is_not_the_one_that_was_read(self, fresh_settings: Settings, tmp_path: Path) -> None:
        store = Recorder(make_engine(fresh_settings.database))
        store.resolve_start_offsets(fresh_settings.events_topic, {0: (0, 0)})
        with write_transaction(store.engine) as connection:
            connection.execute(update(tables.positions).values(next_offset=5))

        line = self.said(fresh_settings, tmp_path)

        assert f"{fresh_settings.events_topic}:0" in line
        assert "recreated" in line

    def test_a_bug_ends_the_process_with_its_traceback_and_the_event_is_read_again(
        self, sqlite_settings: Settings, tmp_path: Path
    ) -> None:
        publish(sqlite_settings, [numbered_report(1)])
        broken = tmp_path / "broken"
        broken.mkdir()
        # A worker with a bug, as near to a real one as can be: the module that Python loads first breaks the store.
        (broken / "sitecustomize.py").write_text(
            "import models.database.recorder\nmodels.database.recorder.Recorder.record = lambda *_: 1 / 0\n",
            encoding="utf-8",
        )
        with worker_process(sqlite_settings, tmp_path, PYTHONPATH=str(broken)) as worker:
            worker.process.wait(60)

            assert worker.process.returncode == 1
            assert "ZeroDivisionError" in worker.log_text
        with worker_process(sqlite_settings, tmp_path) as worker:
            worker.wait_until_ready()
            wait_until(lambda: seen(worker) == 1, "the event is read again")


def test_a_worker_that_cannot_stop_ends_itself_and_says_what_it_was_doing(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    with worker_process(sqlite_settings.model_copy(update={"stop_seconds": 0.2}), tmp_path) as worker:
        worker.wait_until_ready()
        locked = sqlite3.connect(sqlite_settings.database.removeprefix("sqlite:///"), isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        publish(sqlite_settings, [numbered_report(1)])
        wait_until(lambda: (worker.scrape().value("milepost_lag_seconds") or 0) > 0.5, "the event waits")

        worker.stop()

        assert worker.process.returncode == 75
        assert "not stopped within 0.2 s" in worker.log_text
        assert "recorder.py" in worker.log_text
        locked.close()


def test_metrics_and_probes_have_a_listener_of_their_own_when_one_is_set(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    settings = sqlite_settings.model_copy(update={"metrics": f"127.0.0.1:{port}"})
    with worker_process(settings, tmp_path) as worker:
        monitoring = WorkerProcess(worker.process, port, tmp_path / "unused")
        monitoring.wait_until_ready()
        for path in ("/metrics", "/metrics/milestones", "/live", "/ready"):
            assert (monitoring.get(path)[0], worker.get(path)[0]) == (200, 404), path
        for path in ("/", "/api/programmes"):
            assert (monitoring.get(path)[0], worker.get(path)[0]) == (404, 200), path
        wait_until(
            lambda: f"serving on http://127.0.0.1:{worker.port} and http://127.0.0.1:{port}" in worker.log_text,
            "both addresses are logged",
        )
        soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        assert soft == min(hard, MAX_FILES)
