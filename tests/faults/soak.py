"""A soak: one fault after another, any of them, under a load that does not stop; in the end all is as it must be."""

import itertools
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import prepare_settings
from tests.faults import broker_faults, database_faults, network_faults, worker_faults
from tests.faults.environment import FaultEnvironment
from tests.faults.fault import Fault
from tests.faults.load import LoadGenerator, shuffled_events
from tests.faults.scenario import Scenario, Verdict, running_scenario
from tests.helpers.oracle import DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN, EVENT_RETRACTED, JsonEvent

#: How many workers there are between two faults.
_WORKER_COUNT: Final = 2
_EVENTS_PER_CHUNK: Final = 10_000
#: Seconds that may pass until a worker is ready, and all is recorded and drawn in the end: much may have been left.
_TIMEOUT_SECONDS: Final = 900.0
#: Of each programme, as many projects at a time, and for as many times `_AT_ONCE` events, before it is others' turn.
_CONCURRENT_PROJECTS: Final = 4
_CHUNKS_PER_PROJECT_GROUP: Final = 10
#: Of these kinds, one in so many is said.
_RARE_TYPES: Final = {EVENT_RETRACTED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN}
_RARE_EVERY: Final = 20
_PROJECT_PATTERN = re.compile("project-([0-9]+)")


class SoakResult(NamedTuple):
    """What came of a soak."""

    verdict: Verdict
    fault_counts: Counter[str]
    #: Of each fault, in seconds.
    recovery_seconds: list[float]
    #: After how many all was not well again when the suite stopped waiting for it.
    late_recoveries: int
    audit_seconds: float
    seconds: float


def endless_events(seed: int) -> Iterator[JsonEvent]:
    """Return events without end, none of them twice, of one project after another.

    Of all projects at once, whoever takes over a programme would have all the ledger to read. Each retraction has all
    events of its project folded again, and of dependencies at random, some of them against the path, every other one
    would soon close a cycle: as often as elsewhere, a worker would soon do nothing else.
    """
    for part in itertools.count():
        first = part // _CHUNKS_PER_PROJECT_GROUP * _CONCURRENT_PROJECTS
        for number, event in enumerate(
            shuffled_events(seed * 1_000_000 + part, _EVENTS_PER_CHUNK, _CONCURRENT_PROJECTS)
        ):
            if event["type"] not in _RARE_TYPES or number % _RARE_EVERY == 0:
                yield _shift_projects(event, first)


def _shift_projects(event: JsonEvent, first: int) -> JsonEvent:
    """Return an event of the projects from a number on instead of from 0 on."""

    def shift(text: str) -> str:
        return _PROJECT_PATTERN.sub(lambda found: f"project-{int(found[1]) + first}", text)

    event["subject"], data = shift(event["subject"]), event["data"]
    if "site" in data:
        data["site"] = shift(data["site"])
    if "after" in data:
        data["after"]["project"] = shift(data["after"]["project"])
    return event


def _repeatable_faults() -> dict[str, Fault]:
    """Return the faults that can come again and again: the topic, the offsets and the database stay what they are."""
    kinds = (worker_faults.FAULTS, network_faults.FAULTS, broker_faults.FAULTS, database_faults.FAULTS)
    every = {name: fault for kind in kinds for name, fault in kind.items()}
    # Those that take minutes, and those that say what the log of one certain worker has to hold.
    left_out = ("two minutes", "when a worker starts", "no connection left", "read-only", "deadlocks", "serialization")
    return {name: fault for name, fault in every.items() if not any(part in name for part in left_out)}


def run_soak(environment: FaultEnvironment, folder: Path, seed: int, seconds: float, rate: float) -> SoakResult:
    """Have faults until the time is over; fails when anything is not as it must be."""
    began = time.monotonic()
    faults, met, recoveries, late = _repeatable_faults(), Counter[str](), list[float](), 0
    with environment.database("postgresql") as url:
        settings = prepare_settings(environment.kafka.bootstrap, url).model_copy(
            update={"keep_days": 36_500, "max_series": 10_000_000}
        )
        load = LoadGenerator(settings, seed, endless_events(seed), rate)
        with running_scenario(settings, folder, environment, load, seed) as scene:
            _restore_worker_count(scene)
            load.start()
            scene.wait_until_recorded(round(10 * rate))
            scene.snapshot_resources()
            while time.monotonic() - began < seconds:
                name = scene.rng.choice(sorted(faults))
                met[name] += 1
                if "kill -9 at" in name or "of a worker that died" in name:
                    # The one that is to die is a second one: of so few partitions a third would get none.
                    scene.workers.pop().stop(signal.SIGTERM)
                try:
                    recoveries.append(faults[name].inject(scene))
                    said = f"{recoveries[-1]:5.1f} s"
                except AssertionError as error:
                    # What counts is whether all is there in the end; that it took too long is said.
                    environment.repair()
                    late += 1
                    said = f"late: {error}"
                sys.stdout.write(f"{time.monotonic() - began:6.0f} s  {name}: {said}\n")
                sys.stdout.flush()
                _restore_worker_count(scene)
                time.sleep(scene.rng.uniform(0, 5))
            verdict = scene.verify(_TIMEOUT_SECONDS)
    return SoakResult(verdict, met, recoveries, late, scene.audit_seconds, time.monotonic() - began)


def _restore_worker_count(scenario: Scenario) -> None:
    """Have as many workers as there should be; the first of the scene is the one that runs longest."""
    scenario.workers[:] = scenario.running_workers
    while len(scenario.workers) > _WORKER_COUNT:
        scenario.workers.pop().stop(signal.SIGTERM)
    while len(scenario.workers) < _WORKER_COUNT:
        scenario.start_worker().wait_until_ready(_TIMEOUT_SECONDS)
