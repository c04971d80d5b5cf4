"""Small programmes under a steady flow of events: all into one of them, spread over many, and twice as fast."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.latency import delay_figures, publish_one_by_one
from tests.benchmarks.programmes import Live, realistic, said_of
from tests.benchmarks.publishing import publisher
from tests.benchmarks.sights import Committed

_MILESTONES: Final = 100
#: Programmes, and events a second.
_FLOWS: Final = ((1, 500), (20, 500), (1, 1000), (20, 1000))
_SECONDS: Final = 20
#: Estimates and plans: if milestones were achieved, there would soon be none left.
_WEIGHTS: Final = (7, 3, 0)
_COMMITTED: Final = (Target("median", 0.015), Target("p99", 0.100))
_VISIBLE: Final = (Target("median", 0.050), Target("p99", 0.250))


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Time every event of a steady flow."""
    for programmes, a_second in _FLOWS:
        yield from pooled(_run(ground, effort, number, programmes, a_second) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int, programmes: int, a_second: int) -> Sequence[Figure]:
    plans = [realistic(f"programme-{place}", _MILESTONES, ground.day, place) for place in range(programmes)]
    count = effort.of(a_second * _SECONDS, multiple_of=programmes)
    title = f"{programmes} programme{'s' * (programmes > 1)} of {_MILESTONES} milestones, {a_second:,} events/s"
    ground.say(f"run {number + 1}: {title}, {count:,} events")
    with ground.place() as place, place.worker() as worker, publisher(place.settings) as out:
        loaded = place.load(chain.from_iterable(map(said_of, plans)))
        place.wait_until_shown(worker, loaded)
        lives = [Live(plan, number) for plan in plans]
        publish_one_by_one(place, worker, out, chain.from_iterable(live.moved(1, _WEIGHTS) for live in lives))
        each = [live.moved(count // programmes, _WEIGHTS) for live in lives]
        events = list(chain.from_iterable(zip(*each, strict=True)))
        since = worker.told
        rate = out.publish_steadily(events, a_second)
        place.wait_until_shown(worker, loaded + len(lives) + len(events))
        figures = delay_figures(title, place.store, worker, events, _VISIBLE)
        committed = [delay for sight in worker.sights(Committed, since) for delay in sight.delays]
    return [
        *figures,
        Figure(f"{title}: committed", "s", committed, _COMMITTED),
        Figure(f"{title}: published a second", "number", [rate]),
    ]
