"""Fault injection for tests: named points where a process dies, hangs or fails, e.g. `before-commit=kill@3`."""

import itertools
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, get_args

from models.errors import ConcurrentWriteError

#: Each is reached at exactly one place in the code, and named after the step before or behind it.
FailpointName = Literal[
    "before-commit",
    "after-commit",
    "after-dead-letter",
    "after-signal",
    "before-forecast-commit",
    "after-forecast-commit",
    "before-publish",
    "after-publish",
    "block-loop",
]
FAILPOINT_NAMES: Final[tuple[FailpointName, ...]] = get_args(FailpointName)


class FailpointAction(Enum):
    """What happens at a failpoint."""

    KILL = "kill"  # SIGKILL to this process
    HANG = "hang"  # the current thread waits forever
    ERROR = "error"  # a transient error is raised


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A point, what happens there, and at which hit."""

    name: str
    action: FailpointAction
    nth_hit: int = 1
    _hits: Iterator[int] = field(default_factory=lambda: itertools.count(1), compare=False, repr=False)

    def hit(self) -> None:
        """Count the hit, and act on the chosen one; thread-safe."""
        if next(self._hits) != self.nth_hit:
            return
        if self.action is FailpointAction.ERROR:
            raise ConcurrentWriteError(f"failpoint {self.name}")
        if self.action is FailpointAction.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            threading.Event().wait()


_FAILPOINT_PATTERN: Final = re.compile(r"([a-z-]+)=([a-z]+)(?:@([1-9][0-9]{0,8}))?", re.ASCII)


def parse_failpoint(text: str) -> Failpoint | None:
    """Parse `place=action` or `place=action@time`; None for an empty text. Raises `ValueError` with one line."""
    if not text:
        return None
    match = _FAILPOINT_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"say place=action or place=action@time, e.g. before-commit=kill@3, not {text!r}")
    name, action, nth_hit = match.groups()
    if name not in FAILPOINT_NAMES:
        raise ValueError(f"no failpoint is called {name!r}; there are {', '.join(FAILPOINT_NAMES)}")
    actions = [each.value for each in FailpointAction]
    if action not in actions:
        raise ValueError(f"a failpoint can {', '.join(actions)}, not {action!r}")
    return Failpoint(name, FailpointAction(action), int(nth_hit or 1))


#: One at a time, for the whole process. When none is armed, reaching a point costs one comparison.
_armed: Failpoint | None = None


def arm_failpoint(failpoint: Failpoint | None) -> None:
    """Set the failpoint of this process; None disarms it."""
    global _armed  # noqa: PLW0603 - the points are all over the process
    _armed = failpoint


def hit_failpoint(name: FailpointName) -> None:
    """Act if this point is armed."""
    if _armed is not None and _armed.name == name:
        _armed.hit()
