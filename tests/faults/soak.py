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

from tests.conftest import prepared
from tests.faults import broker_faults, database_faults, network_faults, worker_faults
from tests.faults.fault import Fault
from tests.faults.ground import Ground
from tests.faults.load import Load, shuffled
from tests.faults.scene import Scene, Verdict, staged
from tests.reading import DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN, RETRACTED, Event

#: How many workers there are between two faults.
_WORKERS: Final = 2
_AT_ONCE: Final = 10_000
#: Seconds that may pass until a worker is ready, and all is recorded and drawn in the end: much may have been left.
_PATIENCE: Final = 900.0
#: Of each programme, as many projects at a time, and for as many times `_AT_ONCE` events, before it is others' turn.
_PROJECTS: Final = 4
_LASTS: Final = 10
#: Of these kinds, one in so many is said.
_RARE: Final = {RETRACTED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN}
_RARELY: Final = 20
_PROJECT = re.compile("project-([0-9]+)")


class Soaked(NamedTuple):
    """What came of a soak."""

    verdict: Verdict
    faults: Counter[str]
    #: Of each fault, in seconds.
    recoveries: list[float]
    #: After how many all was not well again when the suite stopped waiting for it.
    late: int
    audit_seconds: float
    seconds: float


def endless(seed: int) -> Iterator[Event]:
    """Return events without end, none of them twice, of one project after another.

    Of all projects at once, whoever takes over a programme would have all the ledger to read. Each retraction has all
    events of its project folded again, and of dependencies at random, some of them against the path, every other one
    would soon close a cycle: as often as elsewhere, a worker would soon do nothing else.
    """
    for part in itertools.count():
        first = part // _LASTS * _PROJECTS
        for number, event in enumerate(shuffled(seed * 1_000_000 + part, _AT_ONCE, _PROJECTS)):
            if event["type"] not in _RARE or number % _RARELY == 0:
                yield _moved_on(event, first)


def _moved_on(event: Event, first: int) -> Event:
    """Return an event of the projects from a number on instead of from 0 on."""

    def later(text: str) -> str:
        return _PROJECT.sub(lambda found: f"project-{int(found[1]) + first}", text)

    event["subject"], data = later(event["subject"]), event["data"]
    if "site" in data:
        data["site"] = later(data["site"])
    if "after" in data:
        data["after"]["project"] = later(data["after"]["project"])
    return event


def _lasting() -> dict[str, Fault]:
    """Return the faults that can come again and again: the topic, the offsets and the database stay what they are."""
    kinds = (worker_faults.FAULTS, network_faults.FAULTS, broker_faults.FAULTS, database_faults.FAULTS)
    every = {name: fault for kind in kinds for name, fault in kind.items()}
    # Those that take minutes, and those that say what the log of one certain worker has to hold.
    left_out = ("two minutes", "when a worker starts", "no connection left", "read-only", "deadlocks", "serialization")
    return {name: fault for name, fault in every.items() if not any(part in name for part in left_out)}


def soak(ground: Ground, folder: Path, seed: int, seconds: float, a_second: float) -> Soaked:
    """Have faults until the time is over; fails when anything is not as it must be."""
    began = time.monotonic()
    faults, met, recoveries, late = _lasting(), Counter[str](), list[float](), 0
    with ground.database("postgresql") as url:
        settings = prepared(ground.kafka.bootstrap, url).model_copy(
            update={"keep_days": 36_500, "max_series": 10_000_000}
        )
        load = Load(settings, seed, endless(seed), a_second)
        with staged(settings, folder, ground, load, seed) as scene:
            _man(scene)
            load.start()
            scene.wait_until_recorded(round(10 * a_second))
            scene.note_effort()
            while time.monotonic() - began < seconds:
                name = scene.rng.choice(sorted(faults))
                met[name] += 1
                if "kill -9 at" in name or "of a worker that died" in name:
                    # The one that is to die is a second one: of so few partitions a third would get none.
                    scene.workers.pop().stop(signal.SIGTERM)
                try:
                    recoveries.append(faults[name].act(scene))
                    said = f"{recoveries[-1]:5.1f} s"
                except AssertionError as error:
                    # What counts is whether all is there in the end; that it took too long is said.
                    ground.mend()
                    late += 1
                    said = f"late: {error}"
                sys.stdout.write(f"{time.monotonic() - began:6.0f} s  {name}: {said}\n")
                sys.stdout.flush()
                _man(scene)
                time.sleep(scene.rng.uniform(0, 5))
            verdict = scene.verify(_PATIENCE)
    return Soaked(verdict, met, recoveries, late, scene.audit_seconds, time.monotonic() - began)


def _man(scene: Scene) -> None:
    """Have as many workers as there should be; the first of the scene is the one that runs longest."""
    scene.workers[:] = scene.alive
    while len(scene.workers) > _WORKERS:
        scene.workers.pop().stop(signal.SIGTERM)
    while len(scene.workers) < _WORKERS:
        scene.start_worker().wait_until_ready(_PATIENCE)
