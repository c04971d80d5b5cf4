"""The whole system in containers: what is said by Kafka and over HTTP is shown, measured and told.

The last but one test ends what the others use.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from standardwebhooks import Webhook

from tests.helpers.containers import ContainerImage
from tests.helpers.gateway import GatewayServer
from tests.helpers.webhooks import SECRET
from tests.helpers.workers import wait_until
from tests.image.conftest import System, running_part
from tests.image.installation import RIGHTS, Installation, event, write_events

STARTS: Final = 3
PARTS: Final = ("worker", "board", "gateway", "notify")
#: A day, as a forecast in seconds.
DAY: Final = "2029-05-01"
SECONDS_OF_DAY: Final = 1_872_288_000


def milestones(system: System, project: str) -> list[dict[str, Any]]:
    """Return what the board's API has of a project."""
    status, text = system.parts["board"].web.get("/api/programmes/north/milestones")
    if status != 200:
        return []
    return [each for each in json.loads(text)["milestones"] if each["project"] == project]


def test_init_makes_topics_and_tables(system: System) -> None:
    assert system.init.returncode == 0, system.init.stderr
    assert "milepost.events" in system.init.stdout


@pytest.mark.parametrize("role", RIGHTS)
def test_the_doctor_finds_nothing_wrong_for(role: str, system: System, milepost_image: ContainerImage) -> None:
    setup = system.installation.setup(role)
    result = milepost_image.run("doctor", "--role", role, setup=setup)

    assert (result.returncode, result.stderr) == (0, ""), result.stdout


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_no_rights_on_its_machine(name: str, system: System) -> None:
    pid = system.parts[name].container.inspect("{{.State.Pid}}")
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    status = {field: text.split() for field, _, text in lines}

    assert status["Uid"] == ["65532"] * 4
    assert status["Gid"] == ["65532"] * 4
    assert [int(status[field][0], 16) for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    assert status["NoNewPrivs"] == ["1"]


def test_an_event_that_was_published_to_kafka_is_on_the_board(
    system: System, milepost_image: ContainerImage, tmp_path: Path
) -> None:
    write_events(tmp_path / "events.jsonl", event("published", "plant", DAY))
    setup = system.installation.setup("publisher")
    setup = setup._replace(mounts={**setup.mounts, tmp_path / "events.jsonl": "/events.jsonl"})
    result = milepost_image.run("publish", "/events.jsonl", setup=setup)

    assert (result.returncode, result.stdout) == (0, "published 1 event to milepost.events\n"), result.stderr
    wait_until(lambda: bool(milestones(system, "plant")), "the milestone is on the board")
    assert milestones(system, "plant")[0]["forecast"] == DAY


def test_an_event_that_was_posted_to_the_gateway_is_in_the_metrics(system: System) -> None:
    gateway = GatewayServer(system.parts["gateway"].ports.gateway)
    answer = gateway.post_structured(event("posted", "harbour", DAY))

    assert (answer.status, answer.json) == (202, {"accepted": 1})
    labels = {"programme": "north", "project": "harbour", "milestone": "permit-approved"}
    wait_until(
        lambda: (
            system.parts["worker"]
            .probes.scrape("/metrics/milestones")
            .value("milepost_milestone_forecast_timestamp_seconds", **labels)
            == SECONDS_OF_DAY
        ),
        "the forecast is among the metrics",
    )


def test_a_change_is_told_to_whoever_wants_to_know(system: System) -> None:
    gateway = GatewayServer(system.parts["gateway"].ports.gateway)
    answer = gateway.post_structured(event("told", "railway", DAY))

    assert answer.status == 202
    wait_until(lambda: any(each["subject"] == "north/railway" for each in system.told.events()), "the change is told")
    [request] = [each for each in [*system.told.requests] if each.event["subject"] == "north/railway"]
    assert request.event["causationid"] == "told"
    Webhook(SECRET).verify(request.body, dict(request.headers))


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("worker", "milepost_events_total"),
        ("board", "milepost_http_errors_total"),
        ("gateway", "milepost_gateway_events_total"),
        ("notify", "milepost_notify_delivered_total"),
    ],
)
def test_each_part_has_metrics_of_its_own(name: str, sample: str, system: System) -> None:
    assert system.parts[name].probes.scrape().value(sample) is not None


def test_metrics_are_not_where_people_look_at_the_board(system: System) -> None:
    assert system.parts["board"].web.get("/")[0] == 200
    assert system.parts["board"].web.get("/metrics")[0] == 404


def test_every_part_ends_with_0_within_its_grace(system: System) -> None:
    ends = {name: (part.container.stop(), part.container.log_text) for name, part in system.parts.items()}

    assert {name: status for name, (status, _) in ends.items()} == dict.fromkeys(PARTS, 0), ends
    assert [log for _, log in ends.values() if "Traceback" in log or "ERROR" in log] == []


@pytest.mark.timing
@pytest.mark.usefixtures("initialized")
def test_a_worker_is_ready_within_three_seconds(
    installation: Installation, milepost_image: ContainerImage, tmp_path: Path
) -> None:
    def start() -> float:
        with running_part(installation, milepost_image, "worker", tmp_path) as part:
            assert part.container.stop() == 0, part.container.log_text
            return part.start_seconds

    # What else the machine does, such as writing to its disk an image that it has just built, slows down single ones.
    seconds = [start() for _ in range(STARTS)]
    assert min(seconds) < 3, seconds
