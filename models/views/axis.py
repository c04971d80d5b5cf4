"""The time axis of a schedule: which days it spans, and where its months begin. Days are ordinals.

An axis contains the data date and every date within ten years of it; and, where half of all dates lie up to twenty
years away, every date within ten years of the one in the middle: a past of long ago is shown where it was. What lies
further away is outside, so that one milestone in 2100 does not squeeze the rest. So an axis spans forty years at most.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final

FIRST_ORDINAL: Final = date.min.toordinal()
LAST_ORDINAL: Final = date.max.toordinal()
MONTHS_PER_YEAR: Final = 12
_MAX_DAYS_APART: Final = 3653
_MAX_DAYS_TO_MIDDLE: Final = 2 * _MAX_DAYS_APART


def fit_days(days: Iterable[int], data_date: date, min_days: int) -> tuple[int, int]:
    """Return the first and the last day of an axis of at least `min_days`: a shorter one exaggerates differences."""
    today, ordered = data_date.toordinal(), sorted(days)
    middle = ordered[(len(ordered) - 1) // 2] if ordered else today
    centres = [today, middle] if abs(middle - today) <= _MAX_DAYS_TO_MIDDLE else [today]
    near = [today, *(day for day in ordered if any(abs(day - centre) <= _MAX_DAYS_APART for centre in centres))]
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
