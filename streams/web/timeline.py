"""A programme over time as drawn on a page: an axis of days in per cent, and what stands on each milestone's lane.

Pure. Positions are per cent of the lane's width, so that the same page fits every window. The axis holds the data
date and every date within ten years of it; what lies further away stands at its end, so that one milestone in 2100
does not press the rest together.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from models.domain.schedule import Standing

_REACH: Final = 3653
#: How many days an axis has, at least: on a shorter one every difference looks large.
_SHORTEST: Final = 56
#: Of the axis, in days, what is left free at both ends, so that no mark is cut.
_MARGIN: Final = 0.03
_MOST_TICKS: Final = 9
_MONTHS: Final = 12
_STEPS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_FIRST, _LAST = date.min.toordinal(), date.max.toordinal()


class Tick(NamedTuple):
    """A day with a name on the axis."""

    at: float
    name: str


class Axis(NamedTuple):
    """Days, as ordinals, from one edge of a lane to the other."""

    first: int
    last: int

    def at(self, day: date) -> float:
        """Return where a day stands, in per cent; what lies beyond an end stands there."""
        share = (day.toordinal() - self.first) / (self.last - self.first)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def ticks(self) -> list[Tick]:
        """Return the first days of some months, as many as there is room for."""
        months = (self.last - self.first) / 30.4
        step = next((step for step in _STEPS if months / step <= _MOST_TICKS), _STEPS[-1])
        named = [
            (self.at(day), day.strftime("%b %Y") if step < _MONTHS else f"{day.year}") for day in self._firsts(step)
        ]
        # A name needs room to the right of its day.
        return [Tick(at, name) for at, name in named if at <= 100 - 100 / _MOST_TICKS * 0.6]

    def _firsts(self, step: int) -> Iterator[date]:
        start, end = date.fromordinal(self.first), date.fromordinal(self.last)
        number = start.year * _MONTHS + start.month - 1
        for first in range(number - number % step, end.year * _MONTHS + end.month, step):
            year, month = divmod(first, _MONTHS)
            if year >= date.min.year and start <= (day := date(year, month + 1, 1)) <= end:
                yield day


class Lane(NamedTuple):
    """What is drawn of one milestone."""

    standing: Standing
    #: Where the baseline's ghost stands.
    ghost: float | None
    #: Where the mark of the forecast, or of what was achieved, stands.
    mark: float | None
    #: From the earlier of both to the later.
    bar: tuple[float, float] | None

    @property
    def is_late(self) -> bool:
        """Whether the bar leads to a later day than the baseline."""
        return (self.standing.slip_days or 0) > 0


def axis(standings: Iterable[Standing], today: date) -> Axis:
    """Return the axis on which some milestones can be drawn."""
    middle = today.toordinal()
    days = (day.toordinal() for one in standings for day in (one.baseline, one.forecast) if day is not None)
    near = [middle, *(day for day in days if abs(day - middle) <= _REACH)]
    first, last = min(near), max(near)
    if (missing := _SHORTEST - (last - first)) > 0:
        first, last = first - missing // 2, last + missing - missing // 2
    margin = max(1, round((last - first) * _MARGIN))
    return Axis(max(_FIRST, first - margin), min(_LAST, last + margin))


def lanes(standings: Sequence[Standing], on: Axis) -> list[Lane]:
    """Return a lane for each milestone."""
    return [_lane(one, on) for one in standings]


def _lane(one: Standing, on: Axis) -> Lane:
    ghost = None if one.baseline is None else on.at(one.baseline)
    mark = None if one.forecast is None else on.at(one.forecast)
    bar = None
    if ghost is not None and mark is not None and ghost != mark:
        start = min(ghost, mark)
        bar = start, round(max(ghost, mark) - start, 2)
    return Lane(one, ghost, mark, bar)
