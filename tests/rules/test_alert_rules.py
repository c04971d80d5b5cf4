"""What Prometheus and Alertmanager are given: whole, sound, and every alert leads to who has to know and what to do."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import generate_latest

from models.domain.events import DATA_TYPES
from streams.gateway.metrics import GATEWAY_FAMILIES
from streams.metrics.milestones import MILESTONE_FAMILIES
from streams.metrics.pipeline import Metrics
from streams.metrics.programmes import PROGRAMME_FAMILIES
from streams.notify.metrics import NOTIFY_FAMILIES
from tests.helpers.promtool import PROMETHEUS_DIR, RULES_DIR, alert_rules, load_rules, skip_without
from tests.rules.test_gateway_alerts import GATEWAY_RULE_TESTS
from tests.rules.test_milestone_alerts import MILESTONE_RULE_TESTS as MILESTONE_STORIES
from tests.rules.test_notify_alerts import NOTIFY_RULE_TESTS
from tests.rules.test_pipeline_alerts import PIPELINE_RULE_TESTS as PIPELINE_STORIES
from tests.rules.test_pipeline_alerts import SOURCE_RULE_TESTS

ALERTS = alert_rules()
ROUTING = PROMETHEUS_DIR / "alertmanager.yml"
MOMENTS = [
    moment
    for story in (*PIPELINE_STORIES, *SOURCE_RULE_TESTS, *GATEWAY_RULE_TESTS, *NOTIFY_RULE_TESTS, *MILESTONE_STORIES)
    for moment in story.expectations
]
#: Who is told of it, as Alertmanager's receivers are called.
AUDIENCES = {"operators", "projects", "watchdog"}
SEVERITIES = {"critical", "warning", "info", "none"}
DASHBOARDS = {"milepost-programme", "milepost-gate", "milepost-pipeline"}
BOARD = re.compile(
    r"/pipeline|/programmes/{{ \$labels\.programme }}"
    r"(/(milestones|gates)/{{ \$labels\.project }}/{{ \$labels\.milestone }})?"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@skip_without("promtool")
def test_prometheus_takes_the_scrape_configuration_and_every_rule() -> None:
    done = run("promtool", "check", "config", "--lint=all", "--lint-fatal", PROMETHEUS_DIR / "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(list(RULES_DIR.iterdir()))} rule files found" in done.stdout


@skip_without("amtool")
def test_alertmanager_takes_its_configuration_without_a_warning() -> None:
    done = run("amtool", "check-config", ROUTING)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "warn" not in done.stdout.lower()


def test_every_value_of_a_matcher_is_quoted_so_that_every_version_parses_it_alike() -> None:
    matchers = re.findall(r"matchers: \[(.*)\]", ROUTING.read_text(encoding="utf-8"))

    assert len(matchers) > 10
    for matcher in (matcher for listed in matchers for matcher in listed.split(", ")):
        assert re.fullmatch(r"""'\w+ (=|!=|=~) "[\w|]+"'""", matcher), matcher


@pytest.mark.parametrize("alert", ALERTS)
def test_of_every_alert_one_story_has_it_fire_and_one_has_it_silent(alert: str) -> None:
    assert {bool(moment.expected_alerts) for moment in MOMENTS if moment.alert == alert} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_whom_it_is_for_how_bad_it_is_and_where_to_look(alert: str) -> None:
    labels, annotations = ALERTS[alert]["labels"], ALERTS[alert]["annotations"]

    assert labels["severity"] in SEVERITIES
    assert labels["audience"] in AUDIENCES
    assert set(labels) <= {"severity", "audience", "forecasts"}
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url", "board_url"}
    assert "{{" not in annotations["summary"]
    assert urlsplit(annotations["runbook_url"]).fragment == alert.lower()
    dashboard = urlsplit(annotations["dashboard_url"])
    assert dashboard.path.removeprefix("/d/") in DASHBOARDS
    assert BOARD.fullmatch(urlsplit(annotations["board_url"]).path)


@pytest.mark.parametrize("alert", [alert for alert, rule in ALERTS.items() if rule["labels"]["audience"] == "projects"])
def test_the_alerts_of_projects_outlive_the_restart_of_a_worker(alert: str) -> None:
    assert ALERTS[alert]["keep_firing_for"] in {"15m", "20m"}


def test_every_metric_that_a_rule_reads_is_exported_or_recorded() -> None:
    metrics = Metrics("0")
    for event_type in DATA_TYPES:
        metrics.events.labels("accepted", event_type)
    metrics.source_seen("//office", 0)
    metrics.count_source_events("//office", "accepted")
    metrics.count_unknown_fields("//office", "lag")
    metrics.init_partitions("milepost.events", [0])
    for gauge in (metrics.position, metrics.log_end, metrics.lag_seconds):
        gauge.labels("milepost.events", "0")
    metrics.series_dropped.labels("cap")
    metrics.set_dead_letters_waiting({})
    page = generate_latest(metrics.registry).decode()
    exported = {re.split(r"[{ ]", line)[0] for line in page.splitlines() if not line.startswith("#")}
    exported |= {family.name for family in MILESTONE_FAMILIES} | {family.name for family in PROGRAMME_FAMILIES}
    exported |= {family.name for family in (*GATEWAY_FAMILIES, *NOTIFY_FAMILIES)}
    rules = load_rules(path.name for path in RULES_DIR.iterdir())
    recorded = {rule["record"] for rule in rules if "record" in rule}
    read = {
        name
        for rule in rules
        for name in re.findall(r"(?:[a-z]+:)?milepost_\w+(?::\w+)?", re.sub(r'"[^"]*"', "", rule["expr"]))
    }

    assert read - exported - recorded == set()
    assert len(read) > len(rules) / 2


@skip_without("amtool")
@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_goes_to_those_it_is_for(alert: str) -> None:
    labels = [f"{name}={value}" for name, value in ALERTS[alert]["labels"].items()]
    audience = ALERTS[alert]["labels"]["audience"]
    done = run(
        *("amtool", "config", "routes", "test", f"--config.file={ROUTING}", f"--verify.receivers={audience}"),
        *(f"alertname={alert}", *labels),
    )

    assert done.returncode == 0, done.stdout + done.stderr


@skip_without("amtool")
def test_what_no_route_knows_goes_to_those_who_run_the_system() -> None:
    done = run("amtool", "config", "routes", "test", f"--config.file={ROUTING}", "alertname=Strange")

    assert done.stdout.split() == ["operators"]
