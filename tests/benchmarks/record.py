"""Working off a backlog of events that move what is forecast already, with drawing and without: what drawing costs."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import psutil
from sqlalchemy import text

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.programmes import Live, realistic, said_of
from tests.benchmarks.sights import Recorded, Shown
from tests.reading import Event

_PROGRAMMES: Final = 100
_MILESTONES: Final = 100
#: Some eight seconds' worth.
_EVENTS: Final = 240_000
_MOST_PERCENT: Final = 10.0


class _Pace(NamedTuple):
    """How a backlog was worked off."""

    #: Events a second, from its first commit to its last.
    events: float
    #: Of the worker's process: what others do on the machine shows less in it than in the rest.
    cpu_seconds: float
    #: How many programmes were drawn meanwhile, and from the first commit until all of it was shown.
    drawn: int
    shown_seconds: float | None


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Work off a backlog as often as asked for, each way."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    said, moving = _said(ground, effort)
    # In turns: what is warm by then should not always be to the good of the same.
    first = number % 2 == 0
    paces = {draws: _work_off(ground, said, moving, number, draws=draws) for draws in (first, not first)}
    drawing, still = paces[True], paces[False]
    title = f"{len(moving):,} events move {effort.of(_PROGRAMMES)} programmes"
    return [
        Figure(f"{title}, with drawing: events/s", "number", [drawing.events]),
        Figure(f"{title}, without: events/s", "number", [still.events]),
        Figure(f"{title}, with drawing: CPU until all is recorded", "s", [drawing.cpu_seconds]),
        Figure(f"{title}, without: CPU until all is recorded", "s", [still.cpu_seconds]),
        Figure(f"{title}: programmes drawn before all is recorded", "number", [drawing.drawn]),
        Figure(f"{title}: from the first commit until all is shown", "s", [drawing.shown_seconds or 0.0]),
        Figure("drawing costs", "%", [100 * (1 - drawing.events / still.events)], [Target("median", _MOST_PERCENT)]),
    ]


def _said(ground: Ground, effort: Effort) -> tuple[Sequence[Event], Sequence[Event]]:
    """Return what is said of all programmes in the first place, and what moves them then, of each in turn."""
    programmes = effort.of(_PROGRAMMES)
    plans = [realistic(f"programme-{number}", _MILESTONES, ground.day, number) for number in range(programmes)]
    share = effort.of(_EVENTS, multiple_of=_EVENTS // _PROGRAMMES) // programmes
    moves = [list(Live(plan, 0).moved(share)) for plan in plans]
    return list(chain.from_iterable(map(said_of, plans))), list(chain.from_iterable(zip(*moves, strict=True)))


def _work_off(ground: Ground, said: Sequence[Event], moving: Sequence[Event], number: int, *, draws: bool) -> _Pace:
    ground.say(f"run {number + 1}: {len(moving):,} events wait, {'with' if draws else 'without'} drawing")
    with ground.place() as place:
        known = place.load(said)
        with place.worker(draws=draws) as worker:
            worker.wait_until_recorded(known)
            if draws:
                worker.wait_until_shown(place.store.revisions())
            with place.store.engine.begin() as connection:
                # They pile up in front of a worker that has shown everything, and cannot write.
                connection.execute(text("LOCK TABLE ledger IN EXCLUSIVE MODE"))
                loaded = place.load(moving)
                told, process = worker.told, psutil.Process(worker.pid)
                idle = sum(process.cpu_times()[:2])
            worker.wait_until_recorded(known + loaded)
            busy = sum(process.cpu_times()[:2])
            if draws:
                worker.wait_until_shown(place.store.revisions())
            first, *batches = worker.sights(Recorded, told)
            shown = worker.sights(Shown, told)
        assert place.store.count_events() == known + loaded
    return _Pace(
        sum(batch.events for batch in batches) / (batches[-1].at - first.at),
        busy - idle,
        sum(first.at < sight.at < batches[-1].at for sight in shown),
        shown[-1].at - first.at if shown else None,
    )
