"""docs/metrics.md is what the code says, and the code has what the contract promises."""

import re
from pathlib import Path

import pytest

from deploy.metrics_docs import CONTRACT_FAMILIES, MetricDoc, list_metric_docs, main, render_metrics_docs
from streams.metrics.milestones import MILESTONE_FAMILIES, PROGRAMME_FAMILIES
from streams.metrics.pipeline import Metrics

CHECKOUT = Path(__file__).parents[2]
BEYOND = [reference for reference in list_metric_docs() if reference.name not in CONTRACT_FAMILIES]


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
    names = [reference.name for reference in list_metric_docs()]
    collected = {family.name for family in Metrics("0").registry.collect()}

    assert len(names) == len(set(names))
    assert len(names) == len(collected) + len(MILESTONE_FAMILIES) + len(PROGRAMME_FAMILIES)


def test_everything_that_the_contract_promises_is_there() -> None:
    assert {reference.name for reference in list_metric_docs()} >= CONTRACT_FAMILIES


@pytest.mark.parametrize("reference", BEYOND, ids=lambda reference: reference.name)
def test_what_goes_beyond_the_contract_is_explained_to_the_operator(reference: MetricDoc) -> None:
    operations = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
    [section] = re.findall(r"## Metrics beyond the contract\n(.*?)(?=\n## |\Z)", operations, re.DOTALL)

    assert f"`{reference.name}" in section
