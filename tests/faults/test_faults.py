"""Some of the faults once, in `make test`; `make faults` runs all of them again and again, with other seeds."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.environment import FaultEnvironment
from tests.faults.registry import SCENARIOS
from tests.faults.run import run_scenario

#: One of each kind: a death on each side of a commit, a broker and a database that die or misbehave, a topic that
#: loses what was not read.
SMOKE_SCENARIOS = [
    "kill -9 at after-commit",
    "SIGTERM in a batch, and another worker started",
    "connections to the database reset, 20 times",
    "Kafka's connections half open",
    "the broker killed (-9) and started again, a batch in flight",
    "the database killed (-9) and started again",
    "records deleted in front of a worker that waits for its database",
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultEnvironment]:
    with ExitStack() as ending:
        yield FaultEnvironment(tmp_path_factory.mktemp("faults"), ending)


def test_what_is_tried_here_is_among_the_scenarios() -> None:
    assert set(SMOKE_SCENARIOS) <= SCENARIOS.keys()


@pytest.mark.parametrize("name", SMOKE_SCENARIOS)
def test_nothing_is_lost_and_nothing_doubled(name: str, environment: FaultEnvironment, tmp_path: Path) -> None:
    outcome = run_scenario(name, environment, tmp_path, seed=1)
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.is_in_time, f"recovery took {outcome.recovery_seconds:.1f} s"
