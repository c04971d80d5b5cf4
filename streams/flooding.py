"""Whether a source floods: whether more than half of what it said last was rejected."""

from collections import deque
from typing import Final

#: How many of a source's newest events are judged.
WINDOW: Final = 1000
#: Fewer say nothing yet.
LEAST: Final = 100


class RecentOutcomes:
    """What became of the newest events of one source."""

    def __init__(self) -> None:
        self._newest: deque[bool] = deque(maxlen=WINDOW)
        self._rejected = 0

    def note(self, *, rejected: bool) -> None:
        """Take in what became of its next event."""
        if len(self._newest) == WINDOW:
            self._rejected -= self._newest[0]
        self._newest.append(rejected)
        self._rejected += rejected

    @property
    def is_flood(self) -> bool:
        """Whether more than half of them were rejected."""
        return len(self._newest) >= LEAST and 2 * self._rejected > len(self._newest)
