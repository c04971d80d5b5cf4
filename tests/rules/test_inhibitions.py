"""What Alertmanager holds back, asked of Alertmanager itself: the committed file, alerts with their rules' labels."""

import json
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.prometheus.render import Addresses, write_prometheus_config
from tests.helpers.alertmanager import http_get, http_get_json, running_alertmanager
from tests.helpers.promtool import alert_rules, skip_without
from tests.helpers.workers import free_port, wait_until

Labels = dict[str, str]
#: An alert by its labels.
Firing = frozenset[tuple[str, str]]
ALERTS = alert_rules()
STALE = {name for name, rule in ALERTS.items() if rule["labels"].get("forecasts") == "stale"}
PROJECTS = {name for name, rule in ALERTS.items() if rule["labels"]["audience"] == "projects"}


pytestmark = skip_without("prometheus-alertmanager")


def known(labels: Labels) -> Firing:
    return frozenset(labels.items())


def alert(name: str, milestone: str = "park/opened", gate: str = "", programme: str = "north") -> Labels:
    """Return an alert's labels; one about a milestone has its gate, itself unless told otherwise."""
    labels: Labels = {"alertname": name, **ALERTS[name]["labels"]}
    if name == "DependencySetAside":
        labels["programme"] = programme
    elif name in PROJECTS:
        labels |= {"programme": programme}
        labels |= dict(zip(("project", "milestone"), milestone.split("/"), strict=True))
        labels |= dict(zip(("gate_project", "gate_milestone"), (gate or milestone).split("/"), strict=True))
    return labels


def names(url: str) -> set[Firing]:
    """Return what is not held back, of what fires."""
    found = http_get_json(f"{url}/api/v2/alerts")
    return {known(one["labels"]) for one in found if one["status"]["state"] == "active"}


def assert_notified(firing: Iterable[Labels], expected: Iterable[Labels], folder: Path) -> None:
    """Have alerts fire, something among them that is held back, and see that just these are told."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    write_prometheus_config(folder, Addresses(), speedup=60)
    with running_alertmanager(folder, port):
        wait_until(lambda: answers(f"{url}/-/ready"), "Alertmanager answers")
        request = urllib.request.Request(  # noqa: S310 - an address of ours
            f"{url}/api/v2/alerts",
            json.dumps([{"labels": labels} for labels in firing]).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - as above
        these = {known(labels) for labels in expected}
        with suppress(AssertionError):
            wait_until(lambda: names(url) == these, "these are told", timeout=10)
        assert names(url) == these


def answers(url: str) -> bool:
    try:
        http_get(url)
    except OSError:
        return False
    return True


def test_a_gate_speaks_for_itself_and_all_who_wait_for_it_and_for_nobody_else(tmp_path: Path) -> None:
    gate, other = alert("GateSlipping"), alert("GateSlipping", "plant/design")
    elsewhere = [
        alert("MilestoneBlocked", "beta/launched", gate="mill/opened"),
        alert("MilestoneBlocked", "alpha/launched", gate="park/opened", programme="south"),
        alert("MilestoneOverdue", "beta/permit"),
        alert("DependencySetAside"),
    ]
    waiting = [
        alert("MilestoneBlocked", "alpha/launched", gate="park/opened"),
        alert("MilestoneDueSoon", "gamma/launched", gate="plant/design"),
        alert("MilestoneOverdue"),
        alert("MilestoneFloatNegative"),
    ]

    assert_notified([gate, other, *elsewhere, *waiting], [gate, other, *elsewhere], tmp_path)


def test_what_slips_far_is_not_reported_to_have_no_float_too(tmp_path: Path) -> None:
    slipping, float_of_another = alert("MilestoneSlipping"), alert("MilestoneFloatNegative", "plant/design")

    assert_notified(
        [slipping, float_of_another, alert("MilestoneFloatNegative")], [slipping, float_of_another], tmp_path
    )


@pytest.mark.parametrize("name", sorted(STALE))
def test_whatever_makes_the_schedule_stale_inhibits_all_alerts_of_projects(name: str, tmp_path: Path) -> None:
    assert_notified([alert(name), *map(alert, PROJECTS)], [alert(name)], tmp_path)


def test_when_everything_fires_at_once_causes_are_reported_and_what_follows_from_them_is_not(tmp_path: Path) -> None:
    follows = {"MilepostWorkerDown", "MilepostStale", "MilepostNoProgress", "MilepostForecastBehind"}

    assert_notified(map(alert, ALERTS), map(alert, ALERTS.keys() - PROJECTS - follows), tmp_path)


@pytest.mark.parametrize("cause", ["MilepostDatabaseAway", "MilepostKafkaAway", "MilepostDown"])
def test_one_cause_is_enough(cause: str, tmp_path: Path) -> None:
    follows = ["MilepostStale", "MilepostNoProgress", "MilepostForecastBehind"]

    assert_notified(
        map(alert, [cause, *follows, "MilepostDeadLetters"]), map(alert, [cause, "MilepostDeadLetters"]), tmp_path
    )


def test_a_position_that_stands_still_is_why_events_wait(tmp_path: Path) -> None:
    assert_notified(map(alert, ["MilepostNoProgress", "MilepostStale"]), [alert("MilepostNoProgress")], tmp_path)
