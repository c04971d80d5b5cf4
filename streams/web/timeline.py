"""The timeline of a page: an axis of days in per cent, and a lane for each milestone.

Pure. Positions are per cent of a lane's width, so that the same page fits every window. What lies beyond the axis
(`models/views/axis.py`) stands at its end.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple

from models.domain.schedule import MilestoneRef, MilestoneStatus
from models.views.axis import FIRST_ORDINAL, LAST_ORDINAL, MONTHS_PER_YEAR, fit_days, month_starts

_MIN_AXIS_DAYS: Final = 56
_MIN_ZOOM_DAYS: Final = 14
#: Free space at both ends, as a share of the axis, so that no mark is cut.
_MARGIN_SHARE: Final = 0.03
_MAX_TICKS: Final = 9
_TICK_STEPS_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)

NO_DAYS: Final[Mapping[MilestoneRef, date]] = {}


class Tick(NamedTuple):
    """A labelled day of the axis."""

    percent: float
    label: str


class PercentAxis(NamedTuple):
    """Days, as ordinals, from the left end of a lane to the right."""

    first_ordinal: int
    last_ordinal: int

    def to_percent(self, day: date) -> float:
        """Return the position of a day, in per cent; a day beyond an end has the position of that end."""
        share = (day.toordinal() - self.first_ordinal) / (self.last_ordinal - self.first_ordinal)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def contains(self, day: date) -> bool:
        """Return whether a day lies between the ends."""
        return self.first_ordinal <= day.toordinal() <= self.last_ordinal

    def ticks(self) -> list[Tick]:
        """Return as many first days of months as there is room for."""
        months = (self.last_ordinal - self.first_ordinal) / 30.4
        step = next((step for step in _TICK_STEPS_MONTHS if months / step <= _MAX_TICKS), _TICK_STEPS_MONTHS[-1])
        ticks = [
            Tick(self.to_percent(day), day.strftime("%b %Y") if step < MONTHS_PER_YEAR else f"{day.year}")
            for day in month_starts(self.first_ordinal, self.last_ordinal, step)
        ]
        # A label needs room to the right of its day.
        return [tick for tick in ticks if tick.percent <= 100 - 100 / _MAX_TICKS * 0.6]


class Lane(NamedTuple):
    """The positions of one milestone's marks, in per cent."""

    status: MilestoneStatus
    baseline_percent: float | None
    #: Of the actual date, else of the forecast.
    forecast_percent: float | None
    #: The bar between baseline and forecast: its start and its width.
    slip_span: tuple[float, float] | None
    #: Of the forecast in the compared picture, where it is another one.
    former_percent: float | None = None

    @property
    def is_late(self) -> bool:
        """Whether the forecast is later than the baseline."""
        return (self.status.slip_days or 0) > 0


def _marked_days(status: MilestoneStatus) -> tuple[date | None, date | None]:
    return status.baseline, status.actual or status.forecast


def fit_percent_axis(statuses: Iterable[MilestoneStatus], data_date: date) -> PercentAxis:
    """Return an axis that contains the dates of some milestones."""
    dates = (day for status in statuses for day in _marked_days(status) if day is not None)
    first, last = fit_days(map(date.toordinal, dates), data_date, _MIN_AXIS_DAYS)
    margin = max(1, round((last - first) * _MARGIN_SHARE))
    return PercentAxis(max(FIRST_ORDINAL, first - margin), min(LAST_ORDINAL, last + margin))


def zoom(axis: PercentAxis, first: date | None, last: date | None) -> PercentAxis:
    """Return an axis with other ends, at least so many days long that a day can be told from the next."""
    start = axis.first_ordinal if first is None else first.toordinal()
    end = axis.last_ordinal if last is None else last.toordinal()
    return PercentAxis(start, min(LAST_ORDINAL, max(end, start + _MIN_ZOOM_DAYS)))


def lay_out_lanes(
    statuses: Iterable[MilestoneStatus],
    axis: PercentAxis,
    former_days: Mapping[MilestoneRef, date] = NO_DAYS,
    *,
    is_zoomed: bool = False,
) -> list[Lane]:
    """Return a lane for each milestone, with its day in a compared picture; what lies beyond a zoom has no mark."""

    def percent(day: date | None) -> float | None:
        return None if day is None or (is_zoomed and not axis.contains(day)) else axis.to_percent(day)

    lanes = []
    for status in statuses:
        baseline, forecast = _marked_days(status)
        former, span = former_days.get(status.ref), None
        # A cancelled milestone has no slip, whatever its dates.
        if status.slip_days is not None and baseline is not None and forecast is not None:
            start, end = sorted(map(axis.to_percent, (baseline, forecast)))
            span = (start, round(end - start, 2)) if start != end else None
        lanes.append(
            Lane(status, percent(baseline), percent(forecast), span, None if former == forecast else percent(former))
        )
    return lanes
