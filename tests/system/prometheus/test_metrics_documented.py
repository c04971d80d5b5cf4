"""Every metric that a real worker exposes is documented, and every documented one is exposed."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.metrics_docs import MILESTONES_METRICS_PATH, PIPELINE_METRICS_PATH, families_by_path, sample_names
from tests.helpers.prometheus import MonitoringStack

FAMILIES_BY_PATH = {path: families_by_path()[path] for path in (PIPELINE_METRICS_PATH, MILESTONES_METRICS_PATH)}


@pytest.mark.parametrize("page", FAMILIES_BY_PATH)
def test_what_a_worker_exposes_is_what_is_documented(monitoring_stack: MonitoringStack, page: str) -> None:
    documented = {name for family in FAMILIES_BY_PATH[page] for name in sample_names(family)}
    families = text_string_to_metric_families(monitoring_stack.worker.get(page)[1])

    assert {sample.name for family in families for sample in family.samples} == documented


def test_types_labels_and_help_are_as_documented(monitoring_stack: MonitoringStack) -> None:
    documented = {
        name: family for families in FAMILIES_BY_PATH.values() for family in families for name in sample_names(family)
    }
    for page in FAMILIES_BY_PATH:
        for family in text_string_to_metric_families(monitoring_stack.worker.get(page)[1]):
            for sample in family.samples:
                reference = documented[sample.name]
                assert (family.type, family.documentation) == (reference.type, reference.help)
                assert {*sample.labels} - {"le"} == {*reference.labels}
