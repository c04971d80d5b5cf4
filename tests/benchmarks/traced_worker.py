"""A watched worker as a process, seen from outside: what it told so far, and waiting for more of it."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from models.settings import Settings
from tests.benchmarks.trace import (
    AnyTraceEvent,
    BatchCommitted,
    ForecastDelaysObserved,
    LoopTicked,
    ProgrammeRendered,
    TraceEvent,
    decode_trace_event,
)
from tests.helpers.workers import WorkerProcess, free_port

#: How long a step may take, on the slowest machine; of a worker, how long it may tell nothing that is waited for.
BENCHMARK_TIMEOUT_SECONDS: Final = 300.0
_TAIL_LINES: Final = 30

TraceKind = TypeVar("TraceKind", bound=TraceEvent)


class TracedWorker(WorkerProcess):
    """A worker and what it told."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        super().__init__(process, port, log)
        self._trace: list[AnyTraceEvent] = []
        self._changed = threading.Condition()
        self._has_ended, self._told_at = False, time.monotonic()
        #: How many records were committed.
        self.recorded_events = 0
        #: Of each programme, the newest revision that was shown.
        self.shown_revisions: dict[str, int] = {}
        #: How many delays were observed.
        self.observed_delays = 0
        threading.Thread(target=self._read_trace, daemon=True).start()

    def _read_trace(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                sight = decode_trace_event(line)
                with self._changed:
                    self._apply(sight)
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _apply(self, event: AnyTraceEvent) -> None:
        self._trace.append(event)
        if not isinstance(event, LoopTicked):
            self._told_at = time.monotonic()
        match event:
            case BatchCommitted(events=events):
                self.recorded_events += events
            case ProgrammeRendered(programme=programme, revision=revision):
                self.shown_revisions[programme] = max(revision, self.shown_revisions.get(programme, revision))
            case ForecastDelaysObserved(delays=delays):
                self.observed_delays += len(delays)

    @property
    def trace_length(self) -> int:
        """How much was told so far: a place to read on from."""
        return len(self._trace)

    def trace(self, kind: type[TraceKind], since: int = 0) -> Sequence[TraceKind]:
        """Return what was told of one kind, in order."""
        with self._changed:
            return [sight for sight in self._trace[since:] if isinstance(sight, kind)]

    def wait_for(self, condition: Callable[[], bool], description: str) -> None:
        """Wait until something that was told makes a condition true."""
        began = time.monotonic()
        with self._changed:
            while not condition() and not self._has_ended:
                left = max(began, self._told_at) + BENCHMARK_TIMEOUT_SECONDS - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if not condition():
                tail = "\n".join(self.log_text.splitlines()[-_TAIL_LINES:])
                raise AssertionError(f"{'the worker ended' if self._has_ended else 'too late'}: {description}\n{tail}")

    def wait_until_recorded(self, records: int) -> None:
        """Wait until so many records are committed."""
        self.wait_for(lambda: self.recorded_events >= records, f"{records} records are committed")

    def wait_until_shown(self, revisions: Mapping[str, int]) -> None:
        """Wait until programmes are shown as of these revisions, or later ones."""
        self.wait_for(
            lambda: all(self.shown_revisions.get(name, -1) >= revision for name, revision in revisions.items()),
            f"{len(revisions)} programmes are shown",
        )

    def wait_until_observed(self, delays: int) -> None:
        """Wait until so many delays are observed."""
        self.wait_for(lambda: self.observed_delays >= delays, f"{delays} delays are observed")


@contextmanager
def running_traced_worker(
    settings: Settings, folder: Path, *, with_forecasts: bool = True, with_ticker: bool = False
) -> Iterator[TracedWorker]:
    """Run a watched worker in a folder until the block ends."""
    port = free_port()
    served = settings.model_copy(update={"web": f"127.0.0.1:{port}"})
    log = folder / f"worker-{port}.log"
    wanted = [
        flag for flag, is_wanted in (("--without-drawing", not with_forecasts), ("--ticking", with_ticker)) if is_wanted
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.traced_app", served.model_dump_json(), *wanted],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=output,
        )
        worker = TracedWorker(process, port, log)
        try:
            yield worker
            worker.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
