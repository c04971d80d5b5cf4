"""Working off a backlog of events that move what is forecast already, with drawing and without: what drawing costs."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

import psutil
from sqlalchemy import text

from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import LiveUpdates, initial_events, realistic_plan
from tests.benchmarks.trace import BatchCommitted, ProgrammeRendered
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events

_PROGRAMMES: Final = 100
_MILESTONES: Final = 100
#: Some ten seconds' worth on a slow machine.
_EVENTS: Final = 240_000
_MAX_COST_PERCENT: Final = 10.0


class _BacklogPace(NamedTuple):
    """How a backlog was worked off."""

    #: Events a second, from its first commit to its last.
    events_per_second: float
    #: Of the worker's process: what others do on the machine shows less in it than in the rest.
    cpu_seconds: float
    #: How many programmes were drawn meanwhile, and from the first commit until all of it was shown.
    programmes_recalculated: int
    seconds_until_shown: float | None


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Work off a backlog as often as asked for, each way."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    said, moving = _initial_and_changing_events(environment, options)
    # In turns: what is warm by then should not always be to the good of the same.
    first = number % 2 == 0
    paces = {
        draws: _record_backlog(environment, said, moving, number, with_forecasts=draws) for draws in (first, not first)
    }
    drawing, still = paces[True], paces[False]
    title = f"{len(moving):,} events move {options.scaled(_PROGRAMMES)} programmes"
    return [
        Figure(f"{title}, with drawing: events/s", "number", [drawing.events_per_second]),
        Figure(f"{title}, without: events/s", "number", [still.events_per_second]),
        Figure(f"{title}, with drawing: CPU until all is recorded", "s", [drawing.cpu_seconds]),
        Figure(f"{title}, without: CPU until all is recorded", "s", [still.cpu_seconds]),
        Figure(f"{title}: programmes drawn before all is recorded", "number", [drawing.programmes_recalculated]),
        Figure(f"{title}: from the first commit until all is shown", "s", [drawing.seconds_until_shown or 0.0]),
        Figure(
            "drawing costs",
            "%",
            [100 * (1 - drawing.events_per_second / still.events_per_second)],
            [Target("median", _MAX_COST_PERCENT)],
        ),
    ]


def _initial_and_changing_events(
    environment: BenchmarkEnvironment, options: RunOptions
) -> tuple[Sequence[JsonEvent], Sequence[JsonEvent]]:
    """Return what is said of all programmes in the first place, and what moves them then, of each in turn."""
    programmes = options.scaled(_PROGRAMMES)
    plans = [
        realistic_plan(f"programme-{number}", _MILESTONES, environment.data_date, number)
        for number in range(programmes)
    ]
    share = options.scaled(_EVENTS, multiple_of=_EVENTS // _PROGRAMMES) // programmes
    moves = [list(LiveUpdates(plan, 0).date_updates(share)) for plan in plans]
    return list(chain.from_iterable(map(initial_events, plans))), list(chain.from_iterable(zip(*moves, strict=True)))


def _record_backlog(
    environment: BenchmarkEnvironment,
    initial: Sequence[JsonEvent],
    changing: Sequence[JsonEvent],
    number: int,
    *,
    with_forecasts: bool,
) -> _BacklogPace:
    environment.report_progress(
        f"run {number + 1}: {len(changing):,} events wait, {'with' if with_forecasts else 'without'} drawing"
    )
    with environment.workspace() as place:
        known = place.publish_untimed(initial)
        with place.running_worker(with_forecasts=with_forecasts) as worker:
            worker.wait_until_recorded(known)
            if with_forecasts:
                worker.wait_until_shown(place.recorder.read_revisions())
            with place.recorder.engine.begin() as connection:
                # They pile up in front of a worker that has shown everything, and cannot write.
                connection.execute(text("LOCK TABLE ledger IN EXCLUSIVE MODE"))
                loaded = place.publish_untimed(changing)
                told, process = worker.trace_length, psutil.Process(worker.pid)
                idle = sum(process.cpu_times()[:2])
            worker.wait_until_recorded(known + loaded)
            busy = sum(process.cpu_times()[:2])
            if with_forecasts:
                worker.wait_until_shown(place.recorder.read_revisions())
            first, *batches = worker.trace(BatchCommitted, told)
            shown = worker.trace(ProgrammeRendered, told)
        assert count_events(place.recorder) == known + loaded
    return _BacklogPace(
        sum(batch.events for batch in batches) / (batches[-1].at - first.at),
        busy - idle,
        sum(first.at < sight.at < batches[-1].at for sight in shown),
        shown[-1].at - first.at if shown else None,
    )
