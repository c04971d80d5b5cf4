"""A rolling update: each of three workers is replaced, one after the other, and the schema is upgraded under them."""

import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Final, NamedTuple

from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.schema_versions import NEWER_REVISION, make_newer_version
from tests.helpers.workers import WorkerProcess, process_environment, read_topic, wait_until

_WORKERS: Final = 3
_EVENTS_PER_SECOND: Final = 500.0
#: How long an event may wait from the broker's append until it is in the ledger.
_MAX_WAIT_SECONDS: Final = 5.0
_SAMPLE_SECONDS: Final = 0.05
_INIT_SECONDS: Final = 60.0
#: As a service manager's grace is: a batch that was begun may end.
_STOP_SECONDS: Final = 20.0


class _Sample(NamedTuple):
    """How far each partition was recorded at a moment, in seconds since the epoch."""

    moment: float
    next_offset: int


class _PositionSampler(threading.Thread):
    """Notes again and again how far the workers have recorded: the clock is the broker's, on the same machine."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(daemon=True)
        self._scenario, self._ending = scenario, threading.Event()
        self._samples: dict[int, list[_Sample]] = {}
        #: When the newest sample that is complete was begun, in seconds since the epoch.
        self.sampled_at = 0.0
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Sample until it is stopped."""
        try:
            while not self._ending.wait(_SAMPLE_SECONDS):
                began = time.time()
                positions = self._scenario.recorder.read_positions(self._scenario.settings.events_topic)
                now = time.time()
                for partition, next_offset in positions.items():
                    self._samples.setdefault(partition, []).append(_Sample(now, next_offset))
                self.sampled_at = began
        except BaseException as error:  # noqa: BLE001 - told to whoever reads the waits
            self._failure = error

    def stop(self) -> None:
        """Take no more samples."""
        self._ending.set()
        self.join()
        assert self._failure is None, self._failure

    def read_waits(self) -> list[float]:
        """Return how long each record waited that was appended meanwhile, in ascending order; all are recorded."""
        first = min(samples[0].moment for samples in self._samples.values())
        waits = []
        for record in read_topic(self._scenario.settings, self._scenario.settings.events_topic):
            samples, appended = self._samples[record.partition], record.timestamp / 1000
            index = bisect_left(samples, record.offset + 1, key=itemgetter(1))
            if first <= appended <= samples[-1].moment and index < len(samples):
                waits.append(max(0.0, samples[index].moment - appended))
        return sorted(waits)


@contextmanager
def _no_long_wait(scenario: Scenario) -> Iterator[None]:
    """Fail when an event waits too long that is appended within the block."""
    sampler = _PositionSampler(scenario)
    sampler.start()
    try:
        yield
        scenario.wait_until_positions(scenario.log_offsets()[1])
        recorded_at = time.time()
        wait_until(lambda: sampler.sampled_at > recorded_at, "all that is recorded is seen to be")
    finally:
        sampler.stop()
    waits = sampler.read_waits()
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    scenario.notes.append(f"{len(waits):,} records waited p50 {p50:.2f} s, p99 {p99:.2f} s, max {waits[-1]:.2f} s")
    assert waits[-1] < _MAX_WAIT_SECONDS, scenario.notes[-1]


def _start_worker(scenario: Scenario, **environment: str) -> WorkerProcess:
    return scenario.start_worker(MILEPOST_STOP_SECONDS=f"{_STOP_SECONDS}", **environment)


def _start_workers(scenario: Scenario) -> None:
    """Have three workers in the place of the scenario's one; the load goes on when all are ready."""
    scenario.load.pause()
    [first] = scenario.running_workers
    for _ in range(_WORKERS):
        _start_worker(scenario).wait_until_ready()
    first.stop()
    scenario.wait_until_positions(scenario.log_offsets()[1])
    scenario.load.resume()


def _replace_in_turn(scenario: Scenario, environment: dict[str, str]) -> None:
    """Replace each worker: a new one is ready before an old one is asked to end."""
    for old in list(scenario.running_workers):
        _start_worker(scenario, **environment).wait_until_ready()
        assert len(scenario.running_workers) == _WORKERS + 1
        old.stop()
        assert old.process.returncode == 0, old.log_text[-3000:]


def replace_workers(scenario: Scenario) -> float:
    """Replace each of three workers in turn."""
    _start_workers(scenario)
    with _no_long_wait(scenario):
        _replace_in_turn(scenario, {})
    return measure_recovery(scenario)


def upgrade_schema(scenario: Scenario) -> float:
    """Run a newer version's `init` under three workers, and replace each by one of that version."""
    _start_workers(scenario)
    newer = make_newer_version(scenario.folder / "newer")
    with _no_long_wait(scenario):
        told = _run_init(scenario, newer)
        assert f"schema {NEWER_REVISION}" in told, told
        # The old ones go on. One that is started again ends, and takes nothing from the others.
        late = _start_worker(scenario)
        wait_until(lambda: late.process.poll() is not None, "an old worker does not start on a newer schema")
        assert late.process.returncode == 1
        [line] = late.log_text.strip().splitlines()
        assert "this program knows: update milepost" in line, line
        recorded = scenario.recorded_records
        wait_until(lambda: scenario.recorded_records > recorded, "the old workers record")
        assert len(scenario.running_workers) == _WORKERS
        _replace_in_turn(scenario, newer)
    return measure_recovery(scenario)


def _run_init(scenario: Scenario, environment: dict[str, str]) -> str:
    command: Sequence[str] = [sys.executable, "-c", "from deploy.cli.app import main; main()", "init"]
    done = subprocess.run(
        command,
        cwd=scenario.folder,
        env=process_environment(scenario.settings) | environment,
        capture_output=True,
        text=True,
        timeout=_INIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FAULTS: Mapping[str, Fault] = {
    name: Fault(inject, rate=_EVENTS_PER_SECOND, is_keyed=True)
    for name, inject in {
        "three workers replaced in turn, 500 events a second": replace_workers,
        "a newer schema under three workers, then each replaced, 500 events a second": upgrade_schema,
    }.items()
}
