"""Processes that make runs, each with a Kafka and a PostgreSQL of its own."""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import NamedTuple, Self, TypeAlias

from tests.faults.ground import Ground
from tests.faults.run import Outcome, run
from tests.faults.scenarios import SCENARIOS
from tests.faults.small_disk import CannotMountError


class Task(NamedTuple):
    """A run to be made."""

    name: str
    seed: int


class Done(NamedTuple):
    """A run that was made; without an outcome it did not hold."""

    task: Task
    outcome: Outcome | None
    said: str
    #: Whether it could be made here at all.
    is_tried: bool = True


Tasks: TypeAlias = "Queue[Task | None]"
Results: TypeAlias = "Queue[Done]"


class Crew:
    """Processes that make runs."""

    def __init__(self, size: int) -> None:
        # Spawned: a fork would take along the threads of the queues as they happen to be.
        context = multiprocessing.get_context("spawn")
        self._tasks: Tasks = context.Queue()
        self._results: Results = context.Queue()
        self._processes = [context.Process(target=_work, args=(self._tasks, self._results)) for _ in range(size)]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def do(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Make runs; give each as it is done."""
        for task in tasks:
            self._tasks.put(task)
        for _ in tasks:
            yield self._results.get()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self._processes:
            self._tasks.put(None)
            if kind is not None and process.pid is not None:
                # Stopped in the midst of it: what they run is to end too.
                os.kill(process.pid, signal.SIGINT)
        for process in self._processes:
            process.join(60)


def _work(tasks: Tasks, results: Results) -> None:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-faults-")))
        ground = Ground(folder, ending)
        while (task := _next(tasks)) is not None:
            results.put(_run(task, ground, folder))


def _next(tasks: Tasks) -> Task | None:
    """Return the next task; None when there will be none."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        with suppress(Empty):
            return tasks.get(timeout=1)
    return None


def _run(task: Task, ground: Ground, folder: Path) -> Done:
    place = folder / f"{task.seed}-{list(SCENARIOS).index(task.name)}"
    place.mkdir()
    began = time.monotonic()
    try:
        outcome = run(task.name, ground, place, task.seed)
    except CannotMountError as error:
        return Done(task, None, f"not tried: {error}", is_tried=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run did not hold, and the next may
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"
        return Done(task, None, f"{said} ({time.monotonic() - began:.0f} s); {_keep(place)}")
    said = f"recovery {outcome.recovery_seconds:.1f} s, {outcome.events:,} events, took {outcome.seconds:.0f} s"
    return Done(task, outcome, said if outcome.is_in_time else f"late: {said}; {_keep(place)}")


def _keep(place: Path) -> str:
    kept = tempfile.mkdtemp(prefix="milepost-faults-kept-")
    shutil.copytree(place, kept, dirs_exist_ok=True)
    return f"what its workers said is in {kept}"
