"""What a worker logs when it starts, when others come and go, and when Kafka or the database is away."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.settings import Settings
from tests.conftest import prepare_settings
from tests.faults.environment import FaultEnvironment
from tests.helpers.workers import WorkerProcess, publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report

#: An outage of more than a minute, and a broker and a database of the test's own.
pytestmark = pytest.mark.timeout(400)

_LINE = re.compile(r"\S+ \S+ (\w+) +([\w.]+): (.*)")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultEnvironment]:
    with ExitStack() as ending:
        yield FaultEnvironment(tmp_path_factory.mktemp("outages"), ending)


@pytest.fixture
def settings(environment: FaultEnvironment) -> Iterator[Settings]:
    with environment.database("postgresql") as url:
        yield prepare_settings(environment.kafka.bootstrap, url)


def warnings(worker: WorkerProcess) -> list[str]:
    """Return the lines that are more than information, without the problem in them; and all that is no such line."""
    found = []
    for line in worker.log_text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            found.append(line)
        elif match[1] != "INFO":
            found.append(f"{match[1]} {match[2]}: {match[3].partition(': ')[0]}")
    return found


def has_logged(worker: WorkerProcess, text: str) -> bool:
    """Return whether the log has a text, of a worker that runs."""
    assert worker.process.poll() is None, worker.log_text
    return text in worker.log_text


def test_a_start_a_rebalance_and_a_stop_are_no_warning(settings: Settings, tmp_path: Path) -> None:
    with worker_process(settings, tmp_path) as one:
        one.wait_until_ready()
        publish(settings, [numbered_report(1)])
        with worker_process(settings, tmp_path) as other:
            other.wait_until_ready()
            wait_until(lambda: one.log_text.count("partitions are assigned") == 2, "the other one has its share")
            other.stop()
            assert warnings(other) == []
        wait_until(lambda: one.log_text.count("partitions are assigned") == 3, "it has all again")
        one.stop()

    assert warnings(one) == []


def test_an_outage_of_kafka_is_a_line_at_its_beginning_one_a_minute_and_one_at_its_end(
    environment: FaultEnvironment, settings: Settings, tmp_path: Path
) -> None:
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        environment.kafka.kill()
        wait_until(lambda: "Kafka does not answer since " in worker.get("/")[1], "pages say since when")
        wait_until(lambda: has_logged(worker, "Kafka has not answered for 1 min"), "a minute is over", 150)
        environment.kafka.start()
        wait_until(lambda: has_logged(worker, "Kafka answers again, after "), "it answers again")
        worker.wait_until_ready()
        publish(settings, [numbered_report(2)])
        wait_until(lambda: worker.scrape().value("milepost_events_total", outcome="accepted") == 2, "it goes on")
        wait_until(lambda: "all is well" in worker.get("/")[1], "pages say that all is well")
        worker.stop()

    assert warnings(worker) == [
        "WARNING milepost.outages: Kafka does not answer, and is asked again until it does",
        "WARNING milepost.outages: Kafka has not answered for 1 min",
    ]
    assert "Connect call failed" in worker.log_text or "Connection refused" in worker.log_text


def test_an_outage_of_the_database_is_two_lines_whatever_needs_it_meanwhile(
    environment: FaultEnvironment, settings: Settings, tmp_path: Path
) -> None:
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        environment.postgresql.kill()
        publish(settings, [numbered_report(number) for number in range(20)])
        wait_until(lambda: has_logged(worker, "the database does not answer"), "it is missed")
        for _ in range(3):
            assert worker.get("/")[0] == 503
        wait_until(lambda: "database" in worker.get("/ready")[1], "the worker is not ready")
        environment.postgresql.start()
        wait_until(lambda: has_logged(worker, "the database answers again, after "), "it answers again")
        worker.wait_until_ready()
        wait_until(lambda: worker.scrape().value("milepost_events_total", outcome="accepted") == 20, "it goes on")
        worker.stop()

    assert warnings(worker) == [
        "WARNING milepost.outages: the database does not answer, and is asked again until it does"
    ]
