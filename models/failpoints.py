"""Named places where a test can make a process die, hang or fail: `MILEPOST_FAILPOINT="before-commit=kill@3"`.

One place at a time, for the whole process, as the environment is. Where none is set, reaching a place costs a look at
one name.
"""

import itertools
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, NoReturn, get_args

from models.errors import ConcurrentWriteError

#: Each stands at exactly one place, named for what was done last or comes next.
FailpointName = Literal[
    "before-commit",
    "after-commit",
    "after-dead-letter",
    "after-signal",
    "before-forecast-commit",
    "after-forecast-commit",
    "before-telling",
    "after-telling",
    "block-loop",
]
FAILPOINT_NAMES: Final[tuple[FailpointName, ...]] = get_args(FailpointName)


class FailpointAction(Enum):
    """What happens there."""

    #: SIGKILL to this process.
    KILL = "kill"
    #: The thread that comes there waits for ever.
    HANG = "hang"
    #: An error that passes is raised.
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A place, what happens there, and at which time of reaching it."""

    name: str
    action: FailpointAction
    nth_hit: int = 1
    _hits: Iterator[int] = field(default_factory=lambda: itertools.count(1), compare=False, repr=False)

    def hit(self) -> None:
        """Act, if this is the time; safe in any thread."""
        if next(self._hits) != self.nth_hit:
            return
        if self.action is FailpointAction.ERROR:
            raise ConcurrentWriteError(f"failpoint {self.name}")
        if self.action is FailpointAction.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        _hang_forever()


def _hang_forever() -> NoReturn:
    while True:
        threading.Event().wait()


_FAILPOINT_PATTERN: Final = re.compile(r"([a-z-]+)=([a-z]+)(?:@([1-9][0-9]{0,8}))?", re.ASCII)


def parse_failpoint(text: str) -> Failpoint | None:
    """Return what `place=action` or `place=action@time` says; None for nothing. Raises `ValueError` with one line."""
    if not text:
        return None
    found = _FAILPOINT_PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"say place=action or place=action@time, e.g. before-commit=kill@3, not {text!r}")
    place, action, time = found.groups()
    if place not in FAILPOINT_NAMES:
        raise ValueError(f"no failpoint is called {place!r}; there are {', '.join(FAILPOINT_NAMES)}")
    actions = [known.value for known in FailpointAction]
    if action not in actions:
        raise ValueError(f"a failpoint can {', '.join(actions)}, not {action!r}")
    return Failpoint(place, FailpointAction(action), int(time or 1))


_armed: Failpoint | None = None


def arm_failpoint(failpoint: Failpoint | None) -> None:
    """Set the failpoint of this process, or none."""
    global _armed  # noqa: PLW0603 - the places are all over the process, as the signal that ends it
    _armed = failpoint


def hit_failpoint(name: FailpointName) -> None:
    """Say that a place is reached."""
    if _armed is not None and _armed.name == name:
        _armed.hit()
