"""`python -m tests.benchmarks [name ...]`: run benchmarks, print what they measured, and write it as JSON if asked.

Without names, those that take minutes, what a user asks first first, for an hour at most. A table is written as soon
as it is measured. What fails, or what no time is left for, is named at the end, and can be run by itself.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.benchmarks import (
    board,
    decoding,
    gateway,
    growth,
    ingest,
    latency_large,
    latency_least,
    latency_small,
    limits,
    pages,
    reading,
    record,
    schedule,
    scrape,
)
from tests.benchmarks.document import write_document
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure
from tests.benchmarks.options import RunOptions
from tests.benchmarks.results import machine_info, print_table, results_as_json

BENCHMARKS: Final[Mapping[str, Callable[[BenchmarkEnvironment, RunOptions], Iterator[Figure]]]] = {
    "ingest": ingest.measure,
    "latency-small": latency_small.measure,
    "schedule": schedule.measure,
    "scrape": scrape.measure,
    "record": record.measure,
    "limits": limits.measure,
    "latency-least": latency_least.measure,
    "latency-large": latency_large.measure,
    "decoding": decoding.measure,
    "pages": pages.measure,
    "reading": reading.measure,
    "board": board.measure,
    "gateway": gateway.measure,
    "growth-recording": growth.measure_recording,
    "growth": growth.measure,
}
#: Those that take a quarter of an hour a run and more, and run only when they are named.
LONG_BENCHMARKS: Final = frozenset({"growth", "growth-recording"})
#: How often each is run, and those that tell ratios.
_RUNS: Final = 3
_MORE_RUNS: Final[Mapping[str, int]] = {"ingest": 5, "record": 5}


def benchmarks_to_run(names: Sequence[str]) -> list[str]:
    """Return the benchmarks that are named, or all that take minutes."""
    return list(names) or [name for name in BENCHMARKS if name not in LONG_BENCHMARKS]


def main() -> int:
    """Run what the command line names, or all; return 1 if something could not be measured."""
    line = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="How fast Milepost is here.")
    line.add_argument("name", nargs="*", help=f"which: {', '.join(BENCHMARKS)}")
    line.add_argument("--runs", type=int, help=f"how often each is run (default {_RUNS}; {_runs_text()})")
    line.add_argument("--scale", type=float, default=1.0, help="sizes, of what targets speak of (default 1)")
    line.add_argument("--minutes", type=float, default=50, help="after so many, no further one begins (default 50)")
    line.add_argument("--write", action="store_true", help="write the results into docs/benchmarks.md, too")
    line.add_argument("--json", type=Path, metavar="FILE", help="where to write the results, too")
    told = line.parse_args()
    if told.write and told.scale != 1:
        line.error("docs/benchmarks.md tells of scale 1 alone")
    if unknown := [name for name in told.name if name not in BENCHMARKS]:
        line.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    # Whoever runs this may have a worker's settings around: they are not meant for these.
    for name in [name for name in os.environ if name.startswith("MILEPOST_") and name != "MILEPOST_TEST_DATABASE"]:
        del os.environ[name]
    options, load_before = RunOptions(told.scale, told.runs or _RUNS), os.getloadavg()[0]
    with ExitStack() as ending:
        ground = BenchmarkEnvironment(ending, _print_progress)
        outcome: dict[str, Sequence[Figure]] = {}
        left: list[str] = []
        names, began = benchmarks_to_run(told.name), time.monotonic()
        for number, name in enumerate(names, 1):
            minutes = (time.monotonic() - began) / 60
            if minutes > told.minutes and not told.name:
                left.append(name)
                continue
            _print_progress(f"table {number} of {len(names)}, {minutes:.1f} min so far: {name}")
            runs = told.runs or _MORE_RUNS.get(name, _RUNS)
            try:
                outcome[name] = list(BENCHMARKS[name](ground, options._replace(runs=runs)))
            except Exception:  # noqa: BLE001 - the other tables are measured all the same
                traceback.print_exc()
                left.append(name)
                continue
            if told.write:
                write_document({name: outcome[name]}, options._replace(runs=runs), machine_info(ground, load_before))
        on = machine_info(ground, load_before)
    print_table(outcome, options, on)
    if told.json is not None:
        told.json.write_text(json.dumps(results_as_json(outcome, options, on), indent=1) + "\n")
    took = f"{(time.monotonic() - began) / 60:.1f} min"
    if left:
        _print_progress(f'{took}; failed, or no time was left: make bench BENCH="{" ".join(left)} --write"')
        return 1
    _print_progress(took)
    return 0


def _runs_text() -> str:
    return ", ".join(f"{name} {runs}" for name, runs in _MORE_RUNS.items())


def _print_progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
