"""A programme over time as drawn on a page: an axis of days in per cent, and what stands on each milestone's lane.

Pure. Positions are per cent of the lane's width, so that the same page fits every window. The axis holds the data
date and every date within ten years of it; what lies further away stands at its end, so that one milestone in 2100
does not press the rest together.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from models.domain.schedule import MilestoneStatus

_MAX_DAYS_FROM_DATA_DATE: Final = 3653
#: How many days an axis has, at least: on a shorter one every difference looks large.
_MIN_AXIS_DAYS: Final = 56
#: Of the axis, in days, what is left free at both ends, so that no mark is cut.
_MARGIN_SHARE: Final = 0.03
_MAX_TICKS: Final = 9
_MONTHS_PER_YEAR: Final = 12
_TICK_STEPS_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_FIRST_ORDINAL, _LAST_ORDINAL = date.min.toordinal(), date.max.toordinal()


class Tick(NamedTuple):
    """A day with a name on the axis."""

    percent: float
    label: str


class PercentAxis(NamedTuple):
    """Days, as ordinals, from one edge of a lane to the other."""

    first_ordinal: int
    last_ordinal: int

    def to_percent(self, day: date) -> float:
        """Return where a day stands, in per cent; what lies beyond an end stands there."""
        share = (day.toordinal() - self.first_ordinal) / (self.last_ordinal - self.first_ordinal)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def ticks(self) -> list[Tick]:
        """Return the first days of some months, as many as there is room for."""
        months = (self.last_ordinal - self.first_ordinal) / 30.4
        step = next((step for step in _TICK_STEPS_MONTHS if months / step <= _MAX_TICKS), _TICK_STEPS_MONTHS[-1])
        named = [
            (self.to_percent(day), day.strftime("%b %Y") if step < _MONTHS_PER_YEAR else f"{day.year}")
            for day in self._month_starts(step)
        ]
        # A name needs room to the right of its day.
        return [Tick(at, name) for at, name in named if at <= 100 - 100 / _MAX_TICKS * 0.6]

    def _month_starts(self, step_months: int) -> Iterator[date]:
        start, end = date.fromordinal(self.first_ordinal), date.fromordinal(self.last_ordinal)
        number = start.year * _MONTHS_PER_YEAR + start.month - 1
        for first in range(number - number % step_months, end.year * _MONTHS_PER_YEAR + end.month, step_months):
            year, month = divmod(first, _MONTHS_PER_YEAR)
            if year >= date.min.year and start <= (day := date(year, month + 1, 1)) <= end:
                yield day


class Lane(NamedTuple):
    """What is drawn of one milestone."""

    status: MilestoneStatus
    #: Where the baseline's ghost stands.
    baseline_percent: float | None
    #: Where the mark of the forecast, or of what was achieved, stands.
    forecast_percent: float | None
    #: From the earlier of both to the later.
    slip_span: tuple[float, float] | None

    @property
    def is_late(self) -> bool:
        """Whether the bar leads to a later day than the baseline."""
        return (self.status.slip_days or 0) > 0


def fit_percent_axis(statuses: Iterable[MilestoneStatus], data_date: date) -> PercentAxis:
    """Return the axis on which some milestones can be drawn."""
    middle = data_date.toordinal()
    days = (day.toordinal() for one in statuses for day in (one.baseline, one.forecast) if day is not None)
    near = [middle, *(day for day in days if abs(day - middle) <= _MAX_DAYS_FROM_DATA_DATE)]
    first, last = min(near), max(near)
    if (missing := _MIN_AXIS_DAYS - (last - first)) > 0:
        first, last = first - missing // 2, last + missing - missing // 2
    margin = max(1, round((last - first) * _MARGIN_SHARE))
    return PercentAxis(max(_FIRST_ORDINAL, first - margin), min(_LAST_ORDINAL, last + margin))


def lay_out_lanes(statuses: Sequence[MilestoneStatus], axis: PercentAxis) -> list[Lane]:
    """Return a lane for each milestone."""
    return [_lay_out_lane(one, axis) for one in statuses]


def _lay_out_lane(status: MilestoneStatus, axis: PercentAxis) -> Lane:
    ghost = None if status.baseline is None else axis.to_percent(status.baseline)
    mark = None if status.forecast is None else axis.to_percent(status.forecast)
    bar = None
    if ghost is not None and mark is not None and ghost != mark:
        start = min(ghost, mark)
        bar = start, round(max(ghost, mark) - start, 2)
    return Lane(status, ghost, mark, bar)
