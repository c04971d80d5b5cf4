"""One run of a scenario: load, fault, recovery, oracle."""

import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import prepared
from tests.faults.ground import Ground
from tests.faults.load import Load, shuffled
from tests.faults.scenarios import SCENARIOS
from tests.faults.scene import staged

_EVENTS: Final = 60_000
_A_SECOND: Final = 200.0


class Outcome(NamedTuple):
    """What came of one run."""

    seed: int
    records: int
    events: int
    lost: int
    doubled: int
    recovery_seconds: float
    #: Whether that was soon enough.
    is_in_time: bool
    seconds: float


def run(name: str, ground: Ground, folder: Path, seed: int) -> Outcome:
    """Run a scenario; fails when anything is not as it must be."""
    began = time.monotonic()
    fault = SCENARIOS[name]
    with ground.database(fault.database) as url:
        # Everything is shown, so that the pages can be held against the database.
        settings = prepared(ground.kafka.bootstrap, url).model_copy(update={"keep_days": 36_500})
        load = Load(settings, seed, shuffled(seed, _EVENTS), _A_SECOND)
        with staged(settings, folder, ground, load, seed) as scene:
            scene.start_worker().wait_until_ready()
            load.start()
            scene.wait_until_recorded(300)
            scene.note_effort()
            recovery = fault.act(scene)
            verdict = scene.verify()
    assert (verdict.lost, verdict.doubled) == (0, 0), verdict
    return Outcome(seed, *verdict, recovery, recovery < fault.within, time.monotonic() - began)
