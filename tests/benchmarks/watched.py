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
import socket
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

from deploy.worker import run_worker
from models.database.recorder import Store
from models.settings import Settings
from streams.agents.forecast import Forecaster
from streams.app import Milepost, create_app
from streams.kafka.transport import Delivery
from streams.metrics.pipeline import BulkHistogram
from streams.metrics.store import Shelf
from streams.metrics.store import Shown as OnShelf
from streams.web.server import Pages
from tests.benchmarks.sights import (
    AnySight,
    Assigned,
    Collected,
    Committed,
    Recorded,
    Shown,
    Started,
    Ticked,
    Visible,
    encode_sight,
)

_TICK_SECONDS: Final = 0.002
#: A collection may begin, and be told of, while the same thread tells of something else.
_telling = threading.RLock()


def tell(sight: AnySight) -> None:
    """Tell of something, whole, whichever thread saw it."""
    line = encode_sight(sight) + b"\n"
    with _telling:
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]


class WatchedShelf(Shelf):
    """Tells what is put on it."""

    def put(self, name: str, shown: OnShelf) -> None:
        """Show a programme, and tell."""
        super().put(name, shown)
        tell(Shown(time.time(), name, shown.revision))


class WatchedHistogram(BulkHistogram):
    """Takes a histogram's place and tells what it observes."""

    def __init__(self, inner: BulkHistogram, seen: Callable[[list[float]], None]) -> None:
        super().__init__("watched", "", (), CollectorRegistry())
        self._inner, self._seen = inner, seen

    def observe_all(self, times: Mapping[float, int]) -> None:
        """Count many observations, and tell."""
        self._seen([*Counter(times).elements()])
        self._inner.observe_all(times)


class Recording:
    """Puts together what two histograms observe of a batch: how long it took, and how many events it held."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def took(self, seconds: list[float]) -> None:
        """Note how long a batch took; its size comes next."""
        [self._seconds] = seconds

    def held(self, sizes: list[float]) -> None:
        """Tell of the batch."""
        [size] = sizes
        tell(Recorded(time.time(), int(size), self._seconds))


class StillForecaster(Forecaster):
    """Draws nothing."""

    async def take(self, delivery: Delivery) -> None:
        """Be done with signals at once."""
        delivery.done = True

    async def sweep(self) -> None:
        """Find nothing to draw."""


class Ticker(Service):
    """Tells how late its turn comes: for so long, something else held the event loop."""

    @Service.task
    async def _tick(self) -> None:
        while not self.should_stop:
            due = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            tell(Ticked(time.time(), max(0.0, time.perf_counter() - due)))


class Collections:
    """Tells of every run of the garbage collector."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Note the begin, tell at the end."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            tell(Collected(time.time(), time.perf_counter() - self._began, info["generation"]))


def create_watched(  # noqa: PLR0913 - as create_app, and one of its own
    settings: Settings,
    store: Store,
    listening: socket.socket,
    refuse: Callable[[str], None],
    pages: Pages | None = None,
    *,
    ticking: bool,
) -> Milepost:
    """Return the application that `create_app` makes, watched."""
    milepost = create_app(settings, store, listening, refuse, pages)
    metrics, recording = milepost.metrics, Recording()
    metrics.batch_seconds = WatchedHistogram(metrics.batch_seconds, recording.took)
    metrics.batch_events = WatchedHistogram(metrics.batch_events, recording.held)
    metrics.forecast_delay = WatchedHistogram(metrics.forecast_delay, lambda delays: tell(Visible(time.time(), delays)))
    metrics.event_delay = WatchedHistogram(metrics.event_delay, lambda delays: tell(Committed(time.time(), delays)))
    milepost.app.on_partitions_assigned.connect(_on_assigned)
    if ticking:
        gc.callbacks.append(Collections())
        milepost = replace(milepost, services=(*milepost.services, Ticker()))
    tell(Started(time.time()))
    return milepost


async def _on_assigned(*_args: Any, **_options: Any) -> None:  # noqa: ANN401 - Faust's signature
    tell(Assigned(time.time()))


def main() -> int:
    """Run the worker until it is told to stop; return its exit status."""
    reading = argparse.ArgumentParser(prog="python -m tests.benchmarks.watched")
    reading.add_argument("settings")
    reading.add_argument("--without-drawing", action="store_true")
    reading.add_argument("--ticking", action="store_true")
    told = reading.parse_args()
    with ExitStack() as changed:
        changed.enter_context(patch("streams.app.Shelf", WatchedShelf))
        changed.enter_context(patch("streams.worker.create_app", partial(create_watched, ticking=told.ticking)))
        if told.without_drawing:
            changed.enter_context(patch("streams.app.Forecaster", StillForecaster))
        return run_worker(Settings(**json.loads(told.settings)))


if __name__ == "__main__":
    sys.exit(main())
