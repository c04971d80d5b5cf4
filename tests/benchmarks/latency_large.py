"""Events of one large programme, one after another: each published only when the one before is visible."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import func, select

from models.database.engine import read_transaction
from models.database.recorder import Recorder
from models.database.tables import history
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.latency import delay_figures, event_delays, publish_one_by_one
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import LiveUpdates, initial_events, realistic_plan
from tests.benchmarks.publishing import running_publisher
from tests.benchmarks.traced_worker import TracedWorker
from tests.helpers.oracle import JsonEvent

_PROGRAMME: Final = "north"
_MILESTONES: Final = 10_000
_EVENTS: Final = 100
#: How many events are not counted: with the first of them, the worker is through with what was loaded.
_WARM_UP_EVENTS: Final = 3
_SWING_EVENTS: Final = 6
_TARGETS: Final = (Target("median", 0.300), Target("p99", 1.0))


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Time single events."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    plan = realistic_plan(_PROGRAMME, options.scaled(_MILESTONES, multiple_of=10), environment.data_date)
    with environment.workspace() as place, place.running_worker() as worker, running_publisher(place.settings) as out:
        environment.report_progress(f"run {number + 1}: loading a programme of {len(plan.milestones):,} milestones")
        place.wait_until_shown(worker, place.publish_untimed(initial_events(plan)))
        live = LiveUpdates(plan, number)
        environment.report_progress(f"run {number + 1}: {_EVENTS} events, one by one")
        publish_one_by_one(place, worker, out, live.date_updates(_WARM_UP_EVENTS))
        events = list(live.date_updates(_EVENTS))
        publish_one_by_one(place, worker, out, events)
        title = f"{len(plan.milestones):,} milestones, an event alone"
        figures = delay_figures(title, place.recorder, worker, events, _TARGETS)
        _check_page(worker, events[-1])
        environment.report_progress(f"run {number + 1}: {_SWING_EVENTS} events that move nearly all")
        swings, before = list(live.swing_updates(_SWING_EVENTS)), _count_history_rows(place.recorder)
        publish_one_by_one(place, worker, out, swings)
        took, _ = event_delays(place.recorder, worker, swings)
        moved = (_count_history_rows(place.recorder) - before) / _SWING_EVENTS
    return [
        *figures,
        Figure("an event that moves nearly all", "s", took),
        Figure("an event that moves nearly all: forecasts that it moves", "number", [moved]),
    ]


def _check_page(worker: TracedWorker, event: JsonEvent) -> None:
    """Scrape, and look for the date that an event claims."""
    data = event["data"]
    column = {"PLN": "planned", "EST": "estimated", "ACT": "actual"}[data["classifier"]]
    programme, project = event["subject"].split("/")
    found = worker.scrape("/metrics/milestones").value(
        f"milepost_milestone_{column}_timestamp_seconds",
        programme=programme,
        project=project,
        milestone=data["milestone"],
    )
    midnight = datetime.combine(date.fromisoformat(data["date"]), datetime.min.time(), UTC)
    assert found == midnight.timestamp(), (event, found)


def _count_history_rows(recorder: Recorder) -> int:
    with read_transaction(recorder.engine) as connection:
        return connection.scalar(select(func.count()).select_from(history)) or 0
