"""Some of the faults once, in `make test`; `make faults` runs all of them again and again, with other seeds."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.ground import Ground
from tests.faults.run import run
from tests.faults.scenarios import SCENARIOS

#: One of each kind: a death on each side of a commit, a broker and a database that die or misbehave, a topic that
#: loses what was not read.
BOUNDED = [
    "kill -9 at after-commit",
    "SIGTERM in a batch, and another worker started",
    "connections to the database reset, 20 times",
    "Kafka's connections half open",
    "the broker killed (-9) and started again, a batch in flight",
    "the database killed (-9) and started again",
    "records deleted in front of a worker that waits for its database",
]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ExitStack() as ending:
        yield Ground(tmp_path_factory.mktemp("faults"), ending)


def test_what_is_tried_here_is_among_the_scenarios() -> None:
    assert set(BOUNDED) <= SCENARIOS.keys()


@pytest.mark.parametrize("name", BOUNDED)
def test_nothing_is_lost_and_nothing_doubled(name: str, ground: Ground, tmp_path: Path) -> None:
    outcome = run(name, ground, tmp_path, seed=1)
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.is_in_time, f"recovery took {outcome.recovery_seconds:.1f} s"
