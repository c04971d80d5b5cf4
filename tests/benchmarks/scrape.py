"""A worker that shows a large programme: what a scrape takes, and for how long the event loop is held."""

import gzip
import http.client
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from tests.benchmarks.environment import BenchmarkEnvironment, Workspace
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.latency import TimeWindow, publish_one_by_one
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import LiveUpdates, ProgrammePlan, initial_events, realistic_plan
from tests.benchmarks.publishing import running_publisher
from tests.benchmarks.trace import GarbageCollected, LoopTicked, PartitionsAssigned, ProgrammeRendered
from tests.benchmarks.traced_worker import BENCHMARK_TIMEOUT_SECONDS, TracedWorker

_PROGRAMME: Final = "north"
_MILESTONES: Final = 10_000
_SCRAPES: Final = 20
_EVENTS: Final = 20
#: How many turns of the ticker tell how late it is when nothing happens.
_IDLE_TICKS: Final = 1000
_SCRAPE_TARGETS: Final = (Target("median", 0.050),)
_LOOP_TARGETS: Final = (Target("most", 0.020),)


class _Scrape(NamedTuple):
    window: TimeWindow
    seconds: float
    body: bytes


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Scrape, and watch the event loop."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    plan = realistic_plan(_PROGRAMME, options.scaled(_MILESTONES, multiple_of=10), environment.data_date)
    title = f"{len(plan.milestones):,} milestones"
    with environment.workspace() as place:
        environment.report_progress(f"run {number + 1}: loading a programme of {title}")
        with place.running_worker() as worker:
            place.wait_until_shown(worker, place.publish_untimed(initial_events(plan)))
            environment.report_progress(f"run {number + 1}: {_SCRAPES} scrapes, plain and gzip")
            figures = _measure_scrapes(worker, title)
        environment.report_progress(f"run {number + 1}: another worker, its event loop watched")
        with place.running_worker(with_ticker=True) as worker:
            return [*figures, *_measure_event_loop(place, worker, plan, number)]


def _measure_scrapes(worker: TracedWorker, title: str) -> list[Figure]:
    """Scrape while nothing else is done."""
    plain, packed = _scrape_repeatedly(worker, "identity"), _scrape_repeatedly(worker, "gzip")
    assert gzip.decompress(packed[-1].body) == plain[-1].body
    return [
        Figure(f"a scrape of {title}", "s", [one.seconds for one in plain], _SCRAPE_TARGETS),
        Figure(f"a scrape of {title}, gzip", "s", [one.seconds for one in packed]),
        Figure(f"the page of {title}", "bytes", [len(one.body) for one in plain]),
        Figure(f"the page of {title}, gzip", "bytes", [len(one.body) for one in packed]),
    ]


def _scrape_repeatedly(worker: TracedWorker, encoding: str) -> list[_Scrape]:
    with closing(http.client.HTTPConnection("127.0.0.1", worker.port, timeout=BENCHMARK_TIMEOUT_SECONDS)) as connection:
        return [_scrape_once(connection, encoding) for _ in range(_SCRAPES)]


def _scrape_once(connection: http.client.HTTPConnection, encoding: str) -> _Scrape:
    began, at = time.perf_counter(), time.time()
    connection.request("GET", "/metrics/milestones", headers={"Accept-Encoding": encoding})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    assert answer.status == http.client.OK
    assert answer.headers.get("Content-Encoding", "identity") == encoding
    return _Scrape((at, at + took), took, body)


def _measure_event_loop(workspace: Workspace, worker: TracedWorker, plan: ProgrammePlan, seed: int) -> list[Figure]:
    """Watch the event loop of a worker that starts, takes events, is scraped, and idles."""
    worker.wait_until_shown(workspace.recorder.read_revisions())
    from_nothing = [(worker.trace(PartitionsAssigned)[-1].at, worker.trace(ProgrammeRendered)[-1].at)]
    worker.wait_until_ready()
    with running_publisher(workspace.settings) as out:
        alone = publish_one_by_one(workspace, worker, out, LiveUpdates(plan, seed).date_updates(_EVENTS))
    plain, packed = ([one.window for one in _scrape_repeatedly(worker, encoding)] for encoding in ("identity", "gzip"))
    since = worker.trace_length
    worker.wait_for(lambda: worker.trace_length >= since + _IDLE_TICKS, f"{_IDLE_TICKS} ticks")
    idle = [max(tick.late_seconds for tick in worker.trace(LoopTicked, since))]
    title = f"{len(plan.milestones):,} milestones"
    return [
        Figure(
            f"loop held, {title} drawn from nothing", "s", _loop_blocked_seconds(worker, from_nothing), _LOOP_TARGETS
        ),
        Figure("- longest garbage collection meanwhile", "s", _gc_seconds(worker, from_nothing)),
        Figure(f"loop held, {title} drawn after an event", "s", _loop_blocked_seconds(worker, alone), _LOOP_TARGETS),
        Figure("- longest garbage collection meanwhile, after an event", "s", _gc_seconds(worker, alone)),
        Figure(f"loop held, {title} scraped", "s", _loop_blocked_seconds(worker, plain)),
        Figure(f"loop held, {title} scraped, gzip", "s", _loop_blocked_seconds(worker, packed)),
        Figure("loop held when nothing happens", "s", idle),
    ]


def _loop_blocked_seconds(worker: TracedWorker, windows: Sequence[TimeWindow]) -> list[float]:
    """Return for how long, at most, the event loop was held in each window."""
    ticks = [(tick.at - tick.late_seconds, tick.at) for tick in worker.trace(LoopTicked)]
    return [_longest_overlapping(ticks, window) for window in windows]


def _gc_seconds(worker: TracedWorker, windows: Sequence[TimeWindow]) -> list[float]:
    """Return how long, at most, garbage was collected at once in each window."""
    collections = [(one.at - one.seconds, one.at) for one in worker.trace(GarbageCollected)]
    return [_longest_overlapping(collections, window) for window in windows]


def _longest_overlapping(spans: Iterable[TimeWindow], window: TimeWindow) -> float:
    began, ended = window
    return max((until - since for since, until in spans if since < ended and until > began), default=0.0)
