"""Working off a backlog beside what a user would pick instead: the same events, the same machine, in turns."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import psutil
from confluent_kafka import Producer
from sqlalchemy import func, select

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground, Place
from tests.benchmarks.peers.job import kept
from tests.benchmarks.sights import Recorded
from tests.benchmarks.watching import PATIENCE
from tests.workers import wait_until

_EVENTS: Final = 500_000
_PROJECTS: Final = 10_000
_PROGRAMMES: Final = 100
_PARTITIONS: Final = 4
_MILESTONES: Final = (
    "agreement-signed",
    "permit-approved",
    "investment-permitted",
    "site-leased",
    "park-commissioned",
    "construction-started",
    "equipment-installed",
    "production-launched",
)
_STRUCTURED: Final[list[tuple[str, str | bytes | None]]] = [("content-type", b"application/cloudevents+json")]
#: When what is reported was said: within three hundred days from the first.
_FROM: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - written with its Z below
_SECONDS: Final = 300 * 24 * 60 * 60


class _Pace(NamedTuple):
    """How a backlog was worked off."""

    #: Events a second, from the first batch to the last commit.
    events: float
    #: Resident, of all its processes, at the end.
    bytes: float


class _Peer(NamedTuple):
    """Something else that does the job."""

    module: str
    arguments: tuple[str, ...] = ()
    #: A backlog of a size that it works off in a minute or so: how long it is changes nothing for it.
    share: float = 1.0


_PEERS: Final[Mapping[str, _Peer]] = {
    "loop by hand, COPY": _Peer("by_hand"),
    "FastStream, batches": _Peer("with_faststream", share=0.4),
    "stock Faust, take(1000)": _Peer("stock_faust", ("take",), 0.2),
    "stock Faust, a transaction an event": _Peer("stock_faust", ("one",), 0.04),
}
#: How many times as fast as each peer a worker that records has to be.
_RATIOS: Final = {
    "loop by hand, COPY": 1.5,
    "FastStream, batches": 2.5,
    "stock Faust, a transaction an event": 25.0,
}


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Have everyone do the job, as often as asked for."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    events = effort.of(_EVENTS)
    ways: dict[str, Callable[[], _Pace]] = {
        "Milepost, recording": lambda: _work_off(ground, events, workers=1, draws=False),
        "Milepost, all of it": lambda: _work_off(ground, events, workers=1, draws=True),
        "Milepost, all of it, 2 workers": lambda: _work_off(ground, events, workers=2, draws=True),
        "Milepost, all of it, 4 workers": lambda: _work_off(ground, events, workers=4, draws=True),
        **{name: _peer(ground, peer, effort.of(int(_EVENTS * peer.share))) for name, peer in _PEERS.items()},
    }
    # In turns, another one first in every run: what is warm by then should not always be to the good of the same.
    names = list(ways)
    order = names[number % len(names) :] + names[: number % len(names)]
    paces = {}
    for name in order:
        ground.say(f"run {number + 1}: {name}")
        paces[name] = ways[name]()
        ground.say(f"  {paces[name].events:,.0f} events/s")
    figures = [Figure(f"{name}: events/s", "number", [paces[name].events]) for name in names]
    figures += [
        Figure(f"{name}: resident", "bytes", [paces[name].bytes]) for name in names if name.startswith("Milepost")
    ]
    ours = paces["Milepost, recording"].events
    figures += [
        Figure(
            f"Milepost, recording, times {name}",
            "ratio",
            [ours / paces[name].events],
            [Target("median", least, "least")],
        )
        for name, least in _RATIOS.items()
    ]
    return figures


def _peer(ground: Ground, peer: _Peer, events: int) -> Callable[[], _Pace]:
    def run() -> _Pace:
        with ground.place(partitions=_PARTITIONS) as place:
            publish_reports(place, events)
            settings = place.settings
            said = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    f"tests.benchmarks.peers.{peer.module}",
                    *(settings.kafka, place.store.engine.url.render_as_string(hide_password=False)),
                    *(settings.events_topic, str(events), *peer.arguments),
                ],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                check=True,
                timeout=PATIENCE,
            ).stdout
            began, ended = map(float, said.splitlines()[-1].split())
            with place.store.engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(kept)) == events
        return _Pace(events / (ended - began), 0.0)

    return run


def _work_off(ground: Ground, events: int, *, workers: int, draws: bool) -> _Pace:
    with ground.place(partitions=_PARTITIONS) as place, ExitStack() as ending:
        publish_reports(place, events)
        running = [ending.enter_context(place.worker(draws=draws)) for _ in range(workers)]
        wait_until(lambda: sum(worker.recorded for worker in running) >= events, "all is recorded", PATIENCE)
        resident = sum(psutil.Process(worker.pid).memory_info().rss for worker in running)
        batches = [batch for worker in running for batch in worker.sights(Recorded)]
        began = min(batch.at - batch.seconds for batch in batches)
        ended = max(batch.at for batch in batches)
        assert place.store.count_events() == events
    return _Pace(events / (ended - began), resident)


def publish_reports(place: Place, events: int, seed: int = 1) -> None:
    """Publish reports about milestones of 10,000 projects in 100 programmes; each as large as reports are."""
    producer = Producer(
        {
            "bootstrap.servers": place.settings.kafka,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    for number in range(events):
        project = chance.randrange(_PROJECTS)
        programme = f"programme-{project % _PROGRAMMES:02d}"
        said = _FROM + timedelta(seconds=chance.randrange(_SECONDS))
        event = {
            "specversion": "1.0",
            "id": str(UUID(int=chance.getrandbits(128))),
            "source": "https://registry.example/north",
            "type": "milepost.milestone.reported.v1",
            "subject": f"{programme}/project-{project:05d}",
            "time": f"{said.isoformat(timespec='seconds')}Z",
            "datacontenttype": "application/json",
            "data": {
                "milestone": chance.choice(_MILESTONES),
                "classifier": chance.choice(("PLN", "EST")),
                "date": (_FROM.date() + timedelta(days=chance.randrange(365, 730))).isoformat(),
                "remark": "reported by the office of the zone",
            },
        }
        value, key = msgspec.json.encode(event), programme.encode()
        producer.produce(place.settings.events_topic, value, key, headers=_STRUCTURED.copy())
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
