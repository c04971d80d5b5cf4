"""What comes next: by the stored forecasts of many programmes as by the schedule of one, on both databases."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine

from models.database.claims import load_facts
from models.database.engine import read_transaction
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.domain.cloudevents import encode_structured
from models.domain.events import Classifier, Event, MilestoneCancelled, MilestoneReported
from models.domain.schedule import MilestoneRef, State, compute_schedule
from models.domain.timestamps import Instant
from models.views.upcoming import (
    MAX_NAMED_OF_MANY,
    DueList,
    DueMilestone,
    Upcoming,
    find_upcoming,
    own_dates,
    read_upcoming,
)
from tests.helpers.databases import BACKENDS, DatabaseFactory
from tests.helpers.event_generators import random_events, structured_record
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

DAY = date(2026, 11, 23)
NOW_MS = 1_790_000_000_000


@pytest.fixture(params=BACKENDS)
def engine(request: pytest.FixtureRequest, databases: DatabaseFactory) -> Iterator[Engine]:
    with databases.new_database(request.param) as url, migrated_engine(url) as made:
        yield made


def record(engine: Engine, records: list[tuple[list[tuple[str, bytes]], bytes]]) -> list[str]:
    """Record events and calculate their programmes; return these."""
    recorder, log = Recorder(engine), TopicLog()
    recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})
    recorded = recorder.record(event_batch([log.append_raw(*each) for each in records]), fail_on_rejection)
    programmes = sorted({change.programme for change in recorded.programme_changes})
    Projector(engine).recalculate(programmes, DAY, NOW_MS)
    return programmes


def as_named_of_many(upcoming: Upcoming) -> Upcoming:
    return Upcoming(*(DueList(due.total, list(due.named[:MAX_NAMED_OF_MANY])) for due in upcoming))


@pytest.mark.parametrize("seed", range(6))
def test_many_programmes_are_read_as_one_is_calculated(engine: Engine, seed: int) -> None:
    programmes = record(engine, [structured_record(event) for event in random_events(seed, 300)])

    with read_transaction(engine) as connection:
        read = read_upcoming(connection, programmes, DAY)
        for programme in programmes:
            facts = load_facts(connection, [programme])
            statuses = compute_schedule(facts, DAY).statuses
            calculated = as_named_of_many(find_upcoming(statuses, own_dates(facts, statuses), DAY))
            assert [due.total for due in read[programme]] == [due.total for due in calculated]
            # Of equal days the order of rows decides in one, the plain text in the other.
            assert [[item.due for item in due.named] for due in read[programme]] == [
                [item.due for item in due.named] for due in calculated
            ]
    assert any(due.total for upcoming in read.values() for due in upcoming)


def report(milestone: str, classifier: Classifier, days: int, number: int) -> Event:
    data = MilestoneReported(milestone=milestone, classifier=classifier, date=DAY + timedelta(days=days))
    return event(data, number)


def event(data: MilestoneReported | MilestoneCancelled, number: int) -> Event:
    time = Instant(f"2026-11-01T00:00:{number:02}")
    return Event(source="/erp", id=f"{number}", programme="north", project="quay", time=time, data=data)


def test_overdue_is_listed_by_the_day_that_passed_and_the_rest_by_the_day_to_come(engine: Engine) -> None:
    said = [
        report("late", Classifier.PLANNED, 50, 1),
        report("late", Classifier.ESTIMATED, -9, 2),
        report("moved", Classifier.ESTIMATED, -20, 3),
        report("moved", Classifier.PLANNED, 10, 4),
        report("today", Classifier.PLANNED, 0, 5),
        report("soon", Classifier.PLANNED, 30, 6),
        report("later", Classifier.PLANNED, 31, 7),
        report("last", Classifier.PLANNED, 90, 8),
        report("far", Classifier.PLANNED, 91, 9),
        report("done", Classifier.ACTUAL, -30, 10),
        report("gone", Classifier.PLANNED, 5, 11),
        event(MilestoneCancelled(milestone="gone"), 12),
    ]
    record(
        engine,
        [([(name, text or b"") for name, text in headers], value) for headers, value in map(encode_structured, said)],
    )

    with read_transaction(engine) as connection:
        [found] = read_upcoming(connection, ["north"], DAY).values()

    assert found.overdue == DueList(
        1, [DueMilestone(MilestoneRef("quay", "late"), DAY - timedelta(days=9), State.OVERDUE)]
    )
    assert [item.ref.milestone for item in found.soon.named] == ["today", "moved", "soon"]
    assert [item.ref.milestone for item in found.later.named] == ["later", "last"]
    assert (found.soon.total, found.later.total) == (3, 2)


def test_a_programme_with_nothing_to_come_has_empty_lists(engine: Engine) -> None:
    with read_transaction(engine) as connection:
        assert read_upcoming(connection, ["nobody"], DAY) == {"nobody": Upcoming()}
