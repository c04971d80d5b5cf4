"""A watched worker as a process, seen from outside: what it told so far, and waiting for more of it."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from models.settings import Settings
from tests.benchmarks.sights import AnySight, Recorded, Shown, Sight, Visible, decode_sight
from tests.workers import WorkerProcess, free_port

#: How long anything may take, on the slowest machine.
PATIENCE: Final = 600.0
_TAIL_LINES: Final = 30

Kind = TypeVar("Kind", bound=Sight)


class WatchedWorker(WorkerProcess):
    """A worker and what it told."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        super().__init__(process, port, log)
        self._sights: list[AnySight] = []
        self._news = threading.Condition()
        self._has_ended = False
        #: How many records were committed.
        self.recorded = 0
        #: Of each programme, the newest revision that was shown.
        self.shown: dict[str, int] = {}
        #: How many delays were observed.
        self.visible = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            sight = decode_sight(line)
            with self._news:
                self._take(sight)
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _take(self, sight: AnySight) -> None:
        self._sights.append(sight)
        match sight:
            case Recorded(events=events):
                self.recorded += events
            case Shown(programme=programme, revision=revision):
                self.shown[programme] = max(revision, self.shown.get(programme, revision))
            case Visible(delays=delays):
                self.visible += len(delays)

    @property
    def told(self) -> int:
        """How much was told so far: a place to read on from."""
        return len(self._sights)

    def sights(self, kind: type[Kind], since: int = 0) -> Sequence[Kind]:
        """Return what was told of one kind, in order."""
        with self._news:
            return [sight for sight in self._sights[since:] if isinstance(sight, kind)]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something that was told makes a condition true."""

        def is_over() -> bool:
            return condition() or self._has_ended

        with self._news:
            self._news.wait_for(is_over, PATIENCE)
            if not condition():
                tail = "\n".join(self.log.splitlines()[-_TAIL_LINES:])
                raise AssertionError(f"{'the worker ended' if self._has_ended else 'too late'}: {what}\n{tail}")

    def wait_until_recorded(self, records: int) -> None:
        """Wait until so many records are committed."""
        self.wait_for(lambda: self.recorded >= records, f"{records} records are committed")

    def wait_until_shown(self, revisions: Mapping[str, int]) -> None:
        """Wait until programmes are shown as of these revisions, or later ones."""
        self.wait_for(
            lambda: all(self.shown.get(name, -1) >= revision for name, revision in revisions.items()),
            f"{len(revisions)} programmes are shown",
        )

    def wait_until_observed(self, delays: int) -> None:
        """Wait until so many delays are observed."""
        self.wait_for(lambda: self.visible >= delays, f"{delays} delays are observed")


@contextmanager
def watched_worker(
    settings: Settings, folder: Path, *, draws: bool = True, ticks: bool = False
) -> Iterator[WatchedWorker]:
    """Run a watched worker in a folder until the block ends."""
    port = free_port()
    served = settings.model_copy(update={"web": f"127.0.0.1:{port}"})
    log = folder / f"worker-{port}.log"
    wanted = [flag for flag, is_wanted in (("--without-drawing", not draws), ("--ticking", ticks)) if is_wanted]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.watched", served.model_dump_json(), *wanted],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=output,
        )
        worker = WatchedWorker(process, port, log)
        try:
            yield worker
            worker.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
