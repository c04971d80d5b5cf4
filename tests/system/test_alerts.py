"""Prometheus and Alertmanager as they are, on a worker that was told the demo's story: who is told what.

The committed files, with this test's addresses and every wait a twentieth (deploy/prometheus/placing.py); thresholds
are as they are.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import NamedTuple

import pytest

from deploy.demo.story import NTM_PARK, SEZ_PARK, TENANTS, Story, build_story
from deploy.prometheus.process import alerts_url, find_prometheus, run_prometheus
from deploy.prometheus.render import Addresses
from models.domain.cloudevents import encode_structured
from models.domain.events import MilestoneReported, ProgrammeRegistered
from models.settings import Settings
from tests.conftest import prepare_settings
from tests.helpers.alertmanager import (
    AlertKey,
    WebhookReceiver,
    alert_key,
    http_get,
    http_get_json,
    running_alertmanager,
    running_receiver,
)
from tests.helpers.event_generators import structured_record
from tests.helpers.promtool import alert_rules, skip_without
from tests.helpers.workers import WorkerProcess, free_port, publish_records, wait_until, worker_process

HURRY = 20
PARK, DESIGN = (SEZ_PARK, "park-commissioned"), (NTM_PARK, "design-completed")
LAUNCHES = {(tenant.project, "production-launched") for tenant in TENANTS if tenant.park == SEZ_PARK}


def of(name: str, *milestones: tuple[str, str]) -> set[AlertKey]:
    return {(name, *milestone) for milestone in milestones}


def silent(day: date) -> set[AlertKey]:
    """Return what is spoken of once a year, on 21 November: the lease of the eighteenth participant, for 90 days."""
    told = build_story(day)
    [said] = [
        event
        for event in told.opening
        if event.project == "tomographic-scanners"
        and isinstance(event.data, MilestoneReported)
        and event.data.milestone == "site-leased"
    ]
    spoken = datetime.fromisoformat(f"{said.time}+00:00")
    return of("MilestoneSilent", ("tomographic-scanners", "site-leased")) if now() - spoken > timedelta(90) else set()


def now() -> datetime:
    return datetime.now(UTC)


def tomorrow() -> datetime:
    return datetime.combine(now().date() + timedelta(1), time.min, UTC)


#: What comes of the story by the rules, from deploy/demo/story.py by hand.
OVERDUE = {("participant-09", "permit-approved"), ("participant-15", "equipment-installed")}
SLIPPING = {("device-maker-c", "agreement-signed")}
EATEN = {("participant-13", "equipment-installed")}
DUE = {("participant-04", "site-leased"), ("tomographic-scanners", "site-leased")}
HELD_UP = {*LAUNCHES, (NTM_PARK, "construction-started")}
FIRING = {
    *of("MilepostWatchdog", ("", "")),
    *of("MilepostDeadLetters", ("", "")),
    *of("GateSlipping", PARK, DESIGN),
    *of("MilestoneOverdue", *OVERDUE),
    *of("MilestoneSlipping", PARK, *SLIPPING),
    *of("MilestoneBlocked", *HELD_UP),
    *of("MilestoneFloatNegative", PARK, DESIGN, *SLIPPING, *EATEN),
    *of("MilestoneDueSoon", *DUE),
}
#: What Alertmanager tells those who answer for projects, besides the gates.
TOLD = {
    *of("MilestoneOverdue", *OVERDUE),
    *of("MilestoneSlipping", *SLIPPING),
    *of("MilestoneFloatNegative", *EATEN),
    *of("MilestoneDueSoon", *DUE),
}


class Watched(NamedTuple):
    """A worker, and those who watch it."""

    worker: WorkerProcess
    prometheus: str
    alertmanager: str
    receiver: WebhookReceiver

    def firing(self) -> Counter[AlertKey]:
        found = http_get_json(f"http://{self.prometheus}/api/v1/alerts")["data"]["alerts"]
        return Counter(alert_key(alert["labels"]) for alert in found if alert["state"] == "firing")

    def states(self) -> dict[AlertKey, str]:
        """Return how Alertmanager has each alert of the projects."""
        found = http_get_json(f"http://{self.alertmanager}/api/v2/alerts?filter=audience=projects")
        return {alert_key(alert["labels"]): alert["status"]["state"] for alert in found}


def publish_story(settings: Settings, told: Story) -> int:
    """Publish the whole story, and what comes closest to the limits of a scrape; return how many records."""
    longest = structured_record(
        {
            "specversion": "1.0",
            "id": "longest",
            "source": "🏗" * 255,
            "type": ProgrammeRegistered.TYPE,
            "subject": "longest",
            "time": "2026-01-01T00:00:00Z",
            "data": {"name": "🏗" * 200},
        }
    )
    told_ones = [structured_record(json.loads(encode_structured(event)[1])) for event in told.events]
    return publish_records(settings, [(None, *one) for one in (*told_ones, ([], told.malformed_value), longest)])


@pytest.fixture(scope="module")
def watched(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Give a worker that was told the story, watched since then."""
    folder = tmp_path_factory.mktemp("alerts")
    settings = prepare_settings(kafka, f"sqlite:///{folder}/milepost.db")
    port = free_port()
    program = find_prometheus()
    assert program is not None
    # The story is of one day, and so is what is expected.
    wait_until(lambda: now() + timedelta(minutes=2) < tomorrow(), "the day has begun", timeout=150)
    with worker_process(settings, folder) as worker, running_receiver() as receiver:
        worker.wait_until_ready()
        count = publish_story(settings, build_story(now().date()))
        wait_until(lambda: worker.scrape().value("milepost_events_total") == count, "the story is recorded")
        wait_until(lambda: worker.scrape().value("milepost_lag_seconds") == 0, "nothing waits")
        places = Addresses(
            gateways=(),
            notifiers=(),
            workers=[f"127.0.0.1:{worker.port}"],
            alertmanagers=[f"127.0.0.1:{port}"],
            board=f"http://127.0.0.1:{worker.port}",
            receiver=f"http://127.0.0.1:{receiver.server_port}",
        )
        with (
            run_prometheus(program, folder, places, speedup=HURRY) as prometheus,
            running_alertmanager(folder, port),
        ):
            yield Watched(worker, prometheus, f"127.0.0.1:{port}", receiver)


pytestmark = skip_without("prometheus", "prometheus-alertmanager")


def test_the_story_leads_to_exactly_these_alerts(watched: Watched) -> None:
    def as_expected() -> bool:
        return watched.firing() == Counter(FIRING | silent(now().date()))

    try:
        wait_until(as_expected, "the alerts fire")
    except AssertionError:
        assert watched.firing() == Counter(FIRING | silent(now().date()))
        raise


def test_every_rule_works_and_every_page_is_within_the_limits(watched: Watched) -> None:
    groups = http_get_json(f"http://{watched.prometheus}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    def targets() -> set[tuple[str, str, str]]:
        found = http_get_json(f"http://{watched.prometheus}/api/v1/targets")["data"]["activeTargets"]
        return {(target["scrapePool"], target["health"], target["lastError"]) for target in found}

    # Prometheus takes some seconds to find and scrape them.
    scraped = {("milepost", "up", ""), ("milepost-milestones", "up", "")}
    wait_until(lambda: targets() == scraped, "every page is scraped")
    assert {rule["name"] for rule in rules} > alert_rules().keys()
    assert [(rule["name"], rule["lastError"]) for rule in rules if "lastError" in rule] == []
    assert "🏗" * 255 in {labels["source"] for labels in watched.worker.scrape().labels("milepost_source_events_total")}


def test_a_gate_and_all_who_wait_for_it_are_one_page(watched: Watched) -> None:
    def told() -> set[AlertKey]:
        return {alert for one in watched.receiver.notifications if one.audience == "projects" for alert in one.alerts}

    wait_until(lambda: told() >= TOLD | of("GateSlipping", PARK, DESIGN), "those who answer for projects are told")
    for project, milestone in (PARK, DESIGN):
        [page] = [
            one
            for one in watched.receiver.notifications_for("projects", "GateSlipping")
            if one.labels["gate_project"] == project and one.labels["gate_milestone"] == milestone
        ]
        assert page.alerts == {("GateSlipping", project, milestone)}

    assert told() == TOLD | of("GateSlipping", PARK, DESIGN) | silent(now().date())


def test_every_alert_leads_to_a_page_of_the_board(watched: Watched) -> None:
    found = http_get_json(f"http://{watched.prometheus}/api/v1/alerts")["data"]["alerts"]
    pages = {
        alert["annotations"]["board_url"].removeprefix(f"http://127.0.0.1:{watched.worker.port}") for alert in found
    }

    assert [page for page in sorted(pages) if watched.worker.get(page)[0] != HTTPStatus.OK] == []
    assert {page.split("/")[3] for page in pages if page.count("/") > 1} == {"milestones", "gates"}


def test_every_alert_leads_to_its_heading_in_the_runbook(watched: Watched) -> None:
    found = http_get_json(f"http://{watched.prometheus}/api/v1/alerts")["data"]["alerts"]
    links = {alert["annotations"]["runbook_url"] for alert in found}
    _, page = watched.worker.get("/runbook")

    assert {link.split("#")[0] for link in links} == {f"http://127.0.0.1:{watched.worker.port}/runbook"}
    assert [link for link in sorted(links) if f'id="{link.split("#")[1]}"' not in page] == []


def test_operators_are_alerted_of_the_dead_letter_and_the_watchdog_fires(watched: Watched) -> None:
    wait_until(
        lambda: bool(watched.receiver.notifications_for("operators", "MilepostDeadLetters")), "the operators are told"
    )
    wait_until(
        lambda: len(watched.receiver.notifications_for("watchdog", "MilepostWatchdog")) > 1, "the watchdog barks again"
    )
    told = {alert for one in watched.receiver.notifications if one.audience == "operators" for alert in one.alerts}

    assert told == of("MilepostDeadLetters", ("", ""))


def test_the_page_of_alerts_is_where_it_is_said_to_be(watched: Watched) -> None:
    assert b"GateSlipping" in http_get(alerts_url(watched.prometheus))


def test_while_the_schedule_is_stale_nobody_is_alerted_that_a_milestone_is_late(watched: Watched) -> None:
    watched.worker.process.kill()
    wait_until(lambda: bool(watched.receiver.notifications_for("operators", "MilepostDown")), "the operators are told")

    states = watched.states()
    assert {alert for alert, state in states.items() if state != "suppressed"} == set()
    assert states.keys() >= of("GateSlipping", PARK, DESIGN)
