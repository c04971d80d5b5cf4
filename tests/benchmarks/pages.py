"""`/metrics/milestones` of programmes of every size, beside prometheus_client's own encoder on the same series."""

import gzip
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from models.database.projector import Drawn
from models.domain.schedule import picture
from streams.metrics.store import Shelf
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.programmes import Live, facts_of, realistic, said_of

_SIZES: Final = (1_000, 10_000, 100_000)
#: Of a programme, at most; more milestones are more programmes.
_IN_PROGRAMME: Final = 10_000
#: As the web service packs them.
_LEVEL: Final = 1


class _Known(Collector):
    """Gives families that are there already: only their encoding is timed."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def describe(self) -> Iterable[Metric]:
        """Name none, so that registering takes no time."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Put together the page of every size, as often as asked for."""
    for full_size in _SIZES:
        size = effort.of(full_size, multiple_of=100)
        ground.say(f"the page of {size:,} milestones")
        yield from pooled(_run(ground, size, number) for number in range(effort.runs))


def _run(ground: Ground, size: int, seed: int) -> list[Figure]:
    shelf = Shelf(max_series=100 * size, keep_days=90)
    in_programme = min(size, _IN_PROGRAMME)
    plans = [
        realistic(f"programme-{number}", in_programme, ground.day, number) for number in range(size // in_programme)
    ]
    for plan in plans:
        facts = facts_of(said_of(plan))
        drawn = Drawn(plan.programme, 1, facts, picture(facts, ground.day), is_untold=False)
        shelf.put(plan.programme, shelf.render(drawn))
    first, _ = _timed(lambda: b"".join(shelf.pages()))
    # One of them changes between two scrapes: the page is put together again, all but its lines are there.
    facts = facts_of([*said_of(plans[0]), *Live(plans[0], seed).moved(1)])
    shelf.put(
        plans[0].programme,
        shelf.render(Drawn(plans[0].programme, 2, facts, picture(facts, ground.day), is_untold=False)),
    )
    again, page = _timed(lambda: b"".join(shelf.pages()))
    packing, packed = _timed(lambda: gzip.compress(page, _LEVEL))
    registry = CollectorRegistry()
    registry.register(_Known(text_string_to_metric_families(page.decode())))
    stock, by_stock = _timed(lambda: generate_latest(registry))
    assert by_stock.count(b"\n") == page.count(b"\n")
    title = f"{size:,} milestones"
    return [
        Figure(f"{title}: series", "number", [sum(not line.startswith(b"#") for line in page.splitlines())]),
        Figure(f"{title}: the page", "bytes", [len(page)]),
        Figure(f"{title}: the page, gzip", "bytes", [len(packed)]),
        Figure(f"{title}: put together the first time", "s", [first]),
        Figure(f"{title}: put together after a change", "s", [again]),
        Figure(f"{title}: packed by gzip", "s", [packing]),
        Figure(f"{title}: by prometheus_client's encoder", "s", [stock]),
    ]


def _timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done
