"""One run of a scenario: load, fault, recovery, oracle."""

import time
from pathlib import Path
from typing import Final, NamedTuple

from models.settings import Settings
from tests.faults.load import Load
from tests.faults.scenarios import SCENARIOS
from tests.faults.scene import staged

#: How long after a fault all that was published by then must be recorded.
RECOVERY_SECONDS: Final = 15.0
_EVENTS: Final = 20_000
_A_SECOND: Final = 200.0


class Outcome(NamedTuple):
    """What came of one run."""

    seed: int
    records: int
    events: int
    lost: int
    doubled: int
    recovery_seconds: float
    seconds: float


def run(name: str, settings: Settings, folder: Path, seed: int) -> Outcome:
    """Run a scenario; fails when anything is not as it must be."""
    began = time.monotonic()
    # Everything is shown, so that the pages can be held against the database.
    settings = settings.model_copy(update={"keep_days": 36_500})
    with staged(settings, folder, seed) as scene:
        scene.start_worker().wait_until_ready()
        load = Load(settings, seed, _EVENTS, _A_SECOND)
        load.start()
        scene.wait_until_recorded(100)
        recovery = SCENARIOS[name](scene)
        verdict = scene.verify(load)
    return Outcome(seed, *verdict, recovery, time.monotonic() - began)
