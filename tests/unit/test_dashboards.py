"""Grafana's dashboards are what the code writes, hold together, and ask only for what there is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.__main__ import main
from deploy.metrics_docs import families_by_path, sample_names
from tests.helpers import queries

CHECKOUT = Path(__file__).parents[2]
EXPOSED = {name for families in families_by_path().values() for family in families for name in sample_names(family)}
UIDS = {"milepost-programme", "milepost-gate", "milepost-pipeline"}
PANELS = [
    pytest.param(panel, id=f"{uid} / {panel['title']}")
    for uid, dashboard in queries.dashboards().items()
    for panel in queries.data_panels(dashboard)
]
QUERIES = [*queries.dashboard_queries(), *queries.rule_queries()]


def test_the_files_are_as_the_code_writes_them(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}

    assert written == {path.name: path.read_text(encoding="utf-8") for path in queries.DASHBOARDS_DIR.iterdir()}, (
        "run `make generated`"
    )


def test_without_a_folder_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_there_are_three() -> None:
    assert queries.dashboards().keys() == UIDS


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.location)
def test_every_metric_that_is_asked_for_exists(query: queries.PromQuery) -> None:
    assert query.metrics <= EXPOSED | queries.recording_rule_names()


def test_every_promised_metric_of_milestones_is_shown_or_recorded() -> None:
    used = frozenset[str]().union(*(query.metrics for query in QUERIES))
    unused = EXPOSED - used

    # Sums and counts of histograms, and what only a person asks for.
    assert {name for name in unused if not name.endswith(("_sum", "_count"))} == {
        "milepost_milestone_actual_timestamp_seconds",
        "milepost_project_investment",
        "milepost_project_jobs",
    }


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_a_dashboard_is_found_kept_and_laid_out(uid: str) -> None:
    dashboard = queries.dashboards()[uid]
    ids = [panel["id"] for panel in dashboard["panels"]]
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for box in boxes
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]

    assert dashboard["title"].startswith("Milepost: ")
    assert dashboard["timezone"] == "utc", "a milestone's date is a day in UTC"
    assert dashboard["editable"] is False
    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_asks_the_prometheus_that_is_chosen(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["targets"]
    assert panel["fieldConfig"]["defaults"]["noValue"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("query", list(queries.dashboard_queries()), ids=lambda query: query.location)
def test_a_query_uses_only_variables_that_the_dashboard_has(query: queries.PromQuery) -> None:
    uid = query.location.split(" / ")[0]
    names = {one["name"] for one in queries.dashboards()[uid]["templating"]["list"]}
    used = {part.split('"')[0].split("]")[0] for part in query.expr.split("$")[1:]}

    assert used <= names | {"__rate_interval"}


def test_what_alerts_link_to_is_there() -> None:
    for path in queries.RULES_DIR.glob("*.yml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if link := rule.get("annotations", {}).get("dashboard_url"):
                    address, _, query = link.partition("?")
                    uid = address.rpartition("/")[2]
                    variables = {one["name"] for one in queries.dashboards()[uid]["templating"]["list"]}
                    assert {one.split("=")[0].removeprefix("var-") for one in query.split("&") if one} <= variables


@pytest.mark.parametrize("name", ["dashboards", "datasources"])
def test_what_grafana_is_provisioned_with_is_read(name: str) -> None:
    path = CHECKOUT / "deploy" / "grafana" / "provisioning" / name / "milepost.yml"

    assert yaml.safe_load(path.read_text(encoding="utf-8"))["apiVersion"] == 1
