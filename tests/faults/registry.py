"""Every fault there is, by the name that docs/reliability.md shows."""

from collections.abc import Mapping
from typing import Final

from tests.faults import (
    broker_faults,
    client_faults,
    database_faults,
    gateway_faults,
    network_faults,
    notify_faults,
    publisher_faults,
    rollout_faults,
    storage_faults,
    topic_faults,
    worker_faults,
)
from tests.faults.fault import Fault

SCENARIOS: Final[Mapping[str, Fault]] = {
    **worker_faults.FAULTS,
    **rollout_faults.FAULTS,
    **network_faults.FAULTS,
    **broker_faults.FAULTS,
    **database_faults.FAULTS,
    **storage_faults.FAULTS,
    **topic_faults.FAULTS,
    **publisher_faults.FAULTS,
    **client_faults.FAULTS,
    **gateway_faults.FAULTS,
    **notify_faults.FAULTS,
}
