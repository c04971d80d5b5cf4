"""What was measured, written into docs/performance.md: a section for each benchmark, and plots of some."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.outcome import Outcome
from tests.benchmarks.plot import bars

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "performance.md"
#: From so many values on, all but the largest hundredth of them says something.
_MANY: Final = 100
#: By benchmark: the end of the names of the figures that are drawn, and what the drawing is called.
_DRAWN: Final = {
    "ingest": (": events/s", "Events a second, the same job on the same machine"),
    "growth": (" in the ledger", "What an event costs as the ledger grows"),
    "growth-recording": (" in the ledger", "What an event costs to record as the ledger grows"),
}


def write(outcome: Outcome, effort: Effort, on: Mapping[str, str], document: Path = DOCUMENT) -> None:
    """Put what was measured in the place of what stands there of the same benchmarks; the rest stays."""
    text = document.read_text(encoding="utf-8")
    for name, figures in outcome.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{document} has no place for {name}: it needs {begin} and {end}")
        text = f"{before}{begin}\n{_section(name, figures, effort, on)}{end}{after}"
        if name in _DRAWN:
            ending, title = _DRAWN[name]
            drawn = {figure.what.removesuffix(ending): figure for figure in figures if figure.what.endswith(ending)}
            document.with_name(f"performance-{name}.svg").write_text(bars(title, drawn), encoding="utf-8")
    document.write_text(text, encoding="utf-8")


def _section(name: str, figures: Sequence[Figure], effort: Effort, on: Mapping[str, str]) -> str:
    runs = f"{effort.runs} run{'s' * (effort.runs > 1)}"
    lines = [
        f"{runs}; {', '.join(f'{what} {value}' for what, value in on.items())}.",
        "",
        "| what | median | least | most | target | |",
        "|---|---:|---:|---:|---|---|",
    ]
    for figure in figures:
        numbers = " | ".join(shown(value, figure.unit) for value in (figure.median, figure.least, figure.most))
        targets = "<br>".join(
            f"{target.statistic} {target.sign} {shown(target.limit, figure.unit)}" for target in figure.targets
        )
        verdicts = "<br>".join("met" if figure.meets(target) else "**missed**" for target in figure.targets)
        has_p99 = len(figure.values) >= _MANY
        what = f"{figure.what} (p99 {shown(figure.p99, figure.unit)})" if has_p99 else figure.what
        lines.append(f"| {what} | {numbers} | {targets} | {verdicts} |")
    picture = f"\n![{_DRAWN[name][1]}](performance-{name}.svg)\n" if name in _DRAWN else ""
    return "\n".join(lines) + "\n" + picture
