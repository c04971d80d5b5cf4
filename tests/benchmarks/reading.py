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

from models.database.ledger import DecodedRecord
from models.database.positions import OffsetRange
from models.database.recorder import Batch, Recorder
from models.domain.cloudevents import decode
from tests.benchmarks.environment import BenchmarkEnvironment, Workspace
from tests.benchmarks.figures import Figure, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import ProgrammePlan, initial_events, realistic_plan
from tests.benchmarks.traced_worker import BENCHMARK_TIMEOUT_SECONDS, TracedWorker
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import JsonEvent

_MILESTONES: Final = 100_000
_MAX_MILESTONES_PER_PROGRAMME: Final = 10_000
#: A log of its own, that no worker reads.
_PRELOADED_TOPIC: Final = "loaded"
_LOAD_BATCH: Final = 5000


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Load once, and have a worker that has just started asked, as often as told: the next answers are kept ones."""
    size = options.scaled(_MILESTONES, multiple_of=10)
    in_programme = min(size, _MAX_MILESTONES_PER_PROGRAMME)
    plans = [
        realistic_plan(f"programme-{number}", in_programme, environment.data_date, number)
        for number in range(size // in_programme)
    ]
    with environment.workspace() as place:
        environment.report_progress(f"loading {size:,} milestones")
        _record_events(place.recorder, chain.from_iterable(map(initial_events, plans)))
        yield from merge_runs(_run(place, plans, f"{size:,} milestones") for _ in range(options.runs))


def _record_events(recorder: Recorder, events: Iterator[JsonEvent]) -> None:
    """Record events without a broker: what is timed here reads."""
    recorder.resolve_start_offsets(_PRELOADED_TOPIC, {0: (0, 0)})
    at = 0
    while entries := [
        DecodedRecord(_PRELOADED_TOPIC, 0, at + number, 0, headers, value, decode(headers, value))
        for number, (headers, value) in enumerate(map(structured_record, _next_batch(events)))
    ]:
        recorded = recorder.record(
            Batch([OffsetRange(_PRELOADED_TOPIC, 0, at, at + len(entries))], entries), _fail_if_rejected
        )
        assert len(recorded.accepted) == len(entries)
        at += len(entries)


def _next_batch(events: Iterator[JsonEvent]) -> list[JsonEvent]:
    return [event for event, _ in zip(events, range(_LOAD_BATCH), strict=False)]


def _fail_if_rejected(rejected: object) -> None:
    raise AssertionError(f"nothing here is to be rejected: {rejected}")


def _run(workspace: Workspace, plans: list[ProgrammePlan], title: str) -> list[Figure]:
    with workspace.running_worker() as worker:
        worker.wait_until_shown(workspace.recorder.read_revisions())
        return _measure_requests(workspace, worker, plans, title)


def _measure_requests(
    workspace: Workspace, worker: TracedWorker, plans: list[ProgrammePlan], title: str
) -> list[Figure]:
    its = plans[0]
    pages: Mapping[str, str] = {
        "the board's first page": "/",
        "a timeline": f"/programmes/{its.programme}",
        "a gate": f"/programmes/{its.programme}/gates/{_busiest_gate_path(its)}",
        "API, programmes": "/api/programmes",
        "API, a page of milestones": f"/api/programmes/{its.programme}/milestones",
    }
    began = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-c", "from deploy.cli.app import main; main()", "status", "--json"),
            *("--database", workspace.recorder.engine.url.render_as_string(hide_password=False)),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=BENCHMARK_TIMEOUT_SECONDS,
    )
    figures = [Figure(f"{title}: `milepost status --json`, start included", "s", [time.perf_counter() - began])]
    for name, path in pages.items():
        seconds, size = _timed_get(worker.port, path)
        figures += [
            Figure(f"{title}: {name}", "s", [seconds]),
            Figure(f"{title}: {name}, of", "bytes", [size]),
        ]
    return figures


def _busiest_gate_path(plan: ProgrammePlan) -> str:
    gate = plan.milestones[plan.busiest_gate]
    return f"{gate.project}/{gate.milestone}"


def _timed_get(port: int, path: str) -> tuple[float, int]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=BENCHMARK_TIMEOUT_SECONDS)) as connection:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == http.client.OK, (path, answer.status, body[:200])
        return time.perf_counter() - began, len(body)
