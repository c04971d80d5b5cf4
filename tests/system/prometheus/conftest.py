"""The story, published once to a worker that Prometheus scrapes, for all tests of this package."""

from collections.abc import Iterator

import pytest

from tests.conftest import prepare_settings
from tests.helpers.prometheus import MonitoringStack, monitored_story


@pytest.fixture(scope="package")
def monitoring_stack(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoringStack]:
    """Give the worker, the story and Prometheus."""
    folder = tmp_path_factory.mktemp("scraped")
    with monitored_story(prepare_settings(kafka, f"sqlite:///{folder / 'milepost.db'}"), folder) as stack:
        yield stack
