"""What was believed at a moment, out of a real ledger, held against the independent reading."""

from collections.abc import Iterator, Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from models.database.engine import make_engine, read_transaction, write_transaction
from models.database.ledger import DecodedRecord
from models.database.migrate import migrate
from models.database.positions import OffsetRange
from models.database.queries import fold_as_of
from models.database.recorder import Batch, Recorder
from models.database.tables import metadata
from models.domain.claims import Facts
from models.domain.cloudevents import decode
from models.domain.schedule import compute_schedule
from models.domain.timestamps import parse_instant
from tests.helpers.event_generators import (
    PROGRAMMES,
    TIMES,
    binary_record,
    event_sets,
    random_events,
    structured_record,
)
from tests.helpers.oracle import (
    EVENT_RETRACTED,
    MILESTONE_REPORTED,
    JsonEvent,
    JsonRow,
    expected_milestones,
    expected_projects,
)
from tests.helpers.recorder import json_status_row, load_facts

TODAY = date(2026, 3, 10)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path_factory.mktemp('belief') / 'milepost.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


def keep(engine: Engine, events: Sequence[JsonEvent]) -> None:
    """Put these events, and no others, into the ledger, in either content mode."""
    with write_transaction(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    entries = []
    for offset, event in enumerate(events):
        headers, value = (structured_record, binary_record)[offset % 2](event)
        entries.append(DecodedRecord("events", 0, offset, 0, headers, value, decode(headers, value)))
    store = Recorder(engine)
    store.resolve_start_offsets("events", {0: (0, len(entries))})
    recorded = store.record(Batch([OffsetRange("events", 0, 0, len(entries))], entries), lambda _: None)
    assert not recorded.rejected


def folded(engine: Engine, as_of: str, programme: str | None = None) -> Facts:
    with read_transaction(engine) as connection:
        return fold_as_of(connection, parse_instant(as_of), programme)


def rows(facts: Facts) -> list[JsonRow]:
    return [json_status_row(standing) for standing in compute_schedule(facts, TODAY).statuses]


def event_json(called: str, time: str, subject: str = "north/wharf", **data: str) -> JsonEvent:
    return {
        "specversion": "1.0",
        "id": called,
        "source": "office",
        "type": EVENT_RETRACTED if "retracts" in data else MILESTONE_REPORTED,
        "subject": subject,
        "time": time,
        "data": data,
    }


def planned(called: str, time: str, day: str) -> JsonEvent:
    return event_json(called, time, milestone="permit-approved", classifier="PLN", date=day)


def retraction(called: str, time: str, of: str, subject: str = "north/wharf") -> JsonEvent:
    return event_json(called, time, subject, retracts=of, reason="incorrect_data")


def plans(engine: Engine, as_of: str, programme: str | None = "north") -> list[str | None]:
    return [row["planned"] for row in rows(folded(engine, as_of, programme))]


@settings(max_examples=60, deadline=None)
@given(event_sets(), st.sampled_from(TIMES), st.sampled_from((None, *PROGRAMMES)))
def test_any_moment_gives_what_the_claims_stamped_up_to_then_say(
    engine: Engine, events: list[JsonEvent], as_of: str, programme: str | None
) -> None:
    keep(engine, events)
    facts = folded(engine, as_of, programme)
    assert rows(facts) == [
        row for row in expected_milestones(events, TODAY, as_of) if programme in {None, row["programme"]}
    ]
    projects = {key for key in expected_projects(events, as_of) if programme in {None, key[0]}}
    assert facts.existing_projects() == projects


def test_at_the_end_of_time_what_is_believed_is_what_the_tables_of_the_present_hold(engine: Engine) -> None:
    events = random_events(3, 1500, with_dependencies=True)
    keep(engine, events)
    present, _ = load_facts(Recorder(engine))
    assert rows(folded(engine, "9999-12-31T23:59:59Z")) == rows(present)
    for as_of in ("2025-06-01T00:00:00Z", "2026-01-01T12:00:00+05:00"):
        assert rows(folded(engine, as_of)) == expected_milestones(events, TODAY, as_of)
        alone = [row for row in expected_milestones(events, TODAY, as_of) if row["programme"] == "programme-1"]
        assert rows(folded(engine, as_of, "programme-1")) == alone


def test_a_claim_counts_from_its_own_stamp_on_to_the_last_digit(engine: Engine) -> None:
    keep(
        engine,
        [planned("1", "2026-01-01T12:00:00.5Z", "2026-06-01"), planned("2", "2026-01-02T00:00:00Z", "2026-07-01")],
    )
    assert plans(engine, "2026-01-01T12:00:00.4999999999Z") == []
    assert plans(engine, "2026-01-01T13:00:00.500+01:00") == ["2026-06-01"]
    assert plans(engine, "2026-01-01T23:59:59.999999999Z") == ["2026-06-01"]
    assert plans(engine, "2026-01-02T00:00:00Z") == ["2026-07-01"]


def test_what_is_retracted_today_was_believed_yesterday(engine: Engine) -> None:
    events = [planned("1", "2026-01-01T00:00:00Z", "2026-06-01"), retraction("2", "2026-01-05T00:00:00Z", "1")]
    for order in (events, events[::-1]):
        keep(engine, order)
        assert plans(engine, "2026-01-04T00:00:00Z") == ["2026-06-01"]
        assert plans(engine, "2026-01-05T00:00:00Z") == []


def test_a_retraction_under_another_programme_counts_and_its_programme_stays_out(engine: Engine) -> None:
    keep(
        engine,
        [
            planned("1", "2026-01-01T00:00:00Z", "2026-06-01"),
            retraction("2", "2026-01-05T00:00:00Z", "1", subject="south/quay"),
        ],
    )
    assert plans(engine, "2026-01-04T00:00:00Z") == ["2026-06-01"]
    assert plans(engine, "2026-01-06T00:00:00Z") == []
    assert folded(engine, "2026-01-06T00:00:00Z", "north").existing_programmes() == set()
    assert folded(engine, "2026-01-06T00:00:00Z", "south").existing_programmes() == {"south"}


def test_the_place_held_for_an_event_that_never_came_is_no_event(engine: Engine) -> None:
    keep(engine, [retraction("2", "2026-01-05T00:00:00Z", "never")])
    assert plans(engine, "2026-01-06T00:00:00Z") == []
    assert folded(engine, "2026-01-06T00:00:00Z", None).existing_programmes() == {"north"}
