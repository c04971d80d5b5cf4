"""How many messages people get: more than twenty in ten minutes become one summary. Contract, section 10."""

from collections import deque
from typing import Final

MAX_MESSAGES: Final = 20
WINDOW_SECONDS: Final = 600.0


class MessageRate:
    """The messages of the last minutes to one target."""

    def __init__(self) -> None:
        #: When each was sent.
        self._sent: deque[float] = deque()

    def take(self, count: int, now: float) -> int:
        """Return as how many messages so many may be sent now: each for itself, all as one, or (0) none yet."""
        while self._sent and self._sent[0] <= now - WINDOW_SECONDS:
            self._sent.popleft()
        room = MAX_MESSAGES - len(self._sent)
        taken = count if count <= room else min(room, 1)
        self._sent.extend([now] * taken)
        return taken
