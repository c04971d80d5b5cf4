"""`python -m tests.benchmarks [name ...]`: run benchmarks, print what they measured, and write it as JSON if asked."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
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
    workers,
)
from tests.benchmarks.document import write_document
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure
from tests.benchmarks.options import RunOptions
from tests.benchmarks.results import machine_info, print_table, results_as_json

BENCHMARKS: Final[Mapping[str, Callable[[BenchmarkEnvironment, RunOptions], Iterator[Figure]]]] = {
    "schedule": schedule.measure,
    "latency-large": latency_large.measure,
    "latency-small": latency_small.measure,
    "latency-least": latency_least.measure,
    "scrape": scrape.measure,
    "record": record.measure,
    "board": board.measure,
    "decoding": decoding.measure,
    "pages": pages.measure,
    "reading": reading.measure,
    "ingest": ingest.measure,
    "limits": limits.measure,
    "workers": workers.measure,
    "growth": growth.measure,
    "growth-recording": growth.measure_recording,
    "gateway": gateway.measure,
}


def main() -> None:
    """Run what the command line names, or all."""
    line = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="How fast Milepost is here.")
    line.add_argument("name", nargs="*", help=f"which: {', '.join(BENCHMARKS)}; all of them unless named")
    line.add_argument("--runs", type=int, default=3, help="how often each is run (default 3)")
    line.add_argument("--scale", type=float, default=1.0, help="sizes, of what targets speak of (default 1)")
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
    effort, load_before = RunOptions(told.scale, told.runs), os.getloadavg()[0]
    with ExitStack() as ending:
        ground = BenchmarkEnvironment(ending, _print_progress)
        outcome = {}
        for name in told.name or BENCHMARKS:
            _print_progress(f"{name}:")
            outcome[name] = list(BENCHMARKS[name](ground, effort))
            if told.write:
                write_document({name: outcome[name]}, effort, machine_info(ground, load_before))
        on = machine_info(ground, load_before)
    print_table(outcome, effort, on)
    if told.json is not None:
        told.json.write_text(json.dumps(results_as_json(outcome, effort, on), indent=1) + "\n")


def _print_progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
