"""Small programmes under a steady flow of events: all into one of them, and spread over many."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.latency import delay_figures, publish_one_by_one
from tests.benchmarks.programmes import Live, realistic, said_of
from tests.benchmarks.publishing import publisher

_MILESTONES: Final = 100
_PROGRAMMES: Final = (1, 20)
_A_SECOND: Final = 500
_SECONDS: Final = 20
#: Estimates and plans: if milestones were achieved, there would soon be none left.
_WEIGHTS: Final = (7, 3, 0)
_TARGETS: Final = (Target("median", 0.050), Target("p99", 0.250))


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Time every event of a steady flow."""
    for count in _PROGRAMMES:
        yield from pooled(_run(ground, effort, number, count) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int, programmes: int) -> Sequence[Figure]:
    plans = [realistic(f"programme-{place}", _MILESTONES, ground.day, place) for place in range(programmes)]
    count = effort.of(_A_SECOND * _SECONDS, multiple_of=programmes)
    title = f"{programmes} programme{'s' * (programmes > 1)} of {_MILESTONES} milestones, {_A_SECOND} events/s"
    ground.say(f"run {number + 1}: {title}, {count:,} events")
    with ground.place() as place, place.worker() as worker, publisher(place.settings) as out:
        loaded = place.load(chain.from_iterable(map(said_of, plans)))
        place.wait_until_shown(worker, loaded)
        lives = [Live(plan, number) for plan in plans]
        publish_one_by_one(place, worker, out, chain.from_iterable(live.moved(1, _WEIGHTS) for live in lives))
        each = [live.moved(count // programmes, _WEIGHTS) for live in lives]
        events = list(chain.from_iterable(zip(*each, strict=True)))
        rate = out.publish_steadily(events, _A_SECOND)
        place.wait_until_shown(worker, loaded + len(lives) + len(events))
        figures = delay_figures(title, place.store, worker, events, _TARGETS)
    return [*figures, Figure(f"{title}: published a second", "number", [rate])]
