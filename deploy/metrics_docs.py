"""Generates docs/metrics.md from the metric families: `python -m deploy.metrics_docs docs/metrics.md`.

Every family carries its help, unit, labels and stability; a test compares the page with what this generates.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streams.gateway.metrics import GATEWAY_FAMILIES
from streams.metrics.exposition import Family
from streams.metrics.milestones import MILESTONE_FAMILIES
from streams.metrics.pipeline import Metrics, PipelineFamily
from streams.metrics.programmes import PROGRAMME_FAMILIES
from streams.notify.metrics import NOTIFY_FAMILIES

PIPELINE_METRICS_PATH, MILESTONES_METRICS_PATH = "/metrics", "/metrics/milestones"
GATEWAY_PAGE: Final = "/metrics of a gateway"
NOTIFY_PAGE: Final = "/metrics of `milepost notify`"

_PAGE_HEADER: Final = """\
# Metrics

Written by `make generated` from the families in the code; a test fails when this page says anything else.

Every worker serves both pages; a gateway and `milepost notify` serve their own. On `/metrics`, counters and
histograms are of that worker, while `milepost_position`, `milepost_log_end` and `milepost_lag_seconds` are of the
whole log on every worker: take their maximum, never their sum. `/metrics/milestones` holds the programmes whose
partition of the programmes' topic the worker owns, so each programme stands on one worker's page; `max by (programme,
project, milestone)` keeps one that has just changed hands in one piece. What does not apply is absent, never 0: a
milestone without a plan has no planned date.

*Contract* names the section that promises a family; a dash means that it may change with any version. A histogram
stands on the page as `_bucket` (with the label `le`), `_sum` and `_count`.
"""


AnyFamily = PipelineFamily | Family


def families_by_path() -> dict[str, list[AnyFamily]]:
    """Return the families of both pages of a worker, of a gateway's and of `milepost notify`'s, sorted by name."""
    pages: dict[str, list[AnyFamily]] = {
        PIPELINE_METRICS_PATH: [*Metrics("0").families],
        MILESTONES_METRICS_PATH: [*MILESTONE_FAMILIES, *PROGRAMME_FAMILIES],
        GATEWAY_PAGE: [*GATEWAY_FAMILIES],
        NOTIFY_PAGE: [*NOTIFY_FAMILIES],
    }
    return {path: sorted(families, key=lambda family: family.name) for path, families in pages.items()}


def sample_names(family: AnyFamily) -> frozenset[str]:
    """Return the names of a family's samples on the page."""
    suffixes = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
    return frozenset(family.name + suffix for suffix in suffixes)


def render_metrics_docs() -> str:
    """Return the whole of docs/metrics.md."""
    tables = (line for path, families in families_by_path().items() for line in _render_table(path, families))
    return "\n".join([_PAGE_HEADER, *tables])


def _render_table(path: str, families: list[AnyFamily]) -> Iterator[str]:
    yield f"## {path}\n"
    yield "| metric | type | labels | unit | what it says | contract |"
    yield "|---|---|---|---|---|---|"
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
        section = "§7" if family.is_stable else "-"
        yield f"| `{family.name}` | {family.type} | {labels} | {family.unit} | {family.help} | {section} |"
    yield ""


def main(arguments: list[str]) -> int:
    """Write the page to the file given; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("say where to write: python -m deploy.metrics_docs docs/metrics.md\n")
        return 2
    Path(arguments[0]).write_text(render_metrics_docs().rstrip("\n") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
