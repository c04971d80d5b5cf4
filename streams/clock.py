"""The worker's clock: the one place in `streams` that reads the time."""

import time
from datetime import UTC, date, datetime


class Clock:
    """The system's clock; a test that needs another time replaces it."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()  # noqa: TID251 - the edge where the clock comes in

    def today(self) -> date:
        """Return the date in UTC."""
        return datetime.now(UTC).date()  # noqa: TID251 - as above
