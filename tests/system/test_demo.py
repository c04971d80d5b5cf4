"""`milepost demo` as people run it: it serves, tells its story, ends when told, leaves nothing behind, and goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.story import PROGRAMME, SEZ_PARK, TENANTS, build_story
from models.domain.events import Classifier, MilestoneReported
from tests.helpers.alertmanager import alert_key, http_get, http_get_json
from tests.helpers.promtool import skip_without
from tests.helpers.workers import free_port

pytestmark = pytest.mark.timing

MILEPOST = Path(sys.executable).with_name("milepost")
ACTUAL = "milepost_milestone_actual_timestamp_seconds"
#: With everything fetched before; fetching Kafka itself may take longer the first time.
SERVES_WITHIN = 20.0
FETCHES_WITHIN = 120.0
ADDRESSES = ("kafka", "database", "metrics", "board", "gateway")

Labels = dict[str, str]


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Place:
    """A folder to run in, and the ports that everything run there is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka, self.web, self.gateway = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.environment = {
            # Pipes are buffered as for anyone, so that only what is flushed is seen.
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("MILEPOST_") and name != "PYTHONUNBUFFERED"
            },
            "MILEPOST_KAFKA": self.kafka,
            "MILEPOST_WEB": self.web,
            "MILEPOST_GATEWAY": self.gateway,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MILEPOST, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def status(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.run("status", PROGRAMME, "--json").stdout)
        return rows

    def told_for(self) -> date:
        return date.fromisoformat((self.folder / ".milepost" / "sample-day").read_text().strip())


class Demo:
    """A demo that runs as a process of its own."""

    def __init__(self, place: Place) -> None:
        self.lines: list[str] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [MILEPOST, "demo"],
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._stderr: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=[stream, lines], daemon=True)
            for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self._stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))  # noqa: PERF401 - each is to be seen as it comes

    def said(self, text: str, within: float) -> bool:
        eventually(lambda: any(text in line for line in self.lines) or self.process.poll() is not None, within)
        return any(text in line for line in self.lines)

    def serving(self) -> float:
        """Wait until it serves; return how long that took, without the time to fetch Kafka."""
        eventually(lambda: bool(self.lines), FETCHES_WITHIN)
        assert self.said("To look at it", FETCHES_WITHIN), self.stderr()
        return time.monotonic() - self.started

    def address(self, name: str) -> str:
        [line] = [line for line in self.lines if line.startswith(name)]
        return line.removeprefix(name).strip()

    def page(self, path: str = "/metrics/milestones") -> list[tuple[str, Labels, float]]:
        """Scrape a page as Prometheus does."""
        host = self.address("board").removeprefix("http://").removesuffix("/")
        with closing(HTTPConnection(host, timeout=5)) as connection:
            connection.request("GET", path)
            text = connection.getresponse().read().decode()
        return [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def dates(self, series: str = ACTUAL) -> dict[tuple[str, str], date]:
        return {
            (labels["project"], labels["milestone"]): datetime.fromtimestamp(value, UTC).date()
            for name, labels, value in self.page()
            if name == series and labels["programme"] == PROGRAMME
        }

    def counted(self, outcome: str) -> int:
        return sum(
            int(value)
            for name, labels, value in self.page("/metrics")
            if name == "milepost_events_total" and labels["outcome"] == outcome
        )

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def end(self, number: signal.Signals) -> float:
        """Send a signal and wait for the end; return how long it took."""
        asked = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(15)
        for reader in self._readers:
            reader.join(5)
        return time.monotonic() - asked

    def stderr(self) -> str:
        return "\n".join(self._stderr)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def demo(place: Place) -> Iterator[Demo]:
    demo = Demo(place)
    try:
        demo.serving()
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.end(signal.SIGTERM)


def test_it_serves_what_the_report_says(demo: Demo, place: Place) -> None:
    assert [line.split()[0] for line in demo.lines if line.startswith(ADDRESSES)] == list(ADDRESSES)
    assert demo.address("kafka") == place.kafka
    assert demo.address("database") == "sqlite:///.milepost/milepost.db"
    assert demo.address("metrics") == f"http://{place.web}/metrics/milestones"
    assert demo.address("board").startswith(f"http://{place.web}")
    assert demo.address("gateway") == f"http://{place.gateway}/events with the token in .milepost/gateway-token"
    assert not [line for line in demo.lines if line.startswith("export")], "others reach it without settings"
    signed = [
        value
        for name, labels, value in demo.page()
        if name == ACTUAL
        and labels == {"programme": PROGRAMME, "project": "tomographic-scanners", "milestone": "agreement-signed"}
    ]
    assert len(signed) == 1
    day = datetime.fromtimestamp(signed[0], UTC)
    assert (day.month, day.day, day.hour) == (11, 21, 0)
    kinds = [labels["kind"] for name, labels, _ in demo.page() if name == "milepost_project_info"]
    assert (kinds.count("participant"), kinds.count("park")) == (18, 2)


def test_a_second_one_in_the_same_folder_says_which_is_the_first(demo: Demo, place: Place) -> None:
    second = place.run("demo")
    assert second.returncode == 1
    assert second.stdout == ""
    [line] = second.stderr.splitlines()
    assert f"pid {demo.process.pid}" in line
    assert demo.process.poll() is None


def test_its_story_comes_true(demo: Demo, place: Place) -> None:
    assert demo.said("That is the story", 60), demo.stderr()
    told = build_story(place.told_for())
    assert isinstance(told.slip_event.data, MilestoneReported)
    gate = (SEZ_PARK, "park-commissioned")
    assert demo.dates("milepost_milestone_forecast_timestamp_seconds")[gate] == told.slip_event.data.date
    forecasts = demo.dates("milepost_milestone_forecast_timestamp_seconds")
    tenants = [tenant for tenant in TENANTS if tenant.park == SEZ_PARK]
    for tenant in tenants:
        assert forecasts[tenant.project, "production-launched"] == told.slip_event.data.date + timedelta(
            days=tenant.lag_days
        )
    drivers = [labels for name, labels, _ in demo.page() if name == "milepost_milestone_driver_info"]
    gated = [labels["project"] for labels in drivers if (labels["driver_project"], labels["driver_milestone"]) == gate]
    assert sorted(gated) == sorted(tenant.project for tenant in tenants)
    assert sorted(line.split("/")[0] for line in demo.lines if line.startswith("- ")) == sorted(
        f"- {tenant.project}" for tenant in tenants
    )
    assert ("participant-02", "production-launched") not in demo.dates(), "what was retracted was never said"
    listed = place.run("dead-letters", "list", "--json")
    assert [letter["reason"] for letter in json.loads(listed.stdout)] == ["malformed"]
    assert demo.said("retracts that through the gateway, by HTTP", 0)
    message = [line.removeprefix("| ") for line in demo.lines if line.startswith("| ")]
    assert message[0].startswith("SEZ industrial park: Park commissioned 42 days later")
    assert any("It holds up 7 milestones of 7 other projects, and with them USD" in line for line in message)
    assert any(line.startswith("Why: heating network late") for line in message)
    assert message[-1].endswith("/programmes/ulyanovsk-medical-cluster/gates/sez-industrial-park/park-commissioned")
    assert demo.stderr() == ""


@skip_without("prometheus")
def test_its_alerts_lead_from_the_gate_that_slips_to_the_board_and_the_runbook(demo: Demo) -> None:
    assert demo.said("That is the story", 60), demo.stderr()
    prometheus = demo.address("alerts").removeprefix("http://").split("/")[0]

    def gates() -> list[Any]:
        found = http_get_json(f"http://{prometheus}/api/v1/alerts")["data"]["alerts"]
        return [
            alert
            for alert in found
            if alert["state"] == "firing"
            and alert_key(alert["labels"]) == ("GateSlipping", SEZ_PARK, "park-commissioned")
        ]

    assert eventually(lambda: bool(gates()), 30)
    [gate] = gates()
    assert gate["annotations"]["board_url"].startswith(demo.address("board"))
    assert http_get(gate["annotations"]["runbook_url"].split("#")[0])


def test_every_command_it_shows_works(demo: Demo, place: Place) -> None:
    shown = [line.split() for line in demo.lines if line.startswith("  ") and "curl" not in line]
    assert [command[1] for command in shown] == ["status", "explain", "history", "dead-letters", "publish", "publish"]
    for command in shown:
        assert Path(command[0]).name == "milepost"
        done = place.run(*command[1:])
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_what_is_published_is_visible_within_a_second(demo: Demo, place: Place) -> None:
    event = {
        "specversion": "1.0",
        "id": "handed-over",
        "source": "//test.example",
        "type": MilestoneReported.TYPE,
        "subject": f"{PROGRAMME}/tomographic-scanners",
        "time": datetime.now(UTC).isoformat(),
        "data": {"milestone": "site-leased", "classifier": Classifier.ACTUAL.value, "date": str(place.told_for())},
    }
    (place.folder / "event.jsonl").write_text(f"{json.dumps(event)}\n")
    published = place.run("publish", "event.jsonl")
    assert published.returncode == 0, published.stderr
    assert eventually(lambda: ("tomographic-scanners", "site-leased") in demo.dates(), 1)


def test_status_agrees_with_the_metrics(demo: Demo, place: Place) -> None:
    assert demo.said("That is the story", 60), demo.stderr()
    rows = place.status()
    for name in ("baseline", "planned", "estimated", "actual", "forecast"):
        shown = {
            (row["project"], row["milestone"]): date.fromisoformat(row[name]) for row in rows if row[name] is not None
        }
        assert shown == demo.dates(f"milepost_milestone_{name}_timestamp_seconds")


def test_it_goes_on_when_its_topics_were_enlarged(tmp_path: Path) -> None:
    place = Place(tmp_path)
    demo = Demo(place)
    log = tmp_path / ".milepost" / "worker.log"
    try:
        demo.serving()
        assert demo.said("That is the story", 60), demo.stderr()
        assert place.run("init", "--partitions", "14").returncode == 0
        assert eventually(lambda: "28 partitions are assigned to this worker" in log.read_text(), FETCHES_WITHIN), (
            demo.stderr(),
            demo.lines[-5:],
            log.read_text(),
        )
        assert demo.process.poll() is None
        assert place.run("audit").returncode == 0
        assert place.status()
    finally:
        demo.end(signal.SIGTERM)
    assert demo.process.returncode == 0


def test_it_ends_when_asked_goes_on_where_it_was_and_leaves_nothing_behind_when_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with ExitStack() as cleaning:
        first = Demo(place)
        cleaning.callback(first.process.kill)
        first.serving()
        achieved, family = first.dates(), first.family()
        assert len(family) > 1
        assert first.end(signal.SIGINT) < 8
        assert first.process.returncode == 0
        assert first.stderr() == ""
        assert "goes on from there" in first.lines[-1]
        assert psutil.wait_procs(family, 0)[1] == []

        # Another program takes the port meanwhile.
        host, port = place.web.split(":")
        cleaning.enter_context(socket.create_server((host, int(port))))
        second = Demo(place)
        cleaning.callback(second.process.kill)
        assert second.serving() < SERVES_WITHIN
        assert second.dates() == achieved
        assert second.counted("duplicate") == len(build_story(place.told_for()).opening)
        assert second.counted("accepted") == 0
        web = second.address("board").removeprefix("http://").removesuffix("/")
        assert web != place.web
        assert [line for line in second.lines if line.startswith("export")] == [f"export MILEPOST_WEB={web}"]
        assert second.said(f"{SEZ_PARK}/park-commissioned slips", 20), "the story goes on where it was"
        family = second.family()
        second.end(signal.SIGKILL)
        assert psutil.wait_procs(family, 10)[1] == []
