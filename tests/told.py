"""Events in few words, recorded and drawn, for tests of what the commands show.

All of them are of the programme `north`; milestones are called `project/milestone`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from models.database.projector import Forecasts
from models.database.recorder import Store
from models.domain.timestamps import epoch_seconds, parse_instant
from tests.reading import (
    CANCELLED,
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    REPORTED,
    RETRACTED,
    Event,
)
from tests.storing import TOPIC, Log, batch_of, prepared, refuse_none

PROGRAMME = "north"


def report(called: str, of: str, classifier: str, day: str, **more: str) -> Event:
    """Give a report of a date; `more` may say `time`, `source`, `reason`, `remark` and `party`."""
    return _event(REPORTED, called, of, {"classifier": classifier, "date": day}, more)


def depend(called: str, of: str, after: str, lag_days: int = 0, **more: str) -> Event:
    """Give the declaration that a milestone comes after another."""
    return _event(DEPENDENCY_DECLARED, called, of, {"after": _reference(after), "lag_days": lag_days}, more)


def undepend(called: str, of: str, after: str, **more: str) -> Event:
    """Give the withdrawal of such a declaration."""
    return _event(DEPENDENCY_WITHDRAWN, called, of, {"after": _reference(after)}, more)


def cancel(called: str, of: str, **more: str) -> Event:
    """Give the cancellation of a milestone."""
    return _event(CANCELLED, called, of, {}, more)


def register(called: str, project: str, **more: str) -> Event:
    """Give the registration of a project."""
    return _event(PROJECT_REGISTERED, called, project, {}, more)


def withdraw(called: str, project: str, **more: str) -> Event:
    """Give the withdrawal of a project."""
    return _event(PROJECT_WITHDRAWN, called, project, {}, more)


def retract(called: str, project: str, retracts: str, **more: str) -> Event:
    """Give the retraction of an event."""
    return _event(RETRACTED, called, project, {"retracts": retracts, "reason": "incorrect_data"}, more)


def _event(kind: str, called: str, of: str, data: dict[str, object], more: dict[str, str]) -> Event:
    project, _, milestone = of.partition("/")
    named = {"milestone": milestone} if milestone else {}
    return {
        "specversion": "1.0",
        "id": called,
        "source": more.pop("source", "office"),
        "type": kind,
        "subject": f"{PROGRAMME}/{project}",
        "time": more.pop("time", "2026-01-01T12:00:00Z"),
        "data": named | data | more,
    }


def _reference(milestone: str) -> dict[str, str]:
    project, _, slug = milestone.partition("/")
    return {"project": project, "milestone": slug}


class Told:
    """A database that is told of events, batch by batch, and draws the forecasts after each."""

    def __init__(self, store: Store) -> None:
        self._store, self._log, self._forecasts = store, Log(), Forecasts(store.engine)
        store.take_up(TOPIC, {0: (0, 0)})

    def tell(self, events: list[Event], on: date, noted: str = "2026-03-10T08:00:00Z") -> None:
        """Record a batch, and draw what it changed for a day."""
        recorded = self._store.record(batch_of([self._log.append(event) for event in events]), refuse_none)
        noted_ms = round(epoch_seconds(parse_instant(noted)) * 1000)
        self._forecasts.draw([change.programme for change in recorded.changes], on, noted_ms)


@contextmanager
def told(url: str) -> Iterator[Told]:
    """Give a new database that can be told of events."""
    with prepared(url) as engine:
        yield Told(Store(engine))
