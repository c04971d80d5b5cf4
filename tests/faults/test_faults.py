"""Some of the faults once, in `make test`; `make faults` runs all of them again and again, with other seeds."""

from pathlib import Path

import pytest

from models.settings import Settings
from tests.faults.run import RECOVERY_SECONDS, run
from tests.faults.scenarios import SCENARIOS

#: One of each kind: a death on each side of both commits, a graceful end, a database that misbehaves.
BOUNDED = [
    "kill -9 at before-commit",
    "kill -9 at after-commit",
    "kill -9 at after-forecast-commit",
    "SIGTERM in a batch, and another worker started",
    "connections to the database reset, 20 times",
    "the database's connections half open",
    "the database read-only",
]


def test_what_is_tried_here_is_among_the_scenarios() -> None:
    assert set(BOUNDED) <= SCENARIOS.keys()


@pytest.mark.parametrize("name", BOUNDED)
def test_nothing_is_lost_and_nothing_doubled(name: str, postgresql_settings: Settings, tmp_path: Path) -> None:
    outcome = run(name, postgresql_settings, tmp_path, seed=1)
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.recovery_seconds < RECOVERY_SECONDS
