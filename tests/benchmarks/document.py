"""What was measured, written into docs/benchmarks.md: a section for each benchmark, and plots of some.

The figures of the pages for users follow.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import Figure, format_value
from tests.benchmarks.options import RunOptions
from tests.benchmarks.plot import bar_chart_svg
from tests.benchmarks.results import BenchmarkResults
from tests.benchmarks.summary import updated_summary

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
#: Pages for users, with figures from there.
SUMMARIES: Final = tuple(DOCUMENT.with_name(f"{name}.md") for name in ("performance", "installation"))
#: From so many values on, all but the largest hundredth of them says something.
_P99_FROM_VALUES: Final = 100
#: By benchmark: the end of the names of the figures that are drawn, and what the drawing is called.
_PLOTS: Final = {
    "ingest": (": events/s", "Events a second, the same job on the same machine"),
    "growth": (" in the ledger", "What an event costs as the ledger grows"),
    "growth-recording": (" in the ledger", "What an event costs to record as the ledger grows"),
}


def write_document(
    results: BenchmarkResults, options: RunOptions, machine_info: Mapping[str, str], document: Path = DOCUMENT
) -> None:
    """Put what was measured in the place of what stands there of the same benchmarks; the rest stays."""
    text = document.read_text(encoding="utf-8")
    for name, figures in results.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{document} has no place for {name}: it needs {begin} and {end}")
        text = f"{before}{begin}\n{_section(name, figures, options, machine_info)}{end}{after}"
        if name in _PLOTS:
            ending, title = _PLOTS[name]
            drawn = {figure.name.removesuffix(ending): figure for figure in figures if figure.name.endswith(ending)}
            document.with_name(f"benchmarks-{name}.svg").write_text(bar_chart_svg(title, drawn), encoding="utf-8")
    document.write_text(text, encoding="utf-8")
    for page in SUMMARIES:
        summary = document.with_name(page.name)
        if summary.exists():
            summary.write_text(updated_summary(summary.read_text(encoding="utf-8"), text), encoding="utf-8")


def _section(name: str, figures: Sequence[Figure], options: RunOptions, machine_info: Mapping[str, str]) -> str:
    runs = f"{options.runs} run{'s' * (options.runs > 1)}"
    lines = [
        f"{runs}; {', '.join(f'{what} {value}' for what, value in machine_info.items())}.",
        "",
        "| what | median | least | most | target | |",
        "|---|---:|---:|---:|---|---|",
    ]
    for figure in figures:
        numbers = " | ".join(format_value(value, figure.unit) for value in (figure.median, figure.least, figure.most))
        targets = "<br>".join(
            f"{target.statistic} {target.comparison_sign} {format_value(target.limit, figure.unit)}"
            for target in figure.targets
        )
        verdicts = "<br>".join("met" if figure.meets(target) else "**missed**" for target in figure.targets)
        has_p99 = len(figure.values) >= _P99_FROM_VALUES
        what = f"{figure.name} (p99 {format_value(figure.p99, figure.unit)})" if has_p99 else figure.name
        lines.append(f"| {what} | {numbers} | {targets} | {verdicts} |")
    picture = f"\n![{_PLOTS[name][1]}](benchmarks-{name}.svg)\n" if name in _PLOTS else ""
    return "\n".join(lines) + "\n" + picture
