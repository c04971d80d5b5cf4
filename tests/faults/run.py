"""One run of a scenario: load, fault, recovery, oracle."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conftest import prepare_settings
from tests.faults.environment import FaultEnvironment
from tests.faults.load import LoadGenerator
from tests.faults.registry import SCENARIOS
from tests.faults.scenario import running_scenario


class RunResult(NamedTuple):
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
    #: What the scenario measured besides.
    notes: Sequence[str]


def run_scenario(name: str, environment: FaultEnvironment, folder: Path, seed: int) -> RunResult:
    """Run a scenario; fails when anything is not as it must be."""
    began = time.monotonic()
    fault = SCENARIOS[name]
    with environment.database(fault.backend) as url:
        # Everything is shown, so that the pages can be held against the database.
        settings = prepare_settings(environment.kafka.bootstrap, url).model_copy(update={"keep_days": 36_500})
        load = LoadGenerator(settings, seed, fault.load(seed), fault.rate, is_keyed=fault.is_keyed)
        with running_scenario(settings, folder, environment, load, seed) as scene:
            scene.start_worker().wait_until_ready()
            load.start()
            scene.wait_until_recorded(300)
            scene.snapshot_resources()
            recovery = fault.inject(scene)
            verdict = scene.verify()
    assert (verdict.lost, verdict.doubled) == (0, 0), verdict
    return RunResult(
        seed, *verdict, recovery, recovery < fault.max_recovery_seconds, time.monotonic() - began, scene.notes
    )
