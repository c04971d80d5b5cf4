"""`make faults`: every scenario again and again with other seeds; writes the table of docs/reliability.md.

`python -m tests.faults [--runs N] [--seed S] [--only TEXT] [--jobs J]`: N runs of each, four times as many of what
takes less than 20 s. `--soak 30m [--rate 2000]`: one long run of many faults instead.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.faults.environment import FaultEnvironment
from tests.faults.pool import ProcessPool, Task, TaskResult
from tests.faults.registry import SCENARIOS
from tests.faults.soak import run_soak

_DOCUMENT = Path("docs/reliability.md")
_BEGIN, _END = "<!-- what `make faults` measured -->\n", "<!-- until here -->\n"
#: A scenario that takes less is run so many times as often.
_SHORT_RUN_SECONDS, _SHORT_RUN_FACTOR = 20.0, 4


def main() -> int:
    """Run what is asked for; return 1 when anything was lost, doubled or wrong."""
    reading = argparse.ArgumentParser(prog="python -m tests.faults")
    reading.add_argument("--runs", type=int, default=5)
    reading.add_argument("--seed", type=int, default=1)
    reading.add_argument("--only", default="", help="scenarios whose name has this")
    reading.add_argument("--jobs", type=int, default=1, help="how many at once, each with a Kafka of its own")
    reading.add_argument("--soak", default="", help="faults for so long, e.g. 30m or 90s, under one load")
    reading.add_argument("--rate", type=float, default=2000.0, help="events a second of a soak")
    told = reading.parse_args()
    if told.soak:
        return _run_soak(told.seed, _parse_duration(told.soak), told.rate)
    names = [name for name in SCENARIOS if told.only in name]
    done: dict[str, list[TaskResult]] = {name: [] for name in names}
    first = [Task(name, seed) for seed in range(told.seed, told.seed + told.runs) for name in names]
    with ProcessPool(told.jobs) as crew:
        for one in crew.run_tasks(first):
            _add_result(done, one, write=not told.only)
        short = [
            name for name, its in done.items() if 0 < median(_field_values(its, "seconds") or [0]) < _SHORT_RUN_SECONDS
        ]
        more = range(told.seed + told.runs, told.seed + told.runs * _SHORT_RUN_FACTOR)
        for one in crew.run_tasks([Task(name, seed) for seed in more for name in short]):
            _add_result(done, one, write=not told.only)
    return (
        0
        if all(one.run_result is not None and one.run_result.is_in_time for its in done.values() for one in its)
        else 1
    )


def _add_result(results: dict[str, list[TaskResult]], result: TaskResult, *, write: bool) -> None:
    if result.is_supported:
        results[result.task.name].append(result)
    sys.stdout.write(f"{result.task.name}, seed {result.task.seed}: {result.summary}\n")
    sys.stdout.flush()
    if write:
        # After each, so that what was measured is there whenever it is stopped.
        _write_table(results)


def _parse_duration(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _run_soak(seed: int, seconds: float, rate: float) -> int:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-soak-")))
        done = run_soak(FaultEnvironment(folder, ending), folder, seed, seconds, rate)
    records, events, lost, doubled = done.verdict
    sys.stdout.write(
        f"{done.seconds / 60:.0f} minutes, {done.fault_counts.total()} faults of {len(done.fault_counts)} kinds,"
        f" {records:,} records, {events:,} events: lost {lost}, doubled {doubled};"
        f" recovery p50 {median(done.recovery_seconds):.1f} s, max {max(done.recovery_seconds):.1f} s,"
        f" late {done.late_recoveries};"
        f" the audit took {done.audit_seconds:.0f} s; seed {seed}\n"
    )
    return 1 if lost or doubled else 0


def _field_values(results: Sequence[TaskResult], field: str) -> list[float]:
    return [getattr(one.run_result, field) for one in results if one.run_result is not None]


def _write_table(results: dict[str, list[TaskResult]]) -> None:
    lines = [
        "| scenario | runs | held | events | lost | doubled | recovery p50 | max | in time | seeds |",
        "|---|" + "---:|" * 9,
    ]
    lines += [_table_row(name, its) for name, its in results.items()]
    before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    _DOCUMENT.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + _END + after)


def _table_row(name: str, results: Sequence[TaskResult]) -> str:
    seconds = sorted(_field_values(results, "recovery_seconds")) or [float("nan")]
    seeds = sorted(one.task.seed for one in results)
    counted = [sum(_field_values(results, what)) for what in ("events", "lost", "doubled")]
    shown = " | ".join(f"{number:,}" for number in (len(results), len(_field_values(results, "events")), *counted))
    span = f"{seeds[0]}-{seeds[-1]}" if seeds else ""
    in_time = f"{sum(_field_values(results, 'is_in_time')):.0f}"
    return f"| {name} | {shown} | {median(seconds):.1f} s | {seconds[-1]:.1f} s | {in_time} | {span} |"


if __name__ == "__main__":
    sys.exit(main())
