"""What Prometheus and Grafana get from the chart is what they get everywhere else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.helm.generated import CHART
from deploy.prometheus.render import PROMETHEUS_DIR, Addresses, render_config
from tests.chart.rendering import documents, named, of_kind, pod_of, render
from tests.chart.tables import VALUES
from tests.helpers.promtool import call_promtool, skip_without

#: Labels that the operator gives each series: namespace, pod, container, endpoint.
OPERATORS_LABELS: Final = 4
MONITORED: Final = VALUES["everything"]
JOBS: Final[Mapping[str, Any]] = {
    job["job_name"]: job
    for job in yaml.safe_load((PROMETHEUS_DIR / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
}


def test_every_job_of_the_shipped_configuration_is_one_monitor_with_its_path_and_limits() -> None:
    found = {}
    for monitor in of_kind(render(MONITORED), "PodMonitor"):
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        [job] = [rule["replacement"] for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"]
        assert job not in found
        found[job] = {
            "path": endpoint["path"],
            "samples": monitor["spec"]["sampleLimit"],
            "body": monitor["spec"]["bodySizeLimit"],
            "labels": monitor["spec"]["labelLimit"] - OPERATORS_LABELS,
            "name": monitor["spec"]["labelNameLengthLimit"],
            "value": monitor["spec"]["labelValueLengthLimit"],
        }
    assert found == {
        name: {
            "path": job["metrics_path"],
            "samples": job["sample_limit"],
            "body": job["body_size_limit"],
            "labels": job["label_limit"],
            "name": job["label_name_length_limit"],
            "value": job["label_value_length_limit"],
        }
        for name, job in JOBS.items()
    }


def test_a_page_of_a_pod_is_scraped_once() -> None:
    manifests = render(MONITORED)
    pages = []
    for deployment in of_kind(manifests, "Deployment"):
        labels = pod_of(deployment)["metadata"]["labels"]
        for monitor in of_kind(manifests, "PodMonitor", "ServiceMonitor"):
            if monitor["spec"]["selector"]["matchLabels"].items() <= labels.items():
                pages += [
                    (deployment["metadata"]["name"], each["path"]) for each in monitor["spec"]["podMetricsEndpoints"]
                ]

    assert sorted(pages) == [
        ("milepost-gateway", "/metrics"),
        ("milepost-notify", "/metrics"),
        ("milepost-worker", "/metrics"),
        ("milepost-worker", "/metrics/milestones"),
    ]


def test_the_rules_are_the_shipped_ones_with_the_addresses_of_the_values() -> None:
    values = {**MONITORED, "monitoring": {"rules": {"enabled": True, "grafanaUrl": "https://grafana.example/"}}}
    addresses = Addresses(board="https://board.example", grafana="https://grafana.example")
    shipped = {
        f"milepost-{Path(name).stem}": yaml.safe_load(text)
        for name, text in render_config(addresses).items()
        if name.startswith("rules/")
    }

    assert {found["metadata"]["name"]: found["spec"] for found in of_kind(render(values), "PrometheusRule")} == shipped


def test_without_an_address_of_the_board_alerts_link_to_its_service() -> None:
    rules = named(render({"monitoring": {"rules": {"enabled": True}}}), "PrometheusRule", "milepost-pipeline")
    links = {
        rule["annotations"]["runbook_url"].partition("/runbook")[0]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
    }

    assert links == {"http://milepost-board.tracking.svc:80"}


@skip_without("promtool")
def test_promtool_takes_the_rules_of_the_chart(tmp_path: Path) -> None:
    for rules in of_kind(render(MONITORED), "PrometheusRule"):
        path = tmp_path / f"{rules['metadata']['name']}.yml"
        path.write_text(yaml.safe_dump(rules["spec"]))
        assert "SUCCESS" in call_promtool("check", path)


def test_the_dashboards_are_the_shipped_ones() -> None:
    found = {
        name: json.loads(text)
        for each in of_kind(render(MONITORED), "ConfigMap")
        if "grafana_dashboard" in each["metadata"].get("labels", {})
        for name, text in each["data"].items()
    }

    assert found == {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in (CHART.parents[1] / "grafana" / "dashboards").glob("*.json")
    }
    assert len(found) == 3


def test_a_scaler_asks_for_a_rule_that_there_is() -> None:
    [scaled] = documents((CHART.parent / "examples" / "autoscaling.yaml").read_text(encoding="utf-8"))
    recorded = {
        rule.get("record")
        for rules in of_kind(render(MONITORED), "PrometheusRule")
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
    }

    assert scaled["spec"]["triggers"][0]["metadata"]["query"] in recorded
    assert (
        scaled["spec"]["scaleTargetRef"]["name"] == named(render(), "Deployment", "milepost-worker")["metadata"]["name"]
    )


@pytest.mark.parametrize("labels", [{}, {"release": "monitoring"}])
def test_a_prometheus_finds_monitors_and_rules_by_labels(labels: dict[str, str]) -> None:
    monitoring = {"podMonitors": {"enabled": True, "labels": labels}, "rules": {"enabled": True, "labels": labels}}
    for found in of_kind(render({"monitoring": monitoring}), "PodMonitor", "PrometheusRule"):
        assert labels.items() <= found["metadata"]["labels"].items()
