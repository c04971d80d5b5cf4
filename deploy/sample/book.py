"""The book a story is written in: short sentences in, events out."""

from datetime import date, timedelta
from typing import Final

from models.events import (
    Classifier,
    Data,
    DependencyDeclared,
    Event,
    MilestoneRef,
    MilestoneReported,
    Money,
)
from models.instants import Instant

#: What every date says of itself that was not reported.
ILLUSTRATIVE: Final = "illustrative"

_EVENTS_A_MINUTE: Final = 60


class Book:
    """Collects what was said up to the story's day, none of it later than the day's first moment.

    What an event is called follows from the day and from what it says, so that the same day gives the same events.
    """

    def __init__(self, programme: str, day: date) -> None:
        self.programme = programme
        self.day = day
        self.events: list[Event] = []

    def at(self, days: int) -> date:
        """Return the day so many days after the story's; a negative number is in the past."""
        return self.day + timedelta(days=days)

    def say(self, source: str, project: str, data: Data, called: str, said: date) -> Event:
        """Write down an event, said at nine in the morning or, on the story's own day, at its first moment."""
        hour = "09" if said < self.day else "00"
        return self._write(source, project, data, called, Instant(f"{min(said, self.day)}T{hour}:00:00"))

    def say_later(self, source: str, project: str, data: Data, called: str, seconds: int) -> Event:
        """Return an event that is said on the story's day, without writing it down: it is still to come."""
        if not 0 < seconds < _EVENTS_A_MINUTE:
            raise ValueError(f"the story's later events are said within its first minute, not after {seconds} s")
        return self._event(source, project, data, called, Instant(f"{self.day}T00:00:{seconds:02d}"))

    def report(  # noqa: PLR0913 - a sentence with all its parts
        self,
        source: str,
        project: str,
        milestone: str,
        classifier: Classifier,
        on: date,
        said: date,
        *,
        remark: str | None = ILLUSTRATIVE,
        party: str | None = None,
        amount: Money | None = None,
    ) -> Event:
        """Write down a date of a milestone."""
        data = MilestoneReported(
            milestone=milestone, classifier=classifier, date=on, remark=remark, party=party, amount=amount
        )
        return self.say(source, project, data, f"{milestone}/{classifier}", said)

    def depend(self, source: str, waiting: tuple[str, str], gate: tuple[str, str], lag_days: int, said: date) -> Event:
        """Write down that a milestone comes at least so many days after another."""
        project, milestone = waiting
        data = DependencyDeclared(milestone=milestone, after=MilestoneRef(*gate), lag_days=lag_days)
        return self.say(source, project, data, f"{milestone}/after/{'/'.join(gate)}", said)

    def _write(self, source: str, project: str, data: Data, called: str, time: Instant) -> Event:
        event = self._event(source, project, data, called, time)
        self.events.append(event)
        return event

    def _event(self, source: str, project: str, data: Data, called: str, time: Instant) -> Event:
        name = "/".join(part for part in (str(self.day), project, called) if part)
        return Event(source=source, id=name, programme=self.programme, project=project, time=time, data=data)
