"""What was measured, what it should be, and whether it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final, Literal

#: A number of something goes by its own name.
Unit = Literal["s", "bytes", "%", "number", "ratio"]
Statistic = Literal["median", "p99", "most"]

_WHOLE_SECONDS_FROM: Final = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a statistic of a figure may be: at most, or at least."""

    statistic: Statistic
    limit: float
    bound: Literal["most", "least"] = "most"

    @property
    def comparison_sign(self) -> str:
        """How it is written."""
        return "≤" if self.bound == "most" else "≥"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, once or many times."""

    name: str
    unit: Unit
    values: Sequence[float]
    targets: Sequence[Target] = ()

    @property
    def median(self) -> float:
        """What half of the values are at most."""
        return median(self.values)

    @property
    def p99(self) -> float:
        """What ninety-nine of a hundred values are at most; of a few, nearly the largest."""
        return quantiles(self.values, n=100, method="inclusive")[98] if len(self.values) > 1 else self.values[0]

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    def meets(self, target: Target) -> bool:
        """Return whether a statistic is what it should be."""
        found: float = getattr(self, target.statistic)
        return found <= target.limit if target.bound == "most" else found >= target.limit


def merge_runs(runs: Iterable[Sequence[Figure]]) -> list[Figure]:
    """Return the figures of several runs as one each, in the order in which they first came."""
    found: dict[str, Figure] = {}
    for figure in (figure for run in runs for figure in run):
        known = found.get(figure.name)
        values = figure.values if known is None else [*known.values, *figure.values]
        found[figure.name] = Figure(figure.name, figure.unit, values, figure.targets)
    return list(found.values())


def format_value(value: float, unit: Unit) -> str:
    """Return a value as people read it."""
    if unit == "s":
        return f"{value:.1f} s" if value >= _WHOLE_SECONDS_FROM else f"{_to_three_digits(value * 1000)} ms"
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB"
    if unit == "%":
        return f"{value:.1f} %"
    return f"{value:.2f}" if unit == "ratio" else f"{value:,.0f}"


def _to_three_digits(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"
