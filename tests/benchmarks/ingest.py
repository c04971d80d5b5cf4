"""Working off a backlog beside what a user would pick instead: the same events, the same machine, in turns."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import func, select

from models.settings import Settings
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.peers.job import kept, prepared
from tests.benchmarks.reports import publish_reports
from tests.benchmarks.sights import Recorded
from tests.benchmarks.watching import PATIENCE
from tests.workers import wait_until

_EVENTS: Final = 500_000
_PARTITIONS: Final = 4
#: What a peer prints at its end.
_WORKED: Final = re.compile(rb"^worked on (\S+) from (\S+) to (\S+) in (\S+) bytes$", re.MULTILINE)


class Pace(NamedTuple):
    """How a backlog was worked off."""

    #: Events a second, from the first batch to the last commit.
    events: float
    #: Resident, of all its processes, at the end.
    bytes: float
    #: How much of the machine's cores was used meanwhile, in all and by the workers, in cores.
    cores: float = 0.0
    own_cores: float = 0.0


class _Peer(NamedTuple):
    """Something else that does the job."""

    module: str
    arguments: tuple[str, ...] = ()
    #: A backlog of a size that it works off in a minute or so: how long it is changes nothing for it.
    share: float = 1.0
    database: str = "postgresql"
    processes: int = 1


_ONE: Final = "Milepost, recording"
_TWO: Final = "Milepost, recording, 2 workers"
_SQLITE: Final = "SQLite, Milepost, recording"
_FLINK: Final = "Apache Flink SQL, warm"

_PEERS: Final[Mapping[str, _Peer]] = {
    "loop by hand, COPY": _Peer("by_hand"),
    "loop by hand, COPY, 2 processes": _Peer("by_hand", processes=2),
    "SQLite, plain loop by hand": _Peer("by_hand_sqlite", database="sqlite"),
    "FastStream, batches": _Peer("with_faststream", share=0.4),
    _FLINK: _Peer("flink_sql"),
    "stock Faust, take(1000)": _Peer("stock_faust", ("take",), 0.2),
    "stock Faust, a transaction an event": _Peer("stock_faust", ("one",), 0.04),
}
#: How many times as fast as a peer it has to be: one worker; two, which take the machine's two cores; one into SQLite.
_RATIOS: Final = (
    (_ONE, "loop by hand, COPY", 1.5),
    (_ONE, "FastStream, batches", 2.5),
    (_ONE, "stock Faust, a transaction an event", 25.0),
    (_TWO, _FLINK, 1.0),
    (_TWO, "loop by hand, COPY, 2 processes", 1.0),
    (_SQLITE, "SQLite, plain loop by hand", 2.0),
)
#: In what part of Flink's memory two workers have to be ahead of it.
_PART: Final = 1 / 6


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Have everyone do the job, as often as asked for."""
    yield from pooled(_run(ground, effort, number) for number in range(effort.runs))


def _run(ground: Ground, effort: Effort, number: int) -> list[Figure]:
    events = effort.of(_EVENTS)
    ways: dict[str, Callable[[], Pace]] = {
        _ONE: lambda: work_off(ground, events, workers=1, draws=False),
        _TWO: lambda: work_off(ground, events, workers=2, draws=False),
        _SQLITE: lambda: work_off(ground, events, workers=1, draws=False, kind="sqlite"),
        "Milepost, all of it": lambda: work_off(ground, events, workers=1, draws=True),
        "Milepost, all of it, 2 workers": lambda: work_off(ground, events, workers=2, draws=True),
        "Milepost, all of it, 4 workers": lambda: work_off(ground, events, workers=4, draws=True),
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
    figures += [Figure(f"{name}: resident", "bytes", [paces[name].bytes]) for name in names]
    figures += [
        Figure(
            f"{ours}, times {peer.removeprefix('SQLite, ')}",
            "ratio",
            [paces[ours].events / paces[peer].events],
            [Target("median", least, "least")],
        )
        for ours, peer, least in _RATIOS
    ]
    part = paces[_TWO].bytes / paces[_FLINK].bytes
    return [*figures, Figure(f"{_TWO}: resident, times {_FLINK}", "ratio", [part], [Target("median", _PART)])]


def _peer(ground: Ground, peer: _Peer, events: int) -> Callable[[], Pace]:
    def run() -> Pace:
        with ground.place(partitions=_PARTITIONS, kind=peer.database) as place:
            publish_reports(place.settings, events)
            url = place.store.engine.url.render_as_string(hide_password=False)
            if peer.processes > 1:
                # Two that make the same tables at once are in each other's way.
                prepared(url).dispose()
            shares = _shares(place.settings, peer.processes)
            running = [
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", f"tests.benchmarks.peers.{peer.module}"),
                        *(place.settings.kafka, url, place.settings.events_topic, str(sum(share.values()))),
                        *(map(str, share) if peer.processes > 1 else peer.arguments),
                    ],
                    cwd=Path(__file__).parents[2],
                    stdout=subprocess.PIPE,
                )
                for share in shares
            ]
            worked = []
            for process in running:
                said, _ = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0
                [numbers] = _WORKED.findall(said)
                worked.append(list(map(float, numbers)))
            with place.store.engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(kept)) == events
        counted, began, ended, resident = zip(*worked, strict=True)
        return Pace(sum(counted) / (max(ended) - min(began)), sum(resident))

    return run


def _shares(settings: Settings, processes: int) -> list[dict[int, int]]:
    """Return the partitions of each process, with how many events they hold; the fullest go to who has least."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "nobody"})
    held = {
        partition: consumer.get_watermark_offsets(TopicPartition(settings.events_topic, partition), 30)[1]
        for partition in range(_PARTITIONS)
    }
    consumer.close()
    shares: list[dict[int, int]] = [{} for _ in range(processes)]
    for partition in sorted(held, key=held.__getitem__, reverse=True):
        min(shares, key=lambda share: sum(share.values()))[partition] = held[partition]
    return shares


def work_off(  # noqa: PLR0913 - what one run needs
    ground: Ground,
    events: int,
    *,
    workers: int,
    draws: bool,
    kind: str = "postgresql",
    partitions: int = _PARTITIONS,
) -> Pace:
    """Have workers record a backlog."""
    with ground.place(partitions=partitions, kind=kind) as place, ExitStack() as ending:
        publish_reports(place.settings, events)
        running = [ending.enter_context(place.worker(draws=draws)) for _ in range(workers)]
        wait_until(lambda: all(worker.recorded for worker in running), "all have begun", PATIENCE)
        watched, before, since = (
            [psutil.Process(worker.pid) for worker in running],
            _machine_busy(),
            time.perf_counter(),
        )
        own_before = _busy(watched)
        wait_until(lambda: sum(worker.recorded for worker in running) >= events, "all is recorded", PATIENCE)
        seconds = time.perf_counter() - since
        cores, own_cores = (_machine_busy() - before) / seconds, (_busy(watched) - own_before) / seconds
        resident = sum(psutil.Process(worker.pid).memory_info().rss for worker in running)
        told = [worker.sights(Recorded) for worker in running]
        # With several, from when the last of them has begun: until then they join, and share out the partitions anew.
        began = max(batches[0].at - batches[0].seconds for batches in told if batches)
        batches = [batch for batches in told for batch in batches if batch.at - batch.seconds >= began]
        ended = max(batch.at for batch in batches)
        assert place.store.count_events() == events
    return Pace(sum(batch.events for batch in batches) / (ended - began), resident, cores, own_cores)


def _busy(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds that processes have used so far."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _machine_busy() -> float:
    """Return the CPU seconds that all of the machine has used so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
