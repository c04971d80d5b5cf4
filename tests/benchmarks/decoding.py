"""Decoding and validating alone, on one core, in memory: how many events a second."""

import time
from collections.abc import Iterator
from typing import Final

from models.domain.cloudevents import Headers, decode
from models.domain.events import Event, admit
from models.domain.timestamps import epoch_seconds, parse_instant
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.reports import STRUCTURED, reports

_EVENTS: Final = 100_000
_LEAST: Final = (Target("median", 100_000, "least"),)


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Decode and admit the same reports, as often as asked for."""
    ground.say("decoding")
    values = list(reports(effort.of(_EVENTS)))
    yield from pooled(_run(values) for _ in range(effort.runs))


def _run(values: list[tuple[bytes, bytes]]) -> list[Figure]:
    now = int(1000 * epoch_seconds(parse_instant("2026-12-01T00:00:00Z")))
    structured: list[tuple[Headers, bytes]] = [(STRUCTURED, value) for _, value in values]
    return [Figure("decoded and admitted in a second, structured", "number", [_rate(structured, now)], _LEAST)]


def _rate(records: list[tuple[Headers, bytes]], now_ms: int) -> float:
    began = time.perf_counter()
    for headers, value in records:
        event = decode(headers, value)
        assert isinstance(event, Event)
        admit(event, now_ms, {})
    return len(records) / (time.perf_counter() - began)
