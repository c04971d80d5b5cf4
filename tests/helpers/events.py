"""Events in few words, recorded and calculated, for tests of what the commands show.

All of them are of the programme `north`; milestones are called `project/milestone`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from models.database.projector import Projector
from models.database.recorder import Recorder
from models.domain.timestamps import epoch_seconds, parse_instant
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
)
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

PROGRAMME = "north"


def date_report(event_id: str, milestone: str, classifier: str, day: str, **overrides: str) -> JsonEvent:
    """Give a report of a date; `more` may say `time`, `source`, `reason`, `remark` and `party`."""
    return _event(MILESTONE_REPORTED, event_id, milestone, {"classifier": classifier, "date": day}, overrides)


def dependency_declaration(
    event_id: str, milestone: str, predecessor: str, lag_days: int = 0, **overrides: str
) -> JsonEvent:
    """Give the declaration that a milestone comes after another."""
    return _event(
        DEPENDENCY_DECLARED,
        event_id,
        milestone,
        {"after": _milestone_ref(predecessor), "lag_days": lag_days},
        overrides,
    )


def dependency_withdrawal(event_id: str, milestone: str, predecessor: str, **overrides: str) -> JsonEvent:
    """Give the withdrawal of such a declaration."""
    return _event(DEPENDENCY_WITHDRAWN, event_id, milestone, {"after": _milestone_ref(predecessor)}, overrides)


def cancellation(event_id: str, milestone: str, **overrides: str) -> JsonEvent:
    """Give the cancellation of a milestone."""
    return _event(MILESTONE_CANCELLED, event_id, milestone, {}, overrides)


def project_registration(event_id: str, project: str, **overrides: str) -> JsonEvent:
    """Give the registration of a project."""
    return _event(PROJECT_REGISTERED, event_id, project, {}, overrides)


def project_withdrawal(event_id: str, project: str, **overrides: str) -> JsonEvent:
    """Give the withdrawal of a project."""
    return _event(PROJECT_WITHDRAWN, event_id, project, {}, overrides)


def retraction_event(event_id: str, project: str, retracted_id: str, **overrides: str) -> JsonEvent:
    """Give the retraction of an event."""
    return _event(EVENT_RETRACTED, event_id, project, {"retracts": retracted_id, "reason": "incorrect_data"}, overrides)


def _event(
    event_type: str, event_id: str, subject: str, data: dict[str, object], overrides: dict[str, str]
) -> JsonEvent:
    project, _, milestone = subject.partition("/")
    named = {"milestone": milestone} if milestone else {}
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": overrides.pop("source", "office"),
        "type": event_type,
        "subject": f"{PROGRAMME}/{project}",
        "time": overrides.pop("time", "2026-01-01T12:00:00Z"),
        "data": named | data | overrides,
    }


def _milestone_ref(milestone: str) -> dict[str, str]:
    project, _, slug = milestone.partition("/")
    return {"project": project, "milestone": slug}


class EventDatabase:
    """A database that records events batch by batch and recalculates the forecasts after each."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._log, self._projector = recorder, TopicLog(), Projector(recorder.engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})

    def record_and_recalculate(
        self,
        events: list[JsonEvent],
        data_date: date,
        recorded_at: str = "2026-03-10T08:00:00Z",
        appended_at: str = "1970-01-01T00:00:00Z",
    ) -> None:
        """Record a batch, and recalculate what it changed for a day."""
        appended_ms = round(epoch_seconds(parse_instant(appended_at)) * 1000)
        records = [self._log.append(event, appended_ms=appended_ms) for event in events]
        recorded = self._recorder.record(event_batch(records), fail_on_rejection)
        noted_ms = round(epoch_seconds(parse_instant(recorded_at)) * 1000)
        self._projector.recalculate([change.programme for change in recorded.programme_changes], data_date, noted_ms)


@contextmanager
def event_database(url: str) -> Iterator[EventDatabase]:
    """Give a new database that records events."""
    with migrated_engine(url) as engine:
        yield EventDatabase(Recorder(engine))
