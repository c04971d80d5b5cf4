"""A fault: what is done, how soon all must be well again, and where."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tests.faults.scene import Scene

#: How long after a fault is over all that was published by then must be recorded.
RECOVERY_SECONDS: Final = 15.0


class Fault(NamedTuple):
    """Given a scene with one ready worker and a load running, `act` returns its recovery in seconds.

    Recovery counts from the moment the fault is over (a killed worker: from its death, another being there or started)
    until all that was published by then is recorded.
    """

    act: Callable[[Scene], float]
    within: float = RECOVERY_SECONDS
    #: `small`: a SQLite file on a file system of a few megabytes.
    database: Literal["postgresql", "small"] = "postgresql"
