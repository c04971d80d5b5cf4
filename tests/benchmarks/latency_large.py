"""Events of one large programme, one after another: each published only when the one before is visible."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import func, select

from models.database.engine import reading
from models.database.recorder import Store
from models.database.tables import history
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.latency import delay_figures, every_delay, publish_one_by_one
from tests.benchmarks.programmes import Live, realistic, said_of
from tests.benchmarks.publishing import publisher
from tests.benchmarks.watching import WatchedWorker
from tests.reading import Event

_PROGRAMME: Final = "north"
_MILESTONES: Final = 10_000
_EVENTS: Final = 100
#: How many events are not counted: with the first of them, the worker is through with what was loaded.
_FIRST_EVENTS: Final = 3
_SWINGS: Final = 6
_TARGETS: Final = (Target("median", 0.300), Target("p99", 1.0))


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Time single events."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    plan = realistic(_PROGRAMME, effort.of(_MILESTONES, multiple_of=10), ground.day)
    with ground.place() as place, place.worker() as worker, publisher(place.settings) as out:
        ground.say(f"run {number + 1}: loading a programme of {len(plan.milestones):,} milestones")
        place.wait_until_shown(worker, place.load(said_of(plan)))
        live = Live(plan, number)
        ground.say(f"run {number + 1}: {_EVENTS} events, one by one")
        publish_one_by_one(place, worker, out, live.moved(_FIRST_EVENTS))
        events = list(live.moved(_EVENTS))
        publish_one_by_one(place, worker, out, events)
        title = f"{len(plan.milestones):,} milestones, an event alone"
        figures = delay_figures(title, place.store, worker, events, _TARGETS)
        _check_page(worker, events[-1])
        ground.say(f"run {number + 1}: {_SWINGS} events that move nearly all")
        swings, before = list(live.swung(_SWINGS)), _count_moved(place.store)
        publish_one_by_one(place, worker, out, swings)
        took, _ = every_delay(place.store, worker, swings)
        moved = (_count_moved(place.store) - before) / _SWINGS
    return [
        *figures,
        Figure("an event that moves nearly all", "s", took),
        Figure("an event that moves nearly all: forecasts that it moves", "number", [moved]),
    ]


def _check_page(worker: WatchedWorker, event: Event) -> None:
    """Scrape, and look for the date that an event claims."""
    data = event["data"]
    column = {"PLN": "planned", "EST": "estimated", "ACT": "actual"}[data["classifier"]]
    programme, project = event["subject"].split("/")
    found = worker.page("/metrics/milestones").value(
        f"milepost_milestone_{column}_timestamp_seconds",
        programme=programme,
        project=project,
        milestone=data["milestone"],
    )
    midnight = datetime.combine(date.fromisoformat(data["date"]), datetime.min.time(), UTC)
    assert found == midnight.timestamp(), (event, found)


def _count_moved(store: Store) -> int:
    with reading(store.engine) as connection:
        return connection.scalar(select(func.count()).select_from(history)) or 0
