"""Every metric that a real worker exposes is documented, and every documented one is exposed."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.metrics_docs import MILESTONES_PAGE, PIPELINE_PAGE, references
from tests.scraped import Scraped

#: Documented, and not on the pages of a worker that was told the sample programme: nothing in it says such a thing.
NOT_IN_THE_STORY = {"milepost_project_investment", "milepost_project_jobs"}


@pytest.mark.parametrize("page", [PIPELINE_PAGE, MILESTONES_PAGE])
def test_what_a_worker_exposes_is_what_is_documented(scraped: Scraped, page: str) -> None:
    documented = {name for reference in references() if reference.page == page for name in reference.samples}
    families = text_string_to_metric_families(scraped.worker.get(page)[1])

    assert {sample.name for family in families for sample in family.samples} == documented - NOT_IN_THE_STORY


def test_what_the_story_leaves_out_is_documented() -> None:
    assert {reference.name for reference in references()} >= NOT_IN_THE_STORY


def test_types_labels_and_help_are_as_documented(scraped: Scraped) -> None:
    documented = {name: reference for reference in references() for name in reference.samples}
    for page in (PIPELINE_PAGE, MILESTONES_PAGE):
        for family in text_string_to_metric_families(scraped.worker.get(page)[1]):
            for sample in family.samples:
                reference = documented[sample.name]
                assert (family.type, family.documentation) == (reference.type, reference.help)
                assert {*sample.labels} - {"le"} == {*reference.labels}
