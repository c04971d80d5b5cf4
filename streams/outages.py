"""Outages in the log: a line when one begins, one a minute while it lasts, one when it ends.

When Kafka or the database is away, everything that needs it fails, again and again. All of that is one outage: it lasts
from the first failure until nothing fails for it any more. A failure that has another cause is an outage of the
operation that fails.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakSet

logger = logging.getLogger("milepost.outages")

#: How often an outage that lasts is logged.
LOG_INTERVAL_SECONDS: Final = 60.0
#: How long a detail belongs to the failures that come after it.
_DETAIL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is away: `begun`, `lasting` and `ended` follow its name in the log."""

    name: str
    begun: str = "failed, and is tried again until it succeeds"
    lasting: str = "has failed"
    ended: str = "no longer fails"


KAFKA: Final = Subject(
    "Kafka", "does not answer, and is asked again until it does", "has not answered", "answers again"
)
#: Kafka answers, and does not take what is published.
EVENTS_TOPIC: Final = Subject(
    "the events topic",
    "takes no events, and publishers are told to send again",
    "has taken no events",
    "takes events again",
)
DATABASE: Final = Subject("the database", KAFKA.begun, KAFKA.lasting, KAFKA.ended)


@dataclass(slots=True)
class _Outage:
    began_at: float
    logged_at: float
    problem: str = ""
    #: What fails for it. Whoever forgets one that fails, has given it up.
    failing: WeakSet[Any] = field(default_factory=WeakSet)


class OutageLog:
    """Logs the outages of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outages: dict[Subject, _Outage] = {}
        self._details: dict[Subject, tuple[float, str]] = {}
        self._ended_at: dict[Subject, float] = {}

    def add_detail(self, subject: Subject, detail: str) -> None:
        """Note what a library said of a subject: its errors often lack the cause."""
        self._details[subject] = self._clock(), detail

    def detail(self, subject: Subject) -> str:
        """Return what a library said of a subject lately; empty when it said nothing."""
        noted_at, detail = self._details.get(subject, (-_DETAIL_SECONDS, ""))
        return detail if self._clock() - noted_at < _DETAIL_SECONDS else ""

    def fail(self, failing: object, subject: Subject, problem: str) -> None:
        """Note that something failed, as others may have, because its subject is away."""
        self._leave_all(failing, but=subject)
        now = self._clock()
        outage = self._outages.get(subject)
        detail = self.detail(subject)
        if detail not in problem:
            problem = f"{problem} ({detail})"
        if outage is None:
            outage = self._outages[subject] = _Outage(now, now)
            logger.warning("%s %s: %s", subject.name, subject.begun, problem)
        elif now - outage.logged_at >= LOG_INTERVAL_SECONDS:
            outage.logged_at = now
            logger.warning("%s %s for %s: %s", subject.name, subject.lasting, _duration(outage, now), problem)
        outage.failing.add(failing)
        outage.problem = problem

    def end(self, failing: object) -> None:
        """Note that something succeeded, or is not tried again."""
        self._leave_all(failing, is_over=True)

    def pass_over(self, failing: object) -> None:
        """Note a failure that others account for: it is not logged, and keeps no outage alive."""
        self._leave_all(failing)

    def was_away(self, subject: Subject, seconds: float = 0.0) -> bool:
        """Return whether there is an outage of a subject, or was one within the last seconds."""
        ended_at = self._ended_at.get(subject)
        return subject in self._outages or (ended_at is not None and self._clock() - ended_at < seconds)

    def problem(self, subject: Subject) -> str:
        """Return why what needs a subject failed last; empty without an outage."""
        outage = self._outages.get(subject)
        return "" if outage is None else outage.problem

    def _leave_all(self, failing: object, *, but: Subject | None = None, is_over: bool = False) -> None:
        for subject, outage in [*self._outages.items()]:
            if subject == but:
                continue
            outage.failing.discard(failing)
            if outage.failing:
                continue
            del self._outages[subject]
            self._details.pop(subject, None)
            self._ended_at[subject] = self._clock()
            # An operation that fails for another reason now is not over.
            if is_over or subject in {KAFKA, DATABASE}:
                logger.info("%s %s, after %s", subject.name, subject.ended, _duration(outage, self._clock()))


def _duration(outage: _Outage, now: float) -> str:
    seconds = now - outage.began_at
    return f"{seconds:.1f} s" if seconds < LOG_INTERVAL_SECONDS else f"{seconds / 60:.0f} min"


#: Those of this process.
OUTAGES: Final = OutageLog()


def describe_outage(subject: Subject) -> str:
    """Return for `/ready` that a subject does not answer, and why if that is known."""
    problem = OUTAGES.problem(subject)
    return f"does not answer: {problem}" if problem else "does not answer"
