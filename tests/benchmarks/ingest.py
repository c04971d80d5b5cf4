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
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.peers.job import create_job_tables, kept_events
from tests.benchmarks.reports import publish_reports
from tests.benchmarks.trace import BatchCommitted
from tests.benchmarks.traced_worker import BENCHMARK_TIMEOUT_SECONDS
from tests.helpers.recorder import count_events
from tests.helpers.workers import wait_until

_EVENTS: Final = 500_000
_PARTITIONS: Final = 4
#: What a peer prints at its end.
_PEER_OUTPUT: Final = re.compile(rb"^worked on (\S+) from (\S+) to (\S+) in (\S+) bytes$", re.MULTILINE)


class Throughput(NamedTuple):
    """How a backlog was worked off."""

    #: Events a second, from the first batch to the last commit.
    events_per_second: float
    #: Resident, of all its processes, at the end.
    resident_bytes: float
    #: How much of the machine's cores was used meanwhile, in all and by the workers, in cores.
    machine_cores: float = 0.0
    worker_cores: float = 0.0


class _Peer(NamedTuple):
    """Something else that does the job."""

    module: str
    arguments: tuple[str, ...] = ()
    #: A backlog of a size that it works off in a minute or so: how long it is changes nothing for it.
    share: float = 1.0
    backend: str = "postgresql"
    processes: int = 1


_ONE_WORKER: Final = "Milepost, recording"
_TWO_WORKERS: Final = "Milepost, recording, 2 workers"
_SQLITE: Final = "SQLite, Milepost, recording"
_FLINK: Final = "Apache Flink SQL, warm"

_PEERS: Final[Mapping[str, _Peer]] = {
    "loop by hand, COPY": _Peer("by_hand"),
    "loop by hand, COPY, 2 processes": _Peer("by_hand", processes=2),
    "SQLite, plain loop by hand": _Peer("by_hand_sqlite", backend="sqlite"),
    "FastStream, batches": _Peer("with_faststream", share=0.4),
    _FLINK: _Peer("flink_sql"),
    "stock Faust, take(1000)": _Peer("stock_faust", ("take",), 0.2),
    "stock Faust, a transaction an event": _Peer("stock_faust", ("one",), 0.04),
}
#: How many times as fast as a peer it has to be: one worker; two, which take the machine's two cores; one into SQLite.
_SPEED_TARGETS: Final = (
    (_ONE_WORKER, "loop by hand, COPY", 1.5),
    (_ONE_WORKER, "FastStream, batches", 2.5),
    (_ONE_WORKER, "stock Faust, a transaction an event", 25.0),
    (_TWO_WORKERS, _FLINK, 1.0),
    (_TWO_WORKERS, "loop by hand, COPY, 2 processes", 1.0),
    (_SQLITE, "SQLite, plain loop by hand", 2.0),
)
#: In what part of Flink's memory two workers have to be ahead of it.
_MAX_MEMORY_RATIO: Final = 1 / 6


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Have everyone do the job, as often as asked for."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    events = options.scaled(_EVENTS)
    ways: dict[str, Callable[[], Throughput]] = {
        _ONE_WORKER: lambda: measure_workers(environment, events, workers=1, with_forecasts=False),
        _TWO_WORKERS: lambda: measure_workers(environment, events, workers=2, with_forecasts=False),
        _SQLITE: lambda: measure_workers(environment, events, workers=1, with_forecasts=False, backend="sqlite"),
        "Milepost, all of it": lambda: measure_workers(environment, events, workers=1, with_forecasts=True),
        "Milepost, all of it, 2 workers": lambda: measure_workers(environment, events, workers=2, with_forecasts=True),
        "Milepost, all of it, 4 workers": lambda: measure_workers(environment, events, workers=4, with_forecasts=True),
        **{
            name: _peer_run(environment, peer, options.scaled(int(_EVENTS * peer.share)))
            for name, peer in _PEERS.items()
        },
    }
    # In turns, another one first in every run: what is warm by then should not always be to the good of the same.
    names = list(ways)
    order = names[number % len(names) :] + names[: number % len(names)]
    paces = {}
    for name in order:
        environment.report_progress(f"run {number + 1}: {name}")
        paces[name] = ways[name]()
        environment.report_progress(f"  {paces[name].events_per_second:,.0f} events/s")
    figures = [Figure(f"{name}: events/s", "number", [paces[name].events_per_second]) for name in names]
    figures += [Figure(f"{name}: resident", "bytes", [paces[name].resident_bytes]) for name in names]
    figures += [
        Figure(
            f"{ours}, times {peer.removeprefix('SQLite, ')}",
            "ratio",
            [paces[ours].events_per_second / paces[peer].events_per_second],
            [Target("median", least, "least")],
        )
        for ours, peer, least in _SPEED_TARGETS
    ]
    part = paces[_TWO_WORKERS].resident_bytes / paces[_FLINK].resident_bytes
    return [
        *figures,
        Figure(f"{_TWO_WORKERS}: resident, times {_FLINK}", "ratio", [part], [Target("median", _MAX_MEMORY_RATIO)]),
    ]


def _peer_run(environment: BenchmarkEnvironment, peer: _Peer, events: int) -> Callable[[], Throughput]:
    def run() -> Throughput:
        with environment.workspace(partitions=_PARTITIONS, backend=peer.backend) as place:
            publish_reports(place.settings, events)
            url = place.recorder.engine.url.render_as_string(hide_password=False)
            if peer.processes > 1:
                # Two that make the same tables at once are in each other's way.
                create_job_tables(url).dispose()
            shares = _partition_shares(place.settings, peer.processes)
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
                said, _ = process.communicate(timeout=BENCHMARK_TIMEOUT_SECONDS)
                assert process.returncode == 0
                [numbers] = _PEER_OUTPUT.findall(said)
                worked.append(list(map(float, numbers)))
            with place.recorder.engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(kept_events)) == events
        counted, began, ended, resident = zip(*worked, strict=True)
        return Throughput(sum(counted) / (max(ended) - min(began)), sum(resident))

    return run


def _partition_shares(settings: Settings, processes: int) -> list[dict[int, int]]:
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


def measure_workers(  # noqa: PLR0913 - what one run needs
    environment: BenchmarkEnvironment,
    events: int,
    *,
    workers: int,
    with_forecasts: bool,
    backend: str = "postgresql",
    partitions: int = _PARTITIONS,
) -> Throughput:
    """Have workers record a backlog."""
    with environment.workspace(partitions=partitions, backend=backend) as place, ExitStack() as ending:
        publish_reports(place.settings, events)
        running = [ending.enter_context(place.running_worker(with_forecasts=with_forecasts)) for _ in range(workers)]
        wait_until(
            lambda: all(worker.recorded_events for worker in running), "all have begun", BENCHMARK_TIMEOUT_SECONDS
        )
        watched, before, since = (
            [psutil.Process(worker.pid) for worker in running],
            _machine_cpu_seconds(),
            time.perf_counter(),
        )
        own_before = _cpu_seconds(watched)
        wait_until(
            lambda: sum(worker.recorded_events for worker in running) >= events,
            "all is recorded",
            BENCHMARK_TIMEOUT_SECONDS,
        )
        seconds = time.perf_counter() - since
        cores, own_cores = (_machine_cpu_seconds() - before) / seconds, (_cpu_seconds(watched) - own_before) / seconds
        resident = sum(psutil.Process(worker.pid).memory_info().rss for worker in running)
        told = [worker.trace(BatchCommitted) for worker in running]
        # With several, from when the last of them has begun: until then they join, and share out the partitions anew.
        began = max(batches[0].at - batches[0].seconds for batches in told if batches)
        batches = [batch for batches in told for batch in batches if batch.at - batch.seconds >= began]
        ended = max(batch.at for batch in batches)
        assert count_events(place.recorder) == events
    return Throughput(sum(batch.events for batch in batches) / (ended - began), resident, cores, own_cores)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds that processes have used so far."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _machine_cpu_seconds() -> float:
    """Return the CPU seconds that all of the machine has used so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
