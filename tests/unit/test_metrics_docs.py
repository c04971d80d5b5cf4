"""docs/metrics.md is what the code says, and the code has what the contract promises."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.metrics_docs import AnyFamily, families_by_path, main, render_metrics_docs
from streams.gateway.metrics import GATEWAY_FAMILIES, GatewayMetrics
from streams.metrics.milestones import MILESTONE_FAMILIES
from streams.metrics.pipeline import Metrics, PipelineFamily
from streams.metrics.programmes import PROGRAMME_FAMILIES
from streams.notify.metrics import NOTIFY_FAMILIES, NotifyMetrics

CHECKOUT = Path(__file__).parents[2]
FAMILIES = [family for families in families_by_path().values() for family in families]
#: What section 7 of the contract promises.
CONTRACT_FAMILIES = {
    *(f"milepost_milestone_{field}_timestamp_seconds" for field in ("baseline", "planned", "estimated")),
    *(f"milepost_milestone_{field}_timestamp_seconds" for field in ("actual", "forecast", "last_event")),
    *(f"milepost_milestone_{name}" for name in ("float_seconds", "state", "driver_info", "dependents", "amount")),
    *(f"milepost_milestone_{name}" for name in ("moved", "held_up_investment", "held_up_jobs")),
    *(f"milepost_programme_{name}" for name in ("info", "investment", "jobs", "dependencies_set_aside")),
    *(f"milepost_project_{name}" for name in ("info", "investment", "jobs")),
    "milepost_events_total",
    "milepost_rejected_total",
    "milepost_dead_letters_waiting",
    "milepost_retractions_unmatched",
    "milepost_source_events_total",
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


def test_the_page_is_as_the_code_writes_it() -> None:
    written = (CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert written == render_metrics_docs().rstrip("\n") + "\n", "run `make generated`"


def test_it_is_written_to_the_file_that_is_named(tmp_path: Path) -> None:
    assert main([str(tmp_path / "metrics.md")]) == 0
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8").startswith("# Metrics\n")


def test_without_a_file_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_family_of_the_code_is_there_once() -> None:
    names = [family.name for family in FAMILIES]
    collected = {family.name for family in Metrics("0").registry.collect()}

    assert len(names) == len(set(names))
    rows = (*MILESTONE_FAMILIES, *PROGRAMME_FAMILIES, *GATEWAY_FAMILIES, *NOTIFY_FAMILIES)
    assert len(names) == len(collected) + len(rows)


@pytest.mark.parametrize(
    ("metrics", "families"), [(GatewayMetrics, GATEWAY_FAMILIES), (NotifyMetrics, NOTIFY_FAMILIES)]
)
def test_a_process_of_its_own_exposes_its_families_and_no_others(
    metrics: type[GatewayMetrics | NotifyMetrics], families: Sequence[PipelineFamily]
) -> None:
    collected = {f"{family.name}{'_total' * (family.type == 'counter')}" for family in metrics().registry.collect()}

    assert {name.replace("_build", "_build_info") for name in collected} == {family.name for family in families}


def test_what_the_contract_promises_is_there_and_marked_and_nothing_else_is() -> None:
    assert {family.name for family in FAMILIES if family.is_stable} == CONTRACT_FAMILIES


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if not family.is_stable], ids=lambda family: family.name
)
def test_what_goes_beyond_the_contract_is_explained_to_the_operator(family: AnyFamily) -> None:
    operations = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
    [section] = re.findall(r"## Metrics beyond the contract\n(.*?)(?=\n## |\Z)", operations, re.DOTALL)

    assert f"`{family.name}" in section
