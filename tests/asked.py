"""What dashboards, rules and consoles ask Prometheus, read from the files that are shipped."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from deploy.prometheus.process import CONSOLES

CHECKOUT = Path(__file__).parents[1]
DASHBOARDS = CHECKOUT / "deploy" / "grafana" / "dashboards"
RULES = CHECKOUT / "deploy" / "prometheus" / "rules"

#: A metric of ours, recorded (with colons) or scraped.
_OURS: Final = re.compile(r"\b(?:[a-z]+:milepost_\w+:\w+|(?<!:)milepost_\w+)")


class Asked(NamedTuple):
    """A query, and where it stands."""

    where: str
    expr: str
    #: Of one moment, or over the time that is shown.
    instant: bool

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics of ours that it names."""
        return frozenset(_OURS.findall(self.expr))


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard, by uid."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))]
    return {one["uid"]: one for one in found}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def of_dashboards() -> Iterator[Asked]:
    """Return the queries of every panel."""
    for uid, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{uid} / {panel['title']} / {target['refId']}"
                yield Asked(where, target["expr"], target.get("instant", False))


def of_rules() -> Iterator[Asked]:
    """Return the expressions of every rule that records and every alert."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield Asked(rule.get("record") or rule["alert"], rule["expr"], instant=True)


def recorded() -> frozenset[str]:
    """Return the names that rules record under."""
    return frozenset(rule.where for rule in of_rules() if ":" in rule.where)


def of_consoles() -> Iterator[Asked]:
    """Return the text of every console: its queries are put together when it is drawn."""
    for path in sorted(CONSOLES.iterdir()):
        # What templates call themselves is no metric.
        text = re.sub(r'(template|define) "milepost_\w+"', "", path.read_text(encoding="utf-8"))
        yield Asked(path.name, text, instant=True)
