"""Stories for alerts: series as Prometheus would have scraped them, which alerts fire when, and promtool to play them.

Time begins at 0, the epoch, and so does every date: what is planned for day 45 stands at 45 * 86,400 s.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

import deploy

DAY_SECONDS: Final = 86_400
PROMETHEUS_DIR: Final = Path(deploy.__file__).parent / "prometheus"
RULES_DIR: Final = PROMETHEUS_DIR / "rules"
#: A series and its values in promtool's notation.
InputSeries = tuple[str, str]


def skip_without(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not there; where it has to be, the test fails by itself."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(missing) and os.environ.get("CI") != "true", reason=f"{', '.join(missing)} is not on this machine"
    )


class ExpectedAlert(NamedTuple):
    """An alert that fires: its annotations, and its labels besides those that its rule gives."""

    description: str
    labels: Mapping[str, str]


class AlertExpectation(NamedTuple):
    """What is expected of an alert at a time; no firings: it is silent."""

    eval_time: str
    alert: str
    expected_alerts: Sequence[ExpectedAlert] = ()


def expect_alert(eval_time: str, alert: str, description: str, **labels: str) -> AlertExpectation:
    """Expect one."""
    return AlertExpectation(eval_time, alert, [ExpectedAlert(description, labels)])


@dataclass(frozen=True)
class RuleTest:
    """Series over time, and the alerts that are expected of them."""

    name: str
    series: Sequence[InputSeries]
    expectations: Sequence[AlertExpectation]
    #: Other expressions, when they are looked at, and what they give.
    expressions: Sequence[tuple[str, str, Mapping[str, float]]] = ()
    #: How often is scraped and evaluated.
    interval: str = "1m"


def input_series(name: str, values: str, /, **labels: str) -> InputSeries:
    """Give a series of the worker on a:8090, unless its labels say otherwise."""
    named = {"job": "milepost", "instance": "a:8090", **labels}
    listed = ", ".join(f'{label}="{value}"' for label, value in named.items())
    return f"{name}{{{listed}}}", values


def load_rules(files: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rules of some files of the folder `rules`."""
    groups = [group for name in files for group in yaml.safe_load((RULES_DIR / name).read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alert_rules() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    return {
        rule["alert"]: rule for rule in load_rules(sorted(path.name for path in RULES_DIR.iterdir())) if "alert" in rule
    }


def run_promtool(rule_test: RuleTest, files: Sequence[str], folder: Path) -> None:
    """Have promtool play a story to the rules of some files; fails with its output."""
    groups = [
        group["name"] for name in files for group in yaml.safe_load((RULES_DIR / name).read_text("utf-8"))["groups"]
    ]
    test = {
        "interval": rule_test.interval,
        "input_series": [{"series": name, "values": values} for name, values in rule_test.series],
        "alert_rule_test": [
            {
                "alertname": moment.alert,
                "eval_time": moment.eval_time,
                "exp_alerts": [_promtool_alert(moment.alert, firing) for firing in moment.expected_alerts],
            }
            for moment in rule_test.expectations
        ],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, at, samples in rule_test.expressions
        ],
    }
    path = folder / "story.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES_DIR / name) for name in files],
                "evaluation_interval": rule_test.interval,
                "group_eval_order": groups,
                "tests": [test],
            }
        )
    )
    call_promtool("test", path)


def call_promtool(action: str, path: Path) -> str:
    """Have promtool check or test rules in a file; return what it says. Fails with its errors."""
    done = subprocess.run(
        ["promtool", action, "rules", str(path)],  # noqa: S607 - wherever Debian put it
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _promtool_alert(name: str, expected: ExpectedAlert) -> dict[str, Any]:
    """Return an alert as promtool compares it: the links follow from the labels, the description is the story's."""
    rule = alert_rules()[name]
    links = {
        key: re.sub(r"{{ \$labels\.(\w+) }}", lambda label: expected.labels[label[1]], text)
        for key, text in rule["annotations"].items()
    }
    return {
        "exp_labels": {**rule["labels"], **expected.labels},
        "exp_annotations": {**links, "description": expected.description},
    }
