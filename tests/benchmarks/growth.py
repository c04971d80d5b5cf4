"""One worker and a very long backlog: whether an event costs the same, and the worker stays as small, all along."""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import psutil

from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.reports import publish_reports
from tests.benchmarks.trace import BatchCommitted
from tests.benchmarks.traced_worker import TracedWorker
from tests.helpers.recorder import count_events

_EVENTS: Final = 5_000_000
#: What a worker that was away for an hour finds, at 1,000 events a second.
_HOUR_BACKLOG_EVENTS: Final = 3_600_000
_LEDGER_SIZES: Final = (10_000, 100_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)
_PARTITIONS: Final = 12
_MAX_WORKER_BYTES: Final = 250e6


class _Measurement(NamedTuple):
    #: How many events were waited for, and how many were recorded by then.
    expected_events: int
    events: int
    time: float
    resident_bytes: float


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Work it off as often as asked for; once takes minutes."""
    yield from merge_runs(list(_run(environment, options, with_forecasts=True)) for _ in range(options.runs))


def measure_recording(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Do the same with nothing drawn: what is left is the ledger's."""
    yield from merge_runs(list(_run(environment, options, with_forecasts=False)) for _ in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, *, with_forecasts: bool) -> Iterator[Figure]:
    events = options.scaled(_EVENTS)
    steps = [options.scaled(step) for step in _LEDGER_SIZES]
    with environment.workspace(partitions=_PARTITIONS) as place:
        environment.report_progress(f"publishing {events:,} events")
        publish_reports(place.settings, events)
        began = time.time()
        with place.running_worker(with_forecasts=with_forecasts) as worker:
            reached = [_measure_at(environment, worker, step) for step in steps]
            [first, *_] = worker.trace(BatchCommitted)
        assert count_events(place.recorder) == events
    before = _Measurement(0, 0, first.at - first.seconds, 0)
    for earlier, step in zip([before, *reached], reached, strict=False):
        if step.events == earlier.events:
            continue  # of so few, one batch held both
        cost = (step.time - earlier.time) / (step.events - earlier.events)
        yield Figure(
            f"an event, with {earlier.expected_events:,} to {step.expected_events:,} in the ledger", "s", [cost]
        )
    yield Figure(
        "a worker's memory, at most",
        "bytes",
        [max(step.resident_bytes for step in reached)],
        [Target("most", _MAX_WORKER_BYTES)],
    )
    rate = reached[-1].events / (reached[-1].time - before.time)
    yield Figure("events a second, all along", "number", [rate])
    yield Figure("worker start to first commit", "s", [first.at - began])
    yield Figure(
        "caught up after an hour away at 1,000 events/s that go on",
        "s",
        [options.scaled(_HOUR_BACKLOG_EVENTS) / (rate - 1000)],
    )


def _measure_at(environment: BenchmarkEnvironment, worker: TracedWorker, events: int) -> _Measurement:
    worker.wait_until_recorded(events)
    step = _Measurement(
        events,
        worker.recorded_events,
        worker.trace(BatchCommitted)[-1].at,
        psutil.Process(worker.pid).memory_info().rss,
    )
    environment.report_progress(f"  {step.events:,} recorded, {step.resident_bytes / 1e6:.0f} MB")
    return step
