"""A gateway for the tests of a module, which keeps what it is sent in place of publishing it."""

from collections.abc import Iterator

import pytest

from tests.helpers.gateway import GatewayServer, SentRecords, running_endpoint


@pytest.fixture(scope="module")
def sent() -> SentRecords:
    """Give what the gateway was sent."""
    return SentRecords()


@pytest.fixture(scope="module")
def gateway(sent: SentRecords) -> Iterator[GatewayServer]:
    """Give a gateway."""
    with running_endpoint(sent) as here:
        yield here
