"""What the database refuses is rejected record by record; the rest of the batch is recorded."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.database.engine import (
    write_transaction,
)
from models.database.recorder import Recorder
from models.domain.events import RejectionReason
from tests.helpers.event_generators import random_events
from tests.helpers.oracle import (
    MILESTONE_REPORTED,
)
from tests.helpers.recorder import (
    DAY,
    TOPIC,
    TopicLog,
    count_events,
    event_batch,
    event_ids,
    event_json,
    expected_state,
    fail_on_rejection,
    load_facts,
    plan_event,
    planned_date,
    record_batch,
    reject_inserts,
    retraction_event,
    row_count,
    state_of_facts,
)


@pytest.mark.parametrize("bad", [[0], [1], [16], [0, 1], [3, 8, 16], list(range(17))], ids=str)
def test_only_what_the_database_refuses_is_rejected(recorder: Recorder, bad: list[int]) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.id LIKE 'bad%'")
    log = TopicLog()
    names = [f"bad-{number}" if number in bad else f"good-{number}" for number in range(17)]
    entries = [log.append(plan_event(name), number % 2) for number, name in enumerate(names)]
    recorded = record_batch(recorder, *entries)
    assert event_ids([rejected.record for rejected in recorded.rejected]) == []
    assert sorted(event_ids(recorded.accepted)) == sorted(name for name in names if name.startswith("good"))
    assert {(rejected.record.partition, rejected.record.offset) for rejected in recorded.rejected} == {
        (entries[number].partition, entries[number].offset) for number in bad
    }
    for rejected in recorded.rejected:
        assert (rejected.rejection.reason, rejected.rejection.source) == (RejectionReason.UNSTORABLE, "office")
        assert rejected.rejection.type == MILESTONE_REPORTED
        assert rejected.rejection.detail.startswith("the database refuses it: not this")
        assert len(rejected.rejection.detail.splitlines()) == 1
        assert rejected.record.value is not None
    assert recorder.read_positions(TOPIC) == {0: 9, 1: 8, 2: 0, 3: 0}
    assert count_events(recorder) == 17 - len(bad)
    assert recorder.read_revisions() == ({"north": 1} if len(bad) < 17 else {})


def test_what_is_refused_of_the_winning_claims_is_rejected(recorder: Recorder) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.milestone LIKE 'bad%'", "milestones")
    log = TopicLog()
    entries = [
        log.append(event_json(MILESTONE_REPORTED, name, {"milestone": name, "classifier": "PLN", "date": "2026-06-01"}))
        for name in ("good", "bad-1", "better", "bad-2")
    ]
    recorded = record_batch(recorder, *entries)
    assert [(rejected.record.offset, rejected.rejection.reason) for rejected in recorded.rejected] == [
        (1, RejectionReason.UNSTORABLE),
        (3, RejectionReason.UNSTORABLE),
    ]
    assert all("the database refuses it: not this" in rejected.rejection.detail for rejected in recorded.rejected)
    assert event_ids(recorded.accepted) == ["good", "better"]
    assert {key.milestone for key in load_facts(recorder)[0].milestones} == {"good", "better"}


def test_one_refused_of_two_thousand_is_found(recorder: Recorder) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.id = '9-1234'")
    log = TopicLog()
    events = random_events(9, 2000)
    recorded = record_batch(recorder, *[log.append(event) for event in events])
    assert [(rejected.record.offset, rejected.rejection.reason) for rejected in recorded.rejected] == [
        (1234, RejectionReason.UNSTORABLE)
    ]
    assert len(recorded.accepted) == 1999
    assert state_of_facts(load_facts(recorder)[0], DAY) == expected_state([*events[:1234], *events[1235:]], DAY)


def test_what_is_refused_goes_with_what_was_rejected_before(recorder: Recorder) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    log = TopicLog()
    recorded = record_batch(
        recorder, log.append_raw([], None), log.append(plan_event("bad")), log.append(plan_event("1"))
    )
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.UNSTORABLE,
    ]
    assert event_ids(recorded.accepted) == ["1"]


def test_a_refused_retraction_takes_nothing_back(recorder: Recorder) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    log = TopicLog()
    entries = [
        log.append(event) for event in (plan_event("1"), retraction_event("1", "bad"), retraction_event("2", "bad"))
    ]
    recorded = record_batch(recorder, *entries)
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [RejectionReason.UNSTORABLE] * 2
    assert (planned_date(recorder), row_count(recorder, "ledger")) == ("2026-06-01", 1)


def test_what_is_refused_only_together_is_no_records_fault(recorder: Recorder) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.id = 'b'")
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER refusal"))
            connection.execute(
                text(
                    "CREATE TRIGGER refusal BEFORE INSERT ON ledger"
                    " WHEN NEW.id = 'b' AND EXISTS (SELECT 1 FROM ledger WHERE id = 'a')"
                    " BEGIN SELECT RAISE(ABORT, 'not both'); END"
                )
            )
        else:
            connection.execute(
                text(
                    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    " IF EXISTS (SELECT 1 FROM ledger WHERE id = 'a') THEN RAISE EXCEPTION 'not both'; END IF;"
                    " RETURN NEW; END $$"
                )
            )
    log = TopicLog()
    entries = [log.append(plan_event("a")), log.append(plan_event("b"))]
    with pytest.raises(DBAPIError, match="not both"):
        recorder.record(event_batch(entries), fail_on_rejection)
    assert (count_events(recorder), recorder.read_positions(TOPIC)[0]) == (0, 0)
