"""What dashboards and rules ask Prometheus, read from the files that are shipped."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

CHECKOUT = Path(__file__).parents[2]
DASHBOARDS_DIR = CHECKOUT / "deploy" / "grafana" / "dashboards"
RULES_DIR = CHECKOUT / "deploy" / "prometheus" / "rules"

#: A metric of ours, recorded (with colons) or scraped.
_MILEPOST_METRIC: Final = re.compile(r"\b(?:[a-z]+:milepost_\w+:\w+|(?<!:)milepost_\w+)")


class PromQuery(NamedTuple):
    """A query, and where it stands."""

    location: str
    expr: str
    #: Of one moment, or over the time that is shown.
    is_instant: bool

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics of ours that it names."""
        return frozenset(_MILEPOST_METRIC.findall(self.expr))


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard, by uid."""
    dashboards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS_DIR.glob("*.json"))]
    return {dashboard["uid"]: dashboard for dashboard in dashboards}


def data_panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboard_queries() -> Iterator[PromQuery]:
    """Return the queries of every panel."""
    for uid, dashboard in dashboards().items():
        for panel in data_panels(dashboard):
            for target in panel["targets"]:
                where = f"{uid} / {panel['title']} / {target['refId']}"
                yield PromQuery(where, target["expr"], target.get("instant", False))


def rule_queries() -> Iterator[PromQuery]:
    """Return the expressions of every rule that records and every alert."""
    for path in sorted(RULES_DIR.glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield PromQuery(rule.get("record") or rule["alert"], rule["expr"], is_instant=True)


def recording_rule_names() -> frozenset[str]:
    """Return the names that rules record under."""
    return frozenset(rule.location for rule in rule_queries() if ":" in rule.location)
