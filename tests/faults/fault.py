"""A fault: what is done, how soon all must be well again, and where."""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from tests.faults.load import shuffled_events
from tests.faults.scenario import Scenario
from tests.helpers.oracle import JsonEvent

#: How long after a fault is over all that was published by then must be recorded.
MAX_RECOVERY_SECONDS: Final = 15.0
_MAX_EVENTS: Final = 60_000


def _events_of_two_years(seed: int) -> Iterable[JsonEvent]:
    return shuffled_events(seed, _MAX_EVENTS)


class Fault(NamedTuple):
    """Given a scene with one ready worker and a load running, `act` returns its recovery in seconds.

    Recovery counts from the moment the fault is over (a killed worker: from its death, another being there or started)
    until all that was published by then is recorded.
    """

    inject: Callable[[Scenario], float]
    max_recovery_seconds: float = MAX_RECOVERY_SECONDS
    #: `small`: a SQLite file on a file system of a few megabytes.
    backend: Literal["postgresql", "small"] = "postgresql"
    #: Events a second of the load.
    rate: float = 200.0
    #: Whether the load is keyed by programme, as publishers are to do; random keys are harder.
    is_keyed: bool = False
    #: What is published meanwhile, by a seed.
    load: Callable[[int], Iterable[JsonEvent]] = _events_of_two_years
