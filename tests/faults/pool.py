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

from tests.faults.environment import FaultEnvironment
from tests.faults.registry import SCENARIOS
from tests.faults.run import RunResult, run_scenario
from tests.faults.small_disk import MountError


class Task(NamedTuple):
    """A run to be made."""

    name: str
    seed: int


class TaskResult(NamedTuple):
    """A run that was made; without an outcome it did not hold."""

    task: Task
    run_result: RunResult | None
    summary: str
    #: Whether it could be made here at all.
    is_supported: bool = True


TaskQueue: TypeAlias = "Queue[Task | None]"
ResultQueue: TypeAlias = "Queue[TaskResult]"


class ProcessPool:
    """Processes that make runs."""

    def __init__(self, size: int) -> None:
        # Spawned: a fork would take along the threads of the queues as they happen to be.
        context = multiprocessing.get_context("spawn")
        self._tasks: TaskQueue = context.Queue()
        self._results: ResultQueue = context.Queue()
        self._processes = [context.Process(target=_run_worker, args=(self._tasks, self._results)) for _ in range(size)]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def run_tasks(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
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


def _run_worker(tasks: TaskQueue, results: ResultQueue) -> None:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-faults-")))
        ground = FaultEnvironment(folder, ending)
        while (task := _next_task(tasks)) is not None:
            results.put(_run_task(task, ground, folder))


def _next_task(tasks: TaskQueue) -> Task | None:
    """Return the next task; None when there will be none."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        with suppress(Empty):
            return tasks.get(timeout=1)
    return None


def _run_task(task: Task, environment: FaultEnvironment, folder: Path) -> TaskResult:
    place = folder / f"{task.seed}-{list(SCENARIOS).index(task.name)}"
    place.mkdir()
    began = time.monotonic()
    try:
        outcome = run_scenario(task.name, environment, place, task.seed)
    except MountError as error:
        return TaskResult(task, None, f"not tried: {error}", is_supported=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run did not hold, and the next may
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"
        return TaskResult(task, None, f"{said} ({time.monotonic() - began:.0f} s); {_keep_logs(place)}")
    said = f"recovery {outcome.recovery_seconds:.1f} s, {outcome.events:,} events, took {outcome.seconds:.0f} s"
    said = "; ".join([said, *outcome.notes])
    return TaskResult(task, outcome, said if outcome.is_in_time else f"late: {said}; {_keep_logs(place)}")


def _keep_logs(folder: Path) -> str:
    kept = tempfile.mkdtemp(prefix="milepost-faults-kept-")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    return f"what its workers said is in {kept}"
