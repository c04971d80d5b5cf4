"""One worker and a very long backlog: whether an event costs the same, and the worker stays as small, all along."""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import psutil

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.reports import publish_reports
from tests.benchmarks.sights import Recorded
from tests.benchmarks.watching import WatchedWorker

_EVENTS: Final = 5_000_000
#: What a worker that was away for an hour finds, at 1,000 events a second.
_AN_HOUR: Final = 3_600_000
_STEPS: Final = (10_000, 100_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000)
_PARTITIONS: Final = 12
_MOST_BYTES: Final = 250e6


class _Step(NamedTuple):
    #: How many events were waited for, and how many were recorded by then.
    asked: int
    events: int
    at: float
    bytes: float


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Work it off as often as asked for; once takes minutes."""
    yield from pooled(list(_run(ground, effort, draws=True)) for _ in range(effort.runs))


def measure_recording(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Do the same with nothing drawn: what is left is the ledger's."""
    yield from pooled(list(_run(ground, effort, draws=False)) for _ in range(effort.runs))


def _run(ground: Ground, effort: Effort, *, draws: bool) -> Iterator[Figure]:
    events = effort.of(_EVENTS)
    steps = [effort.of(step) for step in _STEPS]
    with ground.place(partitions=_PARTITIONS) as place:
        ground.say(f"publishing {events:,} events")
        publish_reports(place.settings, events)
        began = time.time()
        with place.worker(draws=draws) as worker:
            reached = [_wait_for(ground, worker, step) for step in steps]
            [first, *_] = worker.sights(Recorded)
        assert place.store.count_events() == events
    before = _Step(0, 0, first.at - first.seconds, 0)
    for earlier, step in zip([before, *reached], reached, strict=False):
        if step.events == earlier.events:
            continue  # of so few, one batch held both
        cost = (step.at - earlier.at) / (step.events - earlier.events)
        yield Figure(f"an event, with {earlier.asked:,} to {step.asked:,} in the ledger", "s", [cost])
    yield Figure(
        "a worker's memory, at most", "bytes", [max(step.bytes for step in reached)], [Target("most", _MOST_BYTES)]
    )
    rate = reached[-1].events / (reached[-1].at - before.at)
    yield Figure("events a second, all along", "number", [rate])
    yield Figure("worker start to first commit", "s", [first.at - began])
    yield Figure(
        "caught up after an hour away at 1,000 events/s that go on", "s", [effort.of(_AN_HOUR) / (rate - 1000)]
    )


def _wait_for(ground: Ground, worker: WatchedWorker, events: int) -> _Step:
    worker.wait_until_recorded(events)
    step = _Step(events, worker.recorded, worker.sights(Recorded)[-1].at, psutil.Process(worker.pid).memory_info().rss)
    ground.say(f"  {step.events:,} recorded, {step.bytes / 1e6:.0f} MB")
    return step
