"""What the log says of rejected events: the first of a minute one by one, of the others how many there were.

All of them are among the dead letters; a source that floods must not fill the disk that the log is on.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("milepost.record")

#: How many are said one by one, in so many seconds.
FIRST: Final = 20
WINDOW_SECONDS: Final = 60.0


class RejectionLog:
    """Says what was rejected, and does not repeat itself for ever."""

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """Give what calls a function after so many seconds."""
        self._later = later
        self._said = 0
        self._unsaid: Counter[str] = Counter()

    def note(self, key: str, reason: str, detail: str) -> None:
        """Take in a rejected event."""
        if not self._said:
            self._later(WINDOW_SECONDS, self._sum_up)
        if self._said < FIRST:
            self._said += 1
            logger.warning("rejected %s: %s: %s", key, reason, detail)
        else:
            self._unsaid[reason] += 1

    def _sum_up(self) -> None:
        if self._unsaid:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._unsaid.most_common())
            logger.warning(
                "rejected %d more events within %.0f s: %s; `milepost dead-letters list` shows them",
                self._unsaid.total(),
                WINDOW_SECONDS,
                reasons,
            )
        self._said = 0
        self._unsaid.clear()
