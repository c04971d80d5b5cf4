"""Decoding and validating alone, on one core, in memory: how many events a second."""

import time
from collections.abc import Iterator
from typing import Final

from models.domain.cloudevents import decode
from models.domain.envelope import STRUCTURED_HEADERS, Headers
from models.domain.events import Event, check_acceptable
from models.domain.timestamps import epoch_seconds, parse_instant
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.reports import report_records

_EVENTS: Final = 100_000
_TARGETS: Final = (Target("median", 100_000, "least"),)


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Decode and admit the same reports, as often as asked for."""
    environment.report_progress("decoding")
    values = list(report_records(options.scaled(_EVENTS)))
    yield from merge_runs(_run(values) for _ in range(options.runs))


def _run(values: list[tuple[bytes, bytes]]) -> list[Figure]:
    now = int(1000 * epoch_seconds(parse_instant("2026-12-01T00:00:00Z")))
    structured: list[tuple[Headers, bytes]] = [(STRUCTURED_HEADERS, value) for _, value in values]
    return [Figure("decoded and admitted in a second, structured", "number", [_decode_rate(structured, now)], _TARGETS)]


def _decode_rate(records: list[tuple[Headers, bytes]], now_ms: int) -> float:
    began = time.perf_counter()
    for headers, value in records:
        event = decode(headers, value)
        assert isinstance(event, Event)
        check_acceptable(event, now_ms, {})
    return len(records) / (time.perf_counter() - began)
