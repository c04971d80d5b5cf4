"""The time axis of a schedule: which days it spans, and where its months begin. Days are ordinals.

An axis contains the data date and every date within ten years of it. What lies further away is outside, so that one
milestone in 2100 does not squeeze the rest.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

FIRST_ORDINAL: Final = date.min.toordinal()
LAST_ORDINAL: Final = date.max.toordinal()
MONTHS_PER_YEAR: Final = 12
_MAX_DAYS_FROM_DATA_DATE: Final = 3653


def fit_days(days: Iterable[int], data_date: date, min_days: int) -> tuple[int, int]:
    """Return the first and the last day of an axis of at least `min_days`: a shorter one exaggerates differences."""
    today = data_date.toordinal()
    near = [today, *(day for day in days if abs(day - today) <= _MAX_DAYS_FROM_DATA_DATE)]
    first, last = min(near), max(near)
    if (missing := min_days - (last - first)) > 0:
        last = min(LAST_ORDINAL, max(FIRST_ORDINAL, first - missing // 2) + min_days)
        first = last - min_days
    return first, last


def month_starts(first: int, last: int, step_months: int) -> Iterator[date]:
    """Return the first day of every `step_months` months, counted from a January, between two days."""
    start, end = date.fromordinal(first), date.fromordinal(last)
    month_number = start.year * MONTHS_PER_YEAR + start.month - 1
    month_number -= month_number % step_months
    for number in range(month_number, end.year * MONTHS_PER_YEAR + end.month, step_months):
        year, month = divmod(number, MONTHS_PER_YEAR)
        if year >= date.min.year and start <= (day := date(year, month + 1, 1)) <= end:
            yield day
