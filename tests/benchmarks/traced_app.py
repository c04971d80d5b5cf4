"""A worker as it is run everywhere, that tells on standard output what it does when (see `sights`).

`python -m tests.benchmarks.watched SETTINGS [--without-drawing] [--ticking]`: the settings are JSON. Nothing of the
worker is changed but these: its shelf tells what is put there, its histograms tell what they observe; and where
that is asked for, a ticker runs in its event loop, or nothing is drawn.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from mode import Service
from prometheus_client import CollectorRegistry

from deploy.logging_setup import set_up_logging
from deploy.worker import run_worker
from models.settings import Settings
from streams.agents.forecast import ForecastAgent
from streams.app import WorkerComponents, create_app
from streams.kafka.transport import FetchedBatch
from streams.metrics.pipeline import BulkHistogram
from streams.metrics.store import MetricsStore
from streams.metrics.store import RenderedProgramme as OnShelf
from tests.benchmarks.trace import (
    AnyTraceEvent,
    AppCreated,
    BatchCommitted,
    EventDelaysObserved,
    ForecastDelaysObserved,
    GarbageCollected,
    LoopTicked,
    PartitionsAssigned,
    ProgrammeRendered,
    encode_trace_event,
)

_TICK_SECONDS: Final = 0.002
#: A collection may begin, and be told of, while the same thread tells of something else.
_output_lock = threading.RLock()


def emit(event: AnyTraceEvent) -> None:
    """Tell of something, whole, whichever thread saw it."""
    line = encode_trace_event(event) + b"\n"
    with _output_lock:
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]


class TracedMetricsStore(MetricsStore):
    """Tells what is put on it."""

    def put(self, *programmes: OnShelf) -> None:
        """Show programmes, and tell."""
        super().put(*programmes)
        for rendered in programmes:
            emit(ProgrammeRendered(time.time(), rendered.programme_metrics.name, rendered.revision))


class TracedHistogram(BulkHistogram):
    """Takes a histogram's place and tells what it observes."""

    def __init__(self, inner: BulkHistogram, on_observed: Callable[[list[float]], None]) -> None:
        super().__init__("watched", "", (), CollectorRegistry())
        self._inner, self._on_observed = inner, on_observed

    def observe_all(self, occurrences: Mapping[float, int]) -> None:
        """Count many observations, and tell."""
        self._on_observed([*Counter(occurrences).elements()])
        self._inner.observe_all(occurrences)


class BatchTracer:
    """Puts together what two histograms observe of a batch: how long it took, and how many events it held."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def on_duration(self, seconds: list[float]) -> None:
        """Note how long a batch took; its size comes next."""
        [self._seconds] = seconds

    def on_size(self, sizes: list[float]) -> None:
        """Tell of the batch."""
        [size] = sizes
        emit(BatchCommitted(time.time(), int(size), self._seconds))


class IdleForecastAgent(ForecastAgent):
    """Draws nothing."""

    async def process_batch(self, batch: FetchedBatch) -> None:
        """Be done with signals at once."""
        batch.is_done = True

    async def sweep(self) -> None:
        """Find nothing to draw."""


class LoopTicker(Service):
    """Tells how late its turn comes: for so long, something else held the event loop."""

    @Service.task
    async def _tick(self) -> None:
        while not self.should_stop:
            due = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            emit(LoopTicked(time.time(), max(0.0, time.perf_counter() - due)))


class GcTracer:
    """Tells of every run of the garbage collector."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Note the begin, tell at the end."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            emit(GarbageCollected(time.time(), time.perf_counter() - self._began, info["generation"]))


def create_traced_app(*arguments: Any, with_ticker: bool) -> WorkerComponents:  # noqa: ANN401 - those of `create_app`
    """Return the application that `create_app` makes, watched."""
    milepost = create_app(*arguments)
    metrics, recording = milepost.metrics, BatchTracer()
    metrics.batch_seconds = TracedHistogram(metrics.batch_seconds, recording.on_duration)
    metrics.batch_events = TracedHistogram(metrics.batch_events, recording.on_size)
    metrics.forecast_delay = TracedHistogram(
        metrics.forecast_delay, lambda delays: emit(ForecastDelaysObserved(time.time(), delays))
    )
    metrics.event_delay = TracedHistogram(
        metrics.event_delay, lambda delays: emit(EventDelaysObserved(time.time(), delays))
    )
    milepost.app.on_partitions_assigned.connect(_on_partitions_assigned)
    if with_ticker:
        gc.callbacks.append(GcTracer())
        milepost = replace(milepost, services=(*milepost.services, LoopTicker()))
    emit(AppCreated(time.time()))
    return milepost


async def _on_partitions_assigned(*_args: Any, **_options: Any) -> None:  # noqa: ANN401 - Faust's signature
    emit(PartitionsAssigned(time.time()))


def main() -> int:
    """Run the worker until it is told to stop; return its exit status."""
    reading = argparse.ArgumentParser(prog="python -m tests.benchmarks.watched")
    reading.add_argument("settings")
    reading.add_argument("--without-drawing", action="store_true")
    reading.add_argument("--ticking", action="store_true")
    told = reading.parse_args()
    with ExitStack() as changed:
        changed.enter_context(patch("streams.app.MetricsStore", TracedMetricsStore))
        changed.enter_context(patch("streams.worker.create_app", partial(create_traced_app, with_ticker=told.ticking)))
        if told.without_drawing:
            changed.enter_context(patch("streams.app.ForecastAgent", IdleForecastAgent))
        settings = Settings(**json.loads(told.settings))
        set_up_logging(settings.log)
        return run_worker(settings)


if __name__ == "__main__":
    sys.exit(main())
