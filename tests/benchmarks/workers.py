"""One worker, two and four on twelve partitions: how much faster, and whether cores are left that could do more."""

from collections.abc import Iterator
from typing import Final

from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, merge_runs
from tests.benchmarks.ingest import measure_workers
from tests.benchmarks.options import RunOptions

_EVENTS: Final = 300_000
_PARTITIONS: Final = 12


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Have so many workers record the same backlog, as often as asked for."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    figures = []
    for workers in (1, 2, 4):
        title = f"{workers} worker{'s' * (workers > 1)}"
        environment.report_progress(f"run {number + 1}: {title}")
        pace = measure_workers(
            environment, options.scaled(_EVENTS), workers=workers, with_forecasts=False, partitions=_PARTITIONS
        )
        figures += [
            Figure(f"{title}: events/s", "number", [pace.events_per_second]),
            Figure(f"{title}: cores busy, of all processes", "ratio", [pace.machine_cores]),
            Figure(f"{title}: cores busy, of the workers", "ratio", [pace.worker_cores]),
        ]
    return figures
