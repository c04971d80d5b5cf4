"""A fault: what is done, how soon all must be well again, and where."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tests.faults.scenario import Scenario

#: How long after a fault is over all that was published by then must be recorded.
MAX_RECOVERY_SECONDS: Final = 15.0


class Fault(NamedTuple):
    """Given a scene with one ready worker and a load running, `act` returns its recovery in seconds.

    Recovery counts from the moment the fault is over (a killed worker: from its death, another being there or started)
    until all that was published by then is recorded.
    """

    inject: Callable[[Scenario], float]
    max_recovery_seconds: float = MAX_RECOVERY_SECONDS
    #: `small`: a SQLite file on a file system of a few megabytes.
    backend: Literal["postgresql", "small"] = "postgresql"
