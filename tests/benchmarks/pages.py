"""`/metrics/milestones` of programmes of every size, beside prometheus_client's own encoder on the same series."""

import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from models.database.projector import ForecastResult
from models.domain.claims import Facts
from models.domain.schedule import compute_schedule
from streams.metrics.store import MetricsStore
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import LiveUpdates, facts_of_json, initial_events, realistic_plan

_MILESTONE_COUNTS: Final = (1_000, 10_000, 100_000)
#: Of a programme, at most; more milestones are more programmes.
_MAX_PROGRAMME_MILESTONES: Final = 10_000
#: As the web service packs them.
_GZIP_LEVEL: Final = 1


class _PrebuiltCollector(Collector):
    """Gives families that are there already: only their encoding is timed."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def describe(self) -> Iterable[Metric]:
        """Name none, so that registering takes no time."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Put together the page of every size, as often as asked for."""
    for full_size in _MILESTONE_COUNTS:
        size = options.scaled(full_size, multiple_of=100)
        environment.report_progress(f"the page of {size:,} milestones")
        yield from _measure_size(environment, options, size)


def _measure_size(environment: BenchmarkEnvironment, options: RunOptions, size: int) -> Iterator[Figure]:
    in_programme = min(size, _MAX_PROGRAMME_MILESTONES)
    plans = [
        realistic_plan(f"programme-{number}", in_programme, environment.data_date, number)
        for number in range(size // in_programme)
    ]
    drawn = [_forecast(environment, plan.programme, 1, facts_of_json(initial_events(plan))) for plan in plans]
    runs, page = [], b""
    for seed in range(options.runs):
        # One of them changes between two scrapes: the page is put together again, all but its lines are there.
        facts = facts_of_json([*initial_events(plans[0]), *LiveUpdates(plans[0], seed).date_updates(1)])
        figures, page = _run(drawn, _forecast(environment, plans[0].programme, 2, facts), size)
        runs.append(figures)
    yield from merge_runs(runs)
    registry = CollectorRegistry()
    registry.register(_PrebuiltCollector(text_string_to_metric_families(page.decode())))
    stock = [_timed(lambda: generate_latest(registry)) for _ in range(options.runs)]
    assert stock[0][1].count(b"\n") == page.count(b"\n")
    yield Figure(f"{size:,} milestones: by prometheus_client's encoder", "s", [seconds for seconds, _ in stock])


def _forecast(environment: BenchmarkEnvironment, programme: str, revision: int, facts: Facts) -> ForecastResult:
    schedule = compute_schedule(facts, environment.data_date)
    return ForecastResult(programme, revision, facts, schedule, has_unpublished=False)


def _run(drawn: Sequence[ForecastResult], changed: ForecastResult, size: int) -> tuple[list[Figure], bytes]:
    """Return what the page of some programmes takes, before and after one of them changes; and that page."""
    shelf = MetricsStore(max_series=100 * size, keep_days=90)
    for result in drawn:
        shelf.put(*shelf.fit([shelf.render(result)]))
    first, _ = _timed(lambda: b"".join(shelf.iter_families()))
    shelf.put(shelf.render(changed))
    again, page = _timed(lambda: b"".join(shelf.iter_families()))
    packing, packed = _timed(lambda: gzip.compress(page, _GZIP_LEVEL))
    title = f"{size:,} milestones"
    return [
        Figure(f"{title}: series", "number", [sum(not line.startswith(b"#") for line in page.splitlines())]),
        Figure(f"{title}: the page", "bytes", [len(page)]),
        Figure(f"{title}: the page, gzip", "bytes", [len(packed)]),
        Figure(f"{title}: put together the first time", "s", [first]),
        Figure(f"{title}: put together after a change", "s", [again]),
        Figure(f"{title}: packed by gzip", "s", [packing]),
    ], page


def _timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done
