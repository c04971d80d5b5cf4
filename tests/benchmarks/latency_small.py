"""Small programmes under a steady flow of events: all into one of them, spread over many, and twice as fast."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import psutil

from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.latency import delay_figures, publish_one_by_one
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import LiveUpdates, initial_events, realistic_plan
from tests.benchmarks.publishing import running_publisher
from tests.benchmarks.trace import EventDelaysObserved

_MILESTONES: Final = 100
#: Programmes, and events a second.
_EVENT_RATES: Final = ((20, 100), (1, 500), (20, 500), (20, 1000))
_SECONDS: Final = 10
#: Estimates and plans: if milestones were achieved, there would soon be none left.
_CLASSIFIER_WEIGHTS: Final = (7, 3, 0)
_COMMIT_TARGETS: Final = (Target("median", 0.015), Target("p99", 0.100))
_VISIBLE_TARGETS: Final = (Target("median", 0.050), Target("p99", 0.250))
#: Of the fastest flow over many programmes: each event moves a programme that has to be rendered for it alone.
_BUSIEST: Final = (20, 1000)
_BUSIEST_VISIBLE_TARGETS: Final = (Target("median", 0.100), Target("p99", 0.400))
_BUSIEST_CORES_TARGETS: Final = (Target("median", 0.35),)


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Time every event of a steady flow."""
    for programmes, a_second in _EVENT_RATES:
        yield from merge_runs(
            _run(environment, options, number, programmes, a_second) for number in range(options.runs)
        )


def _run(
    environment: BenchmarkEnvironment, options: RunOptions, number: int, programmes: int, target_rate: int
) -> Sequence[Figure]:
    plans = [
        realistic_plan(f"programme-{place}", _MILESTONES, environment.data_date, place) for place in range(programmes)
    ]
    count = options.scaled(target_rate * _SECONDS, multiple_of=programmes)
    title = f"{programmes} programme{'s' * (programmes > 1)} of {_MILESTONES} milestones, {target_rate:,} events/s"
    environment.report_progress(f"run {number + 1}: {title}, {count:,} events")
    with environment.workspace() as place, place.running_worker() as worker, running_publisher(place.settings) as out:
        loaded = place.publish_untimed(chain.from_iterable(map(initial_events, plans)))
        place.wait_until_shown(worker, loaded)
        lives = [LiveUpdates(plan, number) for plan in plans]
        publish_one_by_one(
            place, worker, out, chain.from_iterable(live.date_updates(1, _CLASSIFIER_WEIGHTS) for live in lives)
        )
        each = [live.date_updates(count // programmes, _CLASSIFIER_WEIGHTS) for live in lives]
        events = list(chain.from_iterable(zip(*each, strict=True)))
        since, process = worker.trace_length, psutil.Process(worker.pid)
        began, used_before = time.monotonic(), sum(process.cpu_times()[:2])
        rate = out.publish_steadily(events, target_rate)
        place.wait_until_shown(worker, loaded + len(lives) + len(events))
        cores = (sum(process.cpu_times()[:2]) - used_before) / (time.monotonic() - began)
        is_busiest = (programmes, target_rate) == _BUSIEST
        figures = delay_figures(
            title,
            place.recorder,
            worker,
            events,
            _BUSIEST_VISIBLE_TARGETS if is_busiest else _VISIBLE_TARGETS,
        )
        committed = [delay for sight in worker.trace(EventDelaysObserved, since) for delay in sight.delays]
    return [
        *figures,
        Figure(f"{title}: committed", "s", committed, _COMMIT_TARGETS),
        Figure(f"{title}: cores busy, of the worker", "ratio", [cores], _BUSIEST_CORES_TARGETS if is_busiest else ()),
        Figure(f"{title}: published a second", "number", [rate]),
    ]
