"""Working off a backlog beside what a user would pick instead: the same events, the same machine, in turns.

A ratio is of two ways that follow each other within one round: what else the machine does changes from minute to
minute.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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

_EVENTS: Final = 100_000
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


class _Workers(NamedTuple):
    """Workers that do the job."""

    share: float = 1.0
    workers: int = 1
    backend: str = "postgresql"
    with_forecasts: bool = False


class _Peer(NamedTuple):
    """Something else that does the job."""

    module: str
    arguments: tuple[str, ...] = ()
    #: Of the backlog: as much as it works off in some ten seconds. How long a backlog is changes nothing for it.
    share: float = 1.0
    backend: str = "postgresql"
    processes: int = 1


_ONE_WORKER: Final = "Milepost, recording"
_TWO_WORKERS: Final = "Milepost, recording, 2 workers"
_SQLITE: Final = "SQLite, Milepost, recording"
_ALL_OF_IT: Final = "Milepost, all of it"
_LOOP: Final = "loop by hand, COPY"
_TWO_LOOPS: Final = "loop by hand, COPY, 2 processes"
_SQLITE_LOOP: Final = "SQLite, plain loop by hand"
_FASTSTREAM: Final = "FastStream, batches"
_STOCK_FAUST: Final = "stock Faust, a transaction an event"
_FLINK: Final = "Apache Flink SQL, warm"

#: Several workers begin one after another, and Flink needs time to be warm: theirs are longer.
_WAYS: Final[Mapping[str, _Workers | _Peer]] = {
    _ONE_WORKER: _Workers(),
    _TWO_WORKERS: _Workers(2.0, workers=2),
    "Milepost, recording, 4 workers": _Workers(2.0, workers=4),
    _ALL_OF_IT: _Workers(with_forecasts=True),
    "Milepost, all of it, 2 workers": _Workers(1.5, workers=2, with_forecasts=True),
    _SQLITE: _Workers(0.6, backend="sqlite"),
    _LOOP: _Peer("by_hand"),
    _TWO_LOOPS: _Peer("by_hand", share=2.0, processes=2),
    _SQLITE_LOOP: _Peer("by_hand_sqlite", share=0.6, backend="sqlite"),
    _FASTSTREAM: _Peer("with_faststream", share=0.6),
    _FLINK: _Peer("flink_sql", share=2.0),
    "stock Faust, take(1000)": _Peer("stock_faust", ("take",), 0.2),
    _STOCK_FAUST: _Peer("stock_faust", ("one",), 0.04),
}
#: What one round runs, in this order or the other way round: the ways of a ratio are neighbours, and the first ratio is
#: taken twice.
_ROUND: Final = (
    *(_LOOP, _ONE_WORKER, _ONE_WORKER, _LOOP),
    *(_FLINK, _TWO_WORKERS, _TWO_LOOPS),
    *(_SQLITE, _SQLITE_LOOP),
    *(_FASTSTREAM, _ONE_WORKER, _STOCK_FAUST),
)
#: What the first rounds run besides: no ratio is of these.
_BESIDES: Final = (
    _ALL_OF_IT,
    "Milepost, all of it, 2 workers",
    "Milepost, recording, 4 workers",
    "stock Faust, take(1000)",
)
_ROUNDS_WITH_ALL: Final = 3
#: How many times as fast as a peer it has to be: one worker; two, which take the machine's two cores; one into SQLite.
_SPEED_TARGETS: Final = (
    (_ONE_WORKER, _LOOP, 1.1),
    (_ONE_WORKER, _FASTSTREAM, 1.8),
    (_ONE_WORKER, _STOCK_FAUST, 25.0),
    (_TWO_WORKERS, _FLINK, 1.0),
    (_TWO_WORKERS, _TWO_LOOPS, 1.0),
    (_SQLITE, _SQLITE_LOOP, 0.8),
)
#: In what part of Flink's memory two workers have to be ahead of it.
_MAX_MEMORY_RATIO: Final = 1 / 4
#: Of a worker that only records, and of one that shows 80,000 milestones.
_MAX_RESIDENT_BYTES: Final = {_ONE_WORKER: 170e6, _ALL_OF_IT: 250e6}
#: Those whose use of the machine's cores is told.
_CORES_OF: Final = (_ONE_WORKER, _TWO_WORKERS, "Milepost, recording, 4 workers")


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Have everyone do the job, as often as asked for."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    # What is warm by then should not always be to the good of the same.
    order = _ROUND + _BESIDES if number < _ROUNDS_WITH_ALL else _ROUND
    order = order if number % 2 == 0 else order[::-1]
    measured: list[tuple[str, Throughput]] = []
    for place, name in enumerate(order, 1):
        environment.report_progress(f"round {number + 1} of {options.runs}, {place} of {len(order)}: {name}")
        throughput = _measure_way(environment, options, _WAYS[name])
        environment.report_progress(f"  {throughput.events_per_second:,.0f} events/s")
        measured.append((name, throughput))
    of = {name: [throughput for found, throughput in measured if found == name] for name in _WAYS if name in order}
    figures = [Figure(f"{name}: events/s", "number", [one.events_per_second for one in of[name]]) for name in of]
    for name, runs in of.items():
        targets = [Target("median", _MAX_RESIDENT_BYTES[name])] if name in _MAX_RESIDENT_BYTES else []
        figures.append(Figure(f"{name}: resident", "bytes", [one.resident_bytes for one in runs], targets))
    for name in (name for name in _CORES_OF if name in of):
        figures += [
            Figure(f"{name}: cores busy, of all processes", "ratio", [one.machine_cores for one in of[name]]),
            Figure(f"{name}: cores busy, of the workers", "ratio", [one.worker_cores for one in of[name]]),
        ]
    figures += [
        Figure(
            f"{ours}, times {peer.removeprefix('SQLite, ')}",
            "ratio",
            [mine.events_per_second / other.events_per_second for mine, other in neighbours(measured, ours, peer)],
            [Target("median", least, "least")],
        )
        for ours, peer, least in _SPEED_TARGETS
    ]
    parts = [mine.resident_bytes / flink.resident_bytes for mine, flink in neighbours(measured, _TWO_WORKERS, _FLINK)]
    return [
        *figures,
        Figure(f"{_TWO_WORKERS}: resident, times {_FLINK}", "ratio", parts, [Target("median", _MAX_MEMORY_RATIO)]),
    ]


def neighbours(
    measured: Sequence[tuple[str, Throughput]], ours: str, peer: str
) -> Sequence[tuple[Throughput, Throughput]]:
    """Return each run of the peer, behind the run of ours that is nearest to it in a round and not taken yet."""
    left = [(place, pace) for place, (name, pace) in enumerate(measured) if name == ours]
    pairs = []
    for at, (name, pace) in enumerate(measured):
        if name == peer:
            nearest = min(left, key=lambda one: abs(one[0] - at))
            left.remove(nearest)
            pairs.append((nearest[1], pace))
    return pairs


def _measure_way(environment: BenchmarkEnvironment, options: RunOptions, way: _Workers | _Peer) -> Throughput:
    events = options.scaled(int(_EVENTS * way.share))
    if isinstance(way, _Workers):
        return _measure_workers(environment, way, events)
    return _measure_peer(environment, way, events)


def _measure_peer(environment: BenchmarkEnvironment, peer: _Peer, events: int) -> Throughput:
    """Have a peer's processes work off a backlog."""
    with environment.workspace(partitions=_PARTITIONS, backend=peer.backend) as place, ExitStack() as ending:
        publish_reports(place.settings, events)
        url = place.recorder.engine.url.render_as_string(hide_password=False)
        if peer.processes > 1:
            # Two that make the same tables at once are in each other's way.
            create_job_tables(url).dispose()
        shares = _partition_shares(place.settings, peer.processes)
        running = [
            ending.enter_context(
                _running_process(
                    *("-m", f"tests.benchmarks.peers.{peer.module}"),
                    *(place.settings.kafka, url, place.settings.events_topic, str(sum(share.values()))),
                    *(map(str, share) if peer.processes > 1 else peer.arguments),
                )
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


@contextmanager
def _running_process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python on this until the block ends, however it ends."""
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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


def _measure_workers(environment: BenchmarkEnvironment, way: _Workers, events: int) -> Throughput:
    """Have workers record a backlog."""
    with environment.workspace(partitions=_PARTITIONS, backend=way.backend) as place, ExitStack() as ending:
        publish_reports(place.settings, events)
        running = [
            ending.enter_context(place.running_worker(with_forecasts=way.with_forecasts)) for _ in range(way.workers)
        ]

        def all_is_recorded() -> bool:
            assert all(worker.process.poll() is None for worker in running), "a worker ended"
            return sum(worker.recorded_events for worker in running) >= events

        # Of few events, nothing may be left for the last of them.
        wait_until(
            lambda: all_is_recorded() or all(worker.recorded_events for worker in running),
            "all have begun",
            BENCHMARK_TIMEOUT_SECONDS,
        )
        watched, before, since = (
            [psutil.Process(worker.pid) for worker in running],
            _machine_cpu_seconds(),
            time.perf_counter(),
        )
        own_before = _cpu_seconds(watched)
        wait_until(all_is_recorded, "all is recorded", BENCHMARK_TIMEOUT_SECONDS)
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
