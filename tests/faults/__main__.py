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

from tests.faults.crew import Crew, Done, Task
from tests.faults.ground import Ground
from tests.faults.scenarios import SCENARIOS
from tests.faults.soak import soak

_PAGE = Path("docs/reliability.md")
_BEGIN, _END = "<!-- what `make faults` measured -->\n", "<!-- until here -->\n"
#: A scenario that takes less is run so many times as often.
_SHORT_SECONDS, _MORE_OFTEN = 20.0, 4


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
        return _soak(told.seed, _seconds(told.soak), told.rate)
    names = [name for name in SCENARIOS if told.only in name]
    done: dict[str, list[Done]] = {name: [] for name in names}
    first = [Task(name, seed) for seed in range(told.seed, told.seed + told.runs) for name in names]
    with Crew(told.jobs) as crew:
        for one in crew.do(first):
            _note(done, one, write=not told.only)
        short = [name for name, its in done.items() if 0 < median(_each(its, "seconds") or [0]) < _SHORT_SECONDS]
        more = range(told.seed + told.runs, told.seed + told.runs * _MORE_OFTEN)
        for one in crew.do([Task(name, seed) for seed in more for name in short]):
            _note(done, one, write=not told.only)
    return 0 if all(one.outcome is not None and one.outcome.is_in_time for its in done.values() for one in its) else 1


def _note(done: dict[str, list[Done]], one: Done, *, write: bool) -> None:
    if one.is_tried:
        done[one.task.name].append(one)
    sys.stdout.write(f"{one.task.name}, seed {one.task.seed}: {one.said}\n")
    sys.stdout.flush()
    if write:
        # After each, so that what was measured is there whenever it is stopped.
        _write(done)


def _seconds(text: str) -> float:
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _soak(seed: int, seconds: float, a_second: float) -> int:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-soak-")))
        done = soak(Ground(folder, ending), folder, seed, seconds, a_second)
    records, events, lost, doubled = done.verdict
    sys.stdout.write(
        f"{done.seconds / 60:.0f} minutes, {done.faults.total()} faults of {len(done.faults)} kinds,"
        f" {records:,} records, {events:,} events: lost {lost}, doubled {doubled};"
        f" recovery p50 {median(done.recoveries):.1f} s, max {max(done.recoveries):.1f} s, late {done.late};"
        f" the audit took {done.audit_seconds:.0f} s; seed {seed}\n"
    )
    return 1 if lost or doubled else 0


def _each(done: Sequence[Done], name: str) -> list[float]:
    return [getattr(one.outcome, name) for one in done if one.outcome is not None]


def _write(done: dict[str, list[Done]]) -> None:
    lines = [
        "| scenario | runs | held | events | lost | doubled | recovery p50 | max | in time | seeds |",
        "|---|" + "---:|" * 9,
    ]
    lines += [_row(name, its) for name, its in done.items()]
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    _PAGE.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + _END + after)


def _row(name: str, its: Sequence[Done]) -> str:
    seconds = sorted(_each(its, "recovery_seconds")) or [float("nan")]
    seeds = sorted(one.task.seed for one in its)
    counted = [sum(_each(its, what)) for what in ("events", "lost", "doubled")]
    shown = " | ".join(f"{number:,}" for number in (len(its), len(_each(its, "events")), *counted))
    span = f"{seeds[0]}-{seeds[-1]}" if seeds else ""
    in_time = f"{sum(_each(its, 'is_in_time')):.0f}"
    return f"| {name} | {shown} | {median(seconds):.1f} s | {seconds[-1]:.1f} s | {in_time} | {span} |"


if __name__ == "__main__":
    sys.exit(main())
