"""When digests are due: at a time of the day in a time zone, every day or one day a week.

Every day has its time once, whatever the clocks do. A time that a change of the clock skips is due as much later as the
clock jumps; of one that comes twice, the first counts.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHEN: Final = re.compile(rf"(?:daily|weekly ({'|'.join(_WEEKDAYS)})) ([01][0-9]|2[0-3]):([0-5][0-9])")
#: No zone is further from UTC; and a zone may skip a day (Samoa, 2011).
_ZONE_DAYS: Final = 2


class DigestTimes(NamedTuple):
    """The times of a target's digests."""

    #: 0 is Monday; None for every day.
    weekday: int | None
    time: time
    zone: ZoneInfo

    def newest_due(self, now: datetime) -> datetime:
        """Return the last time, in UTC, that is not after a moment."""
        return max(due for due in self._around(now) if due <= now)

    def next_due(self, after: datetime) -> datetime:
        """Return the first time, in UTC, after a moment."""
        return min(due for due in self._around(after) if due > after)

    def _around(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times, in UTC, from before to after a moment."""
        today = moment.astimezone(self.zone).date()
        span = _ZONE_DAYS if self.weekday is None else 7 + _ZONE_DAYS
        for offset in range(-span, span + 1):
            day = today + timedelta(days=offset)
            if self.weekday in {None, day.weekday()}:
                yield self._on(day)

    def _on(self, day: date) -> datetime:
        # Of a time that comes twice this is the first; one that never comes is read with the offset before the change.
        return datetime.combine(day, self.time, self.zone).astimezone(UTC)


def parse_digest_times(text: str, zone: ZoneInfo) -> DigestTimes | None:
    """Return what `daily 08:00` or `weekly mon 08:00` says; None for anything else."""
    match = _WHEN.fullmatch(text)
    if match is None:
        return None
    weekday, hour, minute = match.groups()
    return DigestTimes(weekday and _WEEKDAYS.index(weekday), time(int(hour), int(minute)), zone)  # type: ignore[arg-type]
