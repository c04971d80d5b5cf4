"""One worker, two and four on twelve partitions: how much faster, and whether cores are left that could do more."""

from collections.abc import Iterator
from typing import Final

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.ingest import work_off

_EVENTS: Final = 300_000
_PARTITIONS: Final = 12


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Have so many workers record the same backlog, as often as asked for."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    figures = []
    for workers in (1, 2, 4):
        title = f"{workers} worker{'s' * (workers > 1)}"
        ground.say(f"run {number + 1}: {title}")
        pace = work_off(ground, effort.of(_EVENTS), workers=workers, draws=False, partitions=_PARTITIONS)
        figures += [
            Figure(f"{title}: events/s", "number", [pace.events]),
            Figure(f"{title}: cores busy, of all processes", "ratio", [pace.cores]),
            Figure(f"{title}: cores busy, of the workers", "ratio", [pace.own_cores]),
        ]
    return figures
