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

from models.errors import RacedError

#: Each stands at exactly one place, named for what was done last or comes next.
Place = Literal[
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
PLACES: Final[tuple[Place, ...]] = get_args(Place)


class Action(Enum):
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

    place: str
    action: Action
    time: int = 1
    _times: Iterator[int] = field(default_factory=lambda: itertools.count(1), compare=False, repr=False)

    def reach(self) -> None:
        """Act, if this is the time; safe in any thread."""
        if next(self._times) != self.time:
            return
        if self.action is Action.ERROR:
            raise RacedError(f"failpoint {self.place}")
        if self.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        _hang()


def _hang() -> NoReturn:
    while True:
        threading.Event().wait()


_FORM: Final = re.compile(r"([a-z-]+)=([a-z]+)(?:@([1-9][0-9]{0,8}))?", re.ASCII)


def read_failpoint(text: str) -> Failpoint | None:
    """Return what `place=action` or `place=action@time` says; None for nothing. Raises `ValueError` with one line."""
    if not text:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"say place=action or place=action@time, e.g. before-commit=kill@3, not {text!r}")
    place, action, time = found.groups()
    if place not in PLACES:
        raise ValueError(f"no failpoint is called {place!r}; there are {', '.join(PLACES)}")
    actions = [known.value for known in Action]
    if action not in actions:
        raise ValueError(f"a failpoint can {', '.join(actions)}, not {action!r}")
    return Failpoint(place, Action(action), int(time or 1))


_armed: Failpoint | None = None


def arm(point: Failpoint | None) -> None:
    """Set the failpoint of this process, or none."""
    global _armed  # noqa: PLW0603 - the places are all over the process, as the signal that ends it
    _armed = point


def failpoint(place: Place) -> None:
    """Say that a place is reached."""
    if _armed is not None and _armed.place == place:
        _armed.reach()
