"""What people and programs ask of 100,000 milestones: `milepost status`, and the board's pages and API."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

from models.database.ledger import Entry
from models.database.positions import Span
from models.database.recorder import Batch, Store
from models.domain.cloudevents import decode
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, pooled
from tests.benchmarks.ground import Ground, Place
from tests.benchmarks.programmes import Plan, realistic, said_of
from tests.benchmarks.watching import WatchedWorker
from tests.publisher import structured
from tests.reading import Event

_MILESTONES: Final = 100_000
_IN_PROGRAMME: Final = 10_000
#: A log of its own, that no worker reads.
_LOADED: Final = "loaded"
_AT_ONCE: Final = 5000


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Load once, and have a worker that has just started asked, as often as told: the next answers are kept ones."""
    size = effort.of(_MILESTONES, multiple_of=10)
    in_programme = min(size, _IN_PROGRAMME)
    plans = [
        realistic(f"programme-{number}", in_programme, ground.day, number) for number in range(size // in_programme)
    ]
    with ground.place() as place:
        ground.say(f"loading {size:,} milestones")
        _load(place.store, chain.from_iterable(map(said_of, plans)))
        yield from pooled(_run(place, plans, f"{size:,} milestones") for _ in range(effort.runs))


def _load(store: Store, events: Iterator[Event]) -> None:
    """Record events without a broker: what is timed here reads."""
    store.take_up(_LOADED, {0: (0, 0)})
    at = 0
    while entries := [
        Entry(_LOADED, 0, at + number, 0, headers, value, decode(headers, value))
        for number, (headers, value) in enumerate(map(structured, _some(events)))
    ]:
        recorded = store.record(Batch([Span(_LOADED, 0, at, at + len(entries))], entries), _refuse)
        assert len(recorded.accepted) == len(entries)
        at += len(entries)


def _some(events: Iterator[Event]) -> list[Event]:
    return [event for event, _ in zip(events, range(_AT_ONCE), strict=False)]


def _refuse(rejected: object) -> None:
    raise AssertionError(f"nothing here is to be rejected: {rejected}")


def _run(place: Place, plans: list[Plan], title: str) -> list[Figure]:
    with place.worker() as worker:
        worker.wait_until_shown(place.store.revisions())
        return _asked(place, worker, plans, title)


def _asked(place: Place, worker: WatchedWorker, plans: list[Plan], title: str) -> list[Figure]:
    its = plans[0]
    pages: Mapping[str, str] = {
        "the board's first page": "/",
        "a timeline": f"/programmes/{its.programme}",
        "a gate": f"/programmes/{its.programme}/gates/{_widest(its)}",
        "API, programmes": "/api/programmes",
        "API, a page of milestones": f"/api/programmes/{its.programme}/milestones",
    }
    began = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-c", "from deploy.cli.app import main; main()", "status", "--json"),
            *("--database", place.store.engine.url.render_as_string(hide_password=False)),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    figures = [Figure(f"{title}: `milepost status --json`, start included", "s", [time.perf_counter() - began])]
    for name, path in pages.items():
        seconds, size = _ask(worker.port, path)
        figures += [
            Figure(f"{title}: {name}", "s", [seconds]),
            Figure(f"{title}: {name}, of", "bytes", [size]),
        ]
    return figures


def _widest(plan: Plan) -> str:
    gate = plan.milestones[plan.widest]
    return f"{gate.project}/{gate.milestone}"


def _ask(port: int, path: str) -> tuple[float, int]:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == http.client.OK, (path, answer.status, body[:200])
        return time.perf_counter() - began, len(body)
