"""What came of the benchmarks, on which machine: as a table for people, as JSON for programs."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import faust
from rich.console import Console
from rich.table import Table

from deploy.kafka.jars import KAFKA_VERSION
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, format_value
from tests.benchmarks.options import RunOptions

#: Where output goes to no terminal, there is nobody to say how wide it may be.
_PLAIN_OUTPUT_WIDTH: Final = 160

BenchmarkResults = Mapping[str, Sequence[Figure]]


def machine_info(environment: BenchmarkEnvironment, load_before: float) -> dict[str, str]:
    """Return on what it was measured; the load is that of others, before anything was begun."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": platform.platform(),
        "Python": f"{platform.python_version()} ({_additions_per_second() / 1e6:.0f} million additions/s)",
        "Kafka": KAFKA_VERSION,
        "PostgreSQL": environment.postgresql_version or "not used",
        "faust-streaming": faust.__version__,
        "load before": f"{load_before:.2f}",
    }


def _additions_per_second() -> float:
    """Return how often a loop adds two numbers in a second.

    The same Python, built otherwise (Debian's with its profile, one from source without), or on the same machine at
    another hour, is up to twice as fast: figures of two tables compare only where this one does.
    """
    times, count = [], 1_000_000
    for _ in range(5):
        began, total = time.perf_counter(), 0
        for number in range(count):
            total += number
        times.append(time.perf_counter() - began)
    return count / min(times)


def print_table(results: BenchmarkResults, options: RunOptions, machine_info: Mapping[str, str]) -> None:
    """Print what was measured, and whether it is what it should be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_OUTPUT_WIDTH)
    table = Table(caption=", ".join(f"{name} {value}" for name, value in machine_info.items()), caption_justify="left")
    table.add_column("what")
    for name in ("values", "median", "p99", "least", "most"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("target")
    table.add_column("")
    for name, figures in results.items():
        table.add_section()
        table.add_row(f"[bold]{name}[/bold]")
        for figure in figures:
            numbers = (figure.median, figure.p99, figure.least, figure.most)
            table.add_row(
                figure.name,
                f"{len(figure.values):,}",
                *(format_value(value, figure.unit) for value in numbers),
                "\n".join(
                    f"{target.statistic} {target.comparison_sign} {format_value(target.limit, figure.unit)}"
                    for target in figure.targets
                ),
                "\n".join(_verdict(figure, target, options) for target in figure.targets),
            )
    console.print(table)
    if options.scale != 1:
        console.print(f"The targets speak of scale 1, this was {options.scale:g}: they say nothing here.")


def _verdict(figure: Figure, target: Target, options: RunOptions) -> str:
    if options.scale != 1:
        return ""
    return "[green]met[/green]" if figure.meets(target) else "[bold red]missed[/bold red]"


def results_as_json(results: BenchmarkResults, options: RunOptions, machine_info: Mapping[str, str]) -> dict[str, Any]:
    """Return all of it, every single value included; seconds are seconds."""
    return {
        "machine": dict(machine_info),
        "scale": options.scale,
        "runs": options.runs,
        "benchmarks": {
            name: [_figure_as_json(figure, options) for figure in figures] for name, figures in results.items()
        },
    }


def _figure_as_json(figure: Figure, options: RunOptions) -> dict[str, Any]:
    return {
        "what": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "p99": figure.p99,
        "least": figure.least,
        "most": figure.most,
        "targets": [
            {
                "statistic": target.statistic,
                "bound": target.bound,
                "limit": target.limit,
                "met": figure.meets(target) if options.scale == 1 else None,
            }
            for target in figure.targets
        ],
        "values": [round(value, 6) for value in figure.values],
    }
