"""What these tests look at: the story, told once to a worker that Prometheus scrapes; gone with the last of them."""

from collections.abc import Iterator

import pytest

from tests.conftest import prepared
from tests.scraped import Scraped, scraped_story


@pytest.fixture(scope="package")
def scraped(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Give the worker, the story and Prometheus."""
    folder = tmp_path_factory.mktemp("scraped")
    with scraped_story(prepared(kafka, f"sqlite:///{folder / 'milepost.db'}"), folder) as found:
        yield found
