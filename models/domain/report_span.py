"""The span of time of a report."""

from datetime import date, timedelta
from typing import Final, NamedTuple

from models.domain.timestamps import Instant, day_of

_MIDNIGHT: Final = "T00:00:00"


class Span(NamedTuple):
    """A span of time. Its end is the first instant after it, so that spans which adjoin share no instant."""

    start: Instant
    end: Instant

    def contains(self, instant: Instant) -> bool:
        """Return whether an instant lies in the span."""
        return self.start <= instant < self.end

    @property
    def first_day(self) -> date:
        """The UTC day on which the span begins."""
        return day_of(self.start)

    @property
    def day_before(self) -> date:
        """The UTC day of the last moment before the span."""
        return _day_before(self.start)

    @property
    def last_day(self) -> date:
        """The UTC day on which the span ends: that of the last moment in it."""
        return _day_before(self.end)

    @property
    def has_whole_days(self) -> bool:
        """Whether it begins and ends with days."""
        return self.start.endswith(_MIDNIGHT) and self.end.endswith(_MIDNIGHT)

    def as_parameters(self) -> tuple[str, str]:
        """Return what `since` and `until` ask for the span: days where it has whole ones, else times."""
        if self.has_whole_days:
            return self.start[:10], self.last_day.isoformat()
        return f"{self.start}Z", f"{self.end}Z"


def _day_before(instant: Instant) -> date:
    """Return the day of the last moment before an instant."""
    day = day_of(instant)
    return day - timedelta(days=1) if instant.endswith(_MIDNIGHT) and day > date.min else day
