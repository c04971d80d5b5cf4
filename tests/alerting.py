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

DAY: Final = 86_400
PROMETHEUS: Final = Path(deploy.__file__).parent / "prometheus"
RULES: Final = PROMETHEUS / "rules"
#: A series and its values in promtool's notation.
Series = tuple[str, str]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not there; where it has to be, the test fails by itself."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(missing) and os.environ.get("CI") != "true", reason=f"{', '.join(missing)} is not on this machine"
    )


class Firing(NamedTuple):
    """An alert that fires: what it says, and its labels besides those that its rule gives."""

    description: str
    labels: Mapping[str, str]


class Moment(NamedTuple):
    """What is expected of an alert at a time; no firings: it is silent."""

    at: str
    alert: str
    firings: Sequence[Firing] = ()


def fires(at: str, alert: str, description: str, **labels: str) -> Moment:
    """Expect one."""
    return Moment(at, alert, [Firing(description, labels)])


@dataclass(frozen=True)
class Story:
    """What happened, and what is to be told of it."""

    name: str
    series: Sequence[Series]
    moments: Sequence[Moment]
    #: Other expressions, when they are looked at, and what they give.
    values: Sequence[tuple[str, str, Mapping[str, float]]] = ()
    #: How often is scraped and evaluated.
    step: str = "1m"


def series(name: str, values: str, **labels: str) -> Series:
    """Give a series of the worker on a:8090, unless its labels say otherwise."""
    named = {"job": "milepost", "instance": "a:8090", **labels}
    listed = ", ".join(f'{label}="{value}"' for label, value in named.items())
    return f"{name}{{{listed}}}", values


def rules_of(files: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rules of some files of the folder `rules`."""
    groups = [group for name in files for group in yaml.safe_load((RULES / name).read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    return {rule["alert"]: rule for rule in rules_of(sorted(path.name for path in RULES.iterdir())) if "alert" in rule}


def play(story: Story, files: Sequence[str], folder: Path) -> None:
    """Have promtool play a story to the rules of some files; fails with what it says."""
    groups = [group["name"] for name in files for group in yaml.safe_load((RULES / name).read_text("utf-8"))["groups"]]
    test = {
        "interval": story.step,
        "input_series": [{"series": name, "values": values} for name, values in story.series],
        "alert_rule_test": [
            {
                "alertname": moment.alert,
                "eval_time": moment.at,
                "exp_alerts": [_expected(moment.alert, firing) for firing in moment.firings],
            }
            for moment in story.moments
        ],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, at, samples in story.values
        ],
    }
    path = folder / "story.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES / name) for name in files],
                "evaluation_interval": story.step,
                "group_eval_order": groups,
                "tests": [test],
            }
        )
    )
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)],  # noqa: S607 - wherever Debian put it
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _expected(name: str, firing: Firing) -> dict[str, Any]:
    """Return an alert as promtool compares it: the links follow from the labels, the description is the story's."""
    rule = alerts()[name]
    links = {
        key: re.sub(r"{{ \$labels\.(\w+) }}", lambda label: firing.labels[label[1]], text)
        for key, text in rule["annotations"].items()
    }
    return {
        "exp_labels": {**rule["labels"], **firing.labels},
        "exp_annotations": {**links, "description": firing.description},
    }
