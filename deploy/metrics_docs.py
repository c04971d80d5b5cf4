"""docs/metrics.md, written from the families themselves: `python -m deploy.metrics_reference docs/metrics.md`.

The families are asked what they expose: every one is given a sample, so that its labels are those of a real page. A
family that is new and has none is an error here, and a page that is not as this would write it fails a test.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from models.domain.claims import ProgrammeClaims, ProjectClaims, ProjectKey, Register
from models.domain.events import Money
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import make_stamp, parse_instant
from streams.metrics.milestones import (
    MILESTONE_FAMILIES,
    PROGRAMME_FAMILIES,
    Family,
    ProgrammeMetrics,
    render_milestone,
    render_programme_metrics,
)
from streams.metrics.pipeline import DROPPED_BY_CAP, Metrics

#: What section 7 of the contract promises. Everything else may change, and says so.
CONTRACT_FAMILIES: Final = frozenset(
    {
        *(f"milepost_milestone_{column}_timestamp_seconds" for column in ("baseline", "planned", "estimated")),
        *(f"milepost_milestone_{column}_timestamp_seconds" for column in ("actual", "forecast", "last_event")),
        *(f"milepost_milestone_{what}" for what in ("float_seconds", "state", "driver_info", "dependents", "amount")),
        *(f"milepost_programme_{what}" for what in ("info", "investment", "jobs", "dependencies_set_aside")),
        *(f"milepost_project_{what}" for what in ("info", "investment", "jobs")),
        "milepost_events_total",
        "milepost_rejected_total",
        "milepost_source_last_event_timestamp_seconds",
        "milepost_event_delay_seconds",
        "milepost_forecast_delay_seconds",
        "milepost_batch_seconds",
        "milepost_batch_events",
        "milepost_forecast_seconds",
        "milepost_position",
        "milepost_log_end",
        "milepost_lag_seconds",
        "milepost_missed_records_total",
        "milepost_database_up",
        "milepost_kafka_up",
        "milepost_series_dropped",
        "milepost_build_info",
    }
)

PIPELINE_METRICS_PATH, MILESTONES_METRICS_PATH = "/metrics", "/metrics/milestones"

#: Units that a name tells by its ending, the longest first, and what has a unit of its own.
_UNIT_BY_SUFFIX: Final = {
    "_timestamp_seconds": "seconds since 1970, UTC",
    "_seconds": "seconds",
    "_info": "always 1",
    "_up": "0 or 1",
    "_state": "0 or 1",
    "_flooding": "0 or 1",
    "_amount": "units of the currency",
    "_investment": "units of the currency",
    "_jobs": "jobs",
    "_dependents": "milestones",
    "_series_dropped": "milestones",
    "_dependencies_set_aside": "dependencies",
    "_rejected_total": "events",
    "_tolerated_total": "events",
    "_missed_records_total": "records",
    "_events_total": "events",
    "_assignments_total": "assignments",
    "_batch_events": "records",
    "_position": "offset",
    "_log_end": "offset",
}

_PAGE_HEADER: Final = """\
# Metrics

Written by `make generated` from the families in the code; a test fails when this page says anything else.

Every worker serves both pages. On `/metrics`, counters and histograms are of that worker, while `milepost_position`,
`milepost_log_end` and `milepost_lag_seconds` are of the whole log on every worker: take their maximum, never their sum.
`/metrics/milestones` holds the programmes whose partition of the programmes' topic the worker owns, so each programme
stands on one worker's page; `max by (programme, project, milestone)` keeps one that has just changed hands in one
piece. What does not apply is absent, never 0: a milestone without a plan has no planned date.

*Contract* names the section that promises a family; a dash means that it may change with any version. A histogram
stands on the page as `_bucket` (with the label `le`), `_sum` and `_count`.
"""


class MetricDoc(NamedTuple):
    """What is to be known of a family."""

    name: str
    type: str
    #: In the order of the page.
    labels: tuple[str, ...]
    unit: str
    help: str
    #: The page of a worker on which it stands.
    path: str

    @property
    def contract_section(self) -> str:
        """The section of the contract that promises it; a dash when none does."""
        return "§7" if self.name in CONTRACT_FAMILIES else "-"

    @property
    def sample_names(self) -> frozenset[str]:
        """The names under which its samples stand on the page."""
        if self.type == "histogram":
            return frozenset(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return frozenset({self.name})


def list_metric_docs() -> list[MetricDoc]:
    """Return every family that a worker exposes, sorted by page and name. Raises ValueError for one not understood."""
    return sorted(
        [
            *(_metric_doc(family, PIPELINE_METRICS_PATH) for family in _pipeline_families()),
            *(_metric_doc(family, MILESTONES_METRICS_PATH) for family in _milestone_families()),
        ],
        key=lambda reference: (reference.path, reference.name),
    )


def _pipeline_families() -> Iterable[Metric]:
    """Collect a worker's own families, each labelled one with a sample."""
    metrics = Metrics("0")
    metrics.source_seen("//office.example", 0)
    metrics.count_source_outcomes([("//office.example", False)])
    metrics.init_partitions("events", [0])
    for at_a_partition in (metrics.position, metrics.log_end, metrics.lag_seconds):
        at_a_partition.labels("events", "0").set(0)
    metrics.series_dropped.labels(DROPPED_BY_CAP).set(0)
    return metrics.registry.collect()


def _milestone_families() -> Iterable[Metric]:
    """Parse a page on which every family of the milestones has a sample."""
    day, stamp = date(2026, 11, 21), make_stamp(parse_instant("2026-11-21T00:00:00Z"), "//office.example", "1")
    money = Money(1.0, "USD")
    dates = day, day, day, day, day
    driver = MilestoneRef("park", "gate")
    standing = MilestoneStatus("north", "plant", "launch", *dates, 0, 0, State.BLOCKED, driver, 1, stamp, money)
    told = Register(stamp, "Plant")
    project = ProjectClaims(registered=stamp, name=told, investment=Register(stamp, money), jobs=Register(stamp, 1))
    programme = ProgrammeClaims(registered=stamp, name=told, investment=Register(stamp, money), jobs=Register(stamp, 1))
    whole = ProgrammeMetrics("north", programme, [(ProjectKey("north", "plant"), project)], 0)
    lines = [*render_milestone(standing).family_lines, *render_programme_metrics(whole)]
    families: tuple[Family[Any], ...] = (*MILESTONE_FAMILIES, *PROGRAMME_FAMILIES)
    for family, line in zip(families, lines, strict=True):
        # As it stands on the page; see streams.shelf.
        text = f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n{line.decode()}"
        yield from text_string_to_metric_families(text)


def _metric_doc(family: Metric, path: str) -> MetricDoc:
    if not family.samples:
        raise ValueError(f"{family.name} has no sample: give it one in deploy/metrics_reference.py")
    name = {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(family.type, family.name)
    kind = "gauge" if family.type == "info" else family.type
    labels = tuple(label for label in family.samples[0].labels if (kind, label) != ("histogram", "le"))
    return MetricDoc(name, kind, labels, _unit_of(name), family.documentation, path)


def _unit_of(name: str) -> str:
    for ending, unit in _UNIT_BY_SUFFIX.items():
        if name.endswith(ending):
            return unit
    raise ValueError(f"{name} has no unit: give it one in deploy/metrics_reference.py")


def render_metrics_docs() -> str:
    """Return the whole of docs/metrics.md."""
    return "\n".join([_PAGE_HEADER, *_render_table(PIPELINE_METRICS_PATH), *_render_table(MILESTONES_METRICS_PATH)])


def _render_table(path: str) -> Iterator[str]:
    yield f"## {path}\n"
    yield "| metric | type | labels | unit | what it says | contract |"
    yield "|---|---|---|---|---|---|"
    for reference in list_metric_docs():
        if reference.path == path:
            labels = ", ".join(f"`{label}`" for label in reference.labels) or "-"
            cells = (
                f"`{reference.name}`",
                reference.type,
                labels,
                reference.unit,
                reference.help,
                reference.contract_section,
            )
            yield f"| {' | '.join(cells)} |"
    yield ""


def main(arguments: list[str]) -> int:
    """Write the page to the file given; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("say where to write: python -m deploy.metrics_reference docs/metrics.md\n")
        return 2
    Path(arguments[0]).write_text(render_metrics_docs().rstrip("\n") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
