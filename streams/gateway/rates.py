"""How many events a token may publish in a second."""

import math
from collections.abc import Collection
from typing import Final

from streams.gateway.tokens import Token

#: What a client is told to wait at most.
_MAX_RETRY_SECONDS: Final = 3600


class RateLimiter:
    """Counts the events of each token against its rate: a second's worth at once, and then as many as become free.

    A request of more events than a second's worth is let through when that many are free, and the next ones wait until
    it is paid for.
    """

    def __init__(self) -> None:
        #: By name of a token: the events that are free, and when that was.
        self._free: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, token: Token, now: float, events: int = 1) -> int:
        """Return in how many whole seconds so many events may come; 0 for now."""
        if token.rate is None:
            return 0
        lacking = min(float(events), _burst(token.rate)) - self._refill(token.name, token.rate, now)
        return 0 if lacking <= 0 else math.ceil(min(lacking / token.rate, _MAX_RETRY_SECONDS))

    def take(self, token: Token, now: float, events: int) -> int:
        """Count events, unless they have to wait; return for how many whole seconds, 0 for not at all."""
        seconds = self.seconds_to_wait(token, now, events)
        if not seconds:
            self.charge(token, now, events)
        return seconds

    def charge(self, token: Token, now: float, events: int) -> None:
        """Count events, however many are free."""
        if token.rate is not None:
            self._free[token.name] = self._refill(token.name, token.rate, now) - events, now

    def forget_others(self, names: Collection[str]) -> None:
        """Forget tokens that have none of these names."""
        self._free = {name: free for name, free in self._free.items() if name in names}

    def _refill(self, name: str, rate: float, now: float) -> float:
        free, before = self._free.get(name, (_burst(rate), now))
        free = min(_burst(rate), free + (now - before) * rate)
        self._free[name] = free, now
        return free


def _burst(rate: float) -> float:
    return max(1.0, rate)
