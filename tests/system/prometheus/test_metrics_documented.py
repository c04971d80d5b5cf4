"""Every metric that a real worker exposes is documented, and every documented one is exposed."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.metrics_docs import MILESTONES_METRICS_PATH, PIPELINE_METRICS_PATH, list_metric_docs
from tests.helpers.prometheus import MonitoringStack

#: Documented, and not on the pages of a worker that was told the sample programme: nothing in it says such a thing.
NOT_IN_THE_STORY = {"milepost_project_investment", "milepost_project_jobs"}


@pytest.mark.parametrize("page", [PIPELINE_METRICS_PATH, MILESTONES_METRICS_PATH])
def test_what_a_worker_exposes_is_what_is_documented(monitoring_stack: MonitoringStack, page: str) -> None:
    documented = {name for reference in list_metric_docs() if reference.path == page for name in reference.sample_names}
    families = text_string_to_metric_families(monitoring_stack.worker.get(page)[1])

    assert {sample.name for family in families for sample in family.samples} == documented - NOT_IN_THE_STORY


def test_what_the_story_leaves_out_is_documented() -> None:
    assert {reference.name for reference in list_metric_docs()} >= NOT_IN_THE_STORY


def test_types_labels_and_help_are_as_documented(monitoring_stack: MonitoringStack) -> None:
    documented = {name: reference for reference in list_metric_docs() for name in reference.sample_names}
    for page in (PIPELINE_METRICS_PATH, MILESTONES_METRICS_PATH):
        for family in text_string_to_metric_families(monitoring_stack.worker.get(page)[1]):
            for sample in family.samples:
                reference = documented[sample.name]
                assert (family.type, family.documentation) == (reference.type, reference.help)
                assert {*sample.labels} - {"le"} == {*reference.labels}
