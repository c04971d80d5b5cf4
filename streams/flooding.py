"""Whether a source floods: whether more than half of what it said last was rejected."""

from collections import deque
from collections.abc import Sequence
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

    def note(self, rejected: Sequence[bool]) -> None:
        """Take in of its next events, in order, whether they were rejected."""
        self._newest.extend(rejected)
        self._rejected = sum(self._newest)

    @property
    def is_flood(self) -> bool:
        """Whether more than half of them were rejected."""
        return len(self._newest) >= LEAST and 2 * self._rejected > len(self._newest)
