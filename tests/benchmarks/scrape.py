"""A worker that shows a large programme: what a scrape takes, and for how long the event loop is held."""

import gzip
import http.client
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground, Place
from tests.benchmarks.latency import Window, publish_one_by_one
from tests.benchmarks.programmes import Live, Plan, realistic, said_of
from tests.benchmarks.publishing import publisher
from tests.benchmarks.sights import Assigned, Collected, Shown, Ticked
from tests.benchmarks.watching import WatchedWorker

_PROGRAMME: Final = "north"
_MILESTONES: Final = 10_000
_SCRAPES: Final = 20
_EVENTS: Final = 20
#: How many turns of the ticker tell how late it is when nothing happens.
_IDLE_TICKS: Final = 1000
_PLAIN: Final = (Target("median", 0.050),)
_HELD: Final = (Target("most", 0.020),)


class _Scrape(NamedTuple):
    window: Window
    seconds: float
    body: bytes


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Scrape, and watch the event loop."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    plan = realistic(_PROGRAMME, effort.of(_MILESTONES, multiple_of=10), ground.day)
    title = f"{len(plan.milestones):,} milestones"
    with ground.place() as place:
        ground.say(f"run {number + 1}: loading a programme of {title}")
        with place.worker() as worker:
            place.wait_until_shown(worker, place.load(said_of(plan)))
            ground.say(f"run {number + 1}: {_SCRAPES} scrapes, plain and gzip")
            figures = _scraped(worker, title)
        ground.say(f"run {number + 1}: another worker, its event loop watched")
        with place.worker(ticks=True) as worker:
            return [*figures, *_watched(place, worker, plan, number)]


def _scraped(worker: WatchedWorker, title: str) -> list[Figure]:
    """Scrape while nothing else is done."""
    plain, packed = _scrape(worker, "identity"), _scrape(worker, "gzip")
    assert gzip.decompress(packed[-1].body) == plain[-1].body
    return [
        Figure(f"a scrape of {title}", "s", [one.seconds for one in plain], _PLAIN),
        Figure(f"a scrape of {title}, gzip", "s", [one.seconds for one in packed]),
        Figure(f"the page of {title}", "bytes", [len(one.body) for one in plain]),
        Figure(f"the page of {title}, gzip", "bytes", [len(one.body) for one in packed]),
    ]


def _scrape(worker: WatchedWorker, encoding: str) -> list[_Scrape]:
    with closing(http.client.HTTPConnection("127.0.0.1", worker.port)) as connection:
        return [_scrape_once(connection, encoding) for _ in range(_SCRAPES)]


def _scrape_once(connection: http.client.HTTPConnection, encoding: str) -> _Scrape:
    began, at = time.perf_counter(), time.time()
    connection.request("GET", "/metrics/milestones", headers={"Accept-Encoding": encoding})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    assert answer.status == http.client.OK
    assert answer.headers.get("Content-Encoding", "identity") == encoding
    return _Scrape((at, at + took), took, body)


def _watched(place: Place, worker: WatchedWorker, plan: Plan, seed: int) -> list[Figure]:
    """Watch the event loop of a worker that starts, takes events, is scraped, and idles."""
    worker.wait_until_shown(place.store.revisions())
    from_nothing = [(worker.sights(Assigned)[-1].at, worker.sights(Shown)[-1].at)]
    worker.wait_until_ready()
    with publisher(place.settings) as out:
        alone = publish_one_by_one(place, worker, out, Live(plan, seed).moved(_EVENTS))
    plain, packed = ([one.window for one in _scrape(worker, encoding)] for encoding in ("identity", "gzip"))
    since = worker.told
    worker.wait_for(lambda: worker.told >= since + _IDLE_TICKS, f"{_IDLE_TICKS} ticks")
    idle = [max(tick.late for tick in worker.sights(Ticked, since))]
    title = f"{len(plan.milestones):,} milestones"
    return [
        Figure(f"loop held, {title} drawn from nothing", "s", _held(worker, from_nothing), _HELD),
        Figure("- longest garbage collection meanwhile", "s", _collected(worker, from_nothing)),
        Figure(f"loop held, {title} drawn after an event", "s", _held(worker, alone), _HELD),
        Figure("- longest garbage collection meanwhile, after an event", "s", _collected(worker, alone)),
        Figure(f"loop held, {title} scraped", "s", _held(worker, plain)),
        Figure(f"loop held, {title} scraped, gzip", "s", _held(worker, packed)),
        Figure("loop held when nothing happens", "s", idle),
    ]


def _held(worker: WatchedWorker, windows: Sequence[Window]) -> list[float]:
    """Return for how long, at most, the event loop was held in each window."""
    ticks = [(tick.at - tick.late, tick.at) for tick in worker.sights(Ticked)]
    return [_longest(ticks, window) for window in windows]


def _collected(worker: WatchedWorker, windows: Sequence[Window]) -> list[float]:
    """Return how long, at most, garbage was collected at once in each window."""
    collections = [(one.at - one.seconds, one.at) for one in worker.sights(Collected)]
    return [_longest(collections, window) for window in windows]


def _longest(spans: Iterable[Window], window: Window) -> float:
    began, ended = window
    return max((until - since for since, until in spans if since < ended and until > began), default=0.0)
