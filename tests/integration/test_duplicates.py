"""Duplicates are recorded once; conflicting duplicates are rejected."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from models.database.recorder import ProgrammeChange, Recorder, RecordingResult
from models.domain.events import RejectionReason
from tests.helpers.event_generators import binary_record, structured_record
from tests.helpers.oracle import (
    MILESTONE_CANCELLED,
    JsonEvent,
)
from tests.helpers.recorder import (
    DAY,
    TOPIC,
    TopicLog,
    count_events,
    event_ids,
    event_json,
    expected_state,
    load_facts,
    order_independent_rows,
    plan_event,
    planned_date,
    record_batch,
    retraction_event,
    row_count,
    state_of_facts,
)


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
@pytest.mark.parametrize("partition", [0, 1], ids=["in one partition", "in two"])
@pytest.mark.parametrize("mode", [structured_record, binary_record])
def test_a_duplicate_is_counted_and_not_applied(
    recorder: Recorder, *, apart: bool, partition: int, mode: Callable[[JsonEvent], Any]
) -> None:
    log = TopicLog()
    one, other = log.append(plan_event("1")), log.append(plan_event("1"), partition, mode)
    batches = [[one], [other]] if apart else [[one, other]]
    recorded = [record_batch(recorder, *batch) for batch in batches]
    assert [len(told.accepted) for told in recorded] == ([1, 0] if apart else [1])
    assert [entry for told in recorded for entry in told.duplicates] == [other]
    assert [told.rejected for told in recorded] == [[]] * len(batches)
    assert [told.programme_changes for told in recorded] == [[ProgrammeChange("north", 1, 0)], []][: len(batches)]
    assert recorder.read_revisions() == {"north": 1}
    assert count_events(recorder) == 1


def test_the_ledger_is_not_searched_for_events_after_a_batch_that_was_all_new_until_one_is_not(
    recorder: Recorder,
) -> None:
    log, searches = TopicLog(), 0

    def note(*told: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        nonlocal searches
        searches += told[2].lstrip().startswith("SELECT ledger")

    event.listen(recorder.engine, "before_cursor_execute", note)
    searched, duplicates = [], []
    for names in (["1"], ["2", "3"], ["4", "2", "5"], ["5", "6"], ["7"], ["8"], ["1", "8"], ["9"]):
        before = searches
        recorded = record_batch(recorder, *(log.append(plan_event(name)) for name in names))
        searched.append(searches - before)
        duplicates.append(len(recorded.duplicates))
    assert duplicates == [0, 0, 1, 1, 0, 0, 2, 0]
    # The first, and from one that turns out not to be all new to the next that is; what is retracted always is.
    assert searched == [1, 0, 1, 1, 1, 0, 1, 1]
    assert (count_events(recorder), recorder.read_revisions()) == (9, {"north": 7})


def test_a_conflict_among_events_that_were_taken_for_new_is_rejected_once(recorder: Recorder) -> None:
    log = TopicLog()
    assert event_ids(record_batch(recorder, log.append(plan_event("1"))).accepted) == ["1"]
    recorded = record_batch(
        recorder, log.append(plan_event("2")), log.append(plan_event("1", "2026-07-01")), log.append(plan_event("3"))
    )
    assert (event_ids(recorded.accepted), conflicts(recorded)) == (["2", "3"], [2])
    assert planned_date(recorder) == "2026-06-01"


def test_a_retraction_among_events_that_were_taken_for_new_strikes_what_is_known(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")))
    record_batch(recorder, log.append(plan_event("2", "2026-07-01", day=2)))
    recorded = record_batch(recorder, log.append(retraction_event("2")), log.append(retraction_event("later", "r-2")))
    assert (event_ids(recorded.accepted), planned_date(recorder)) == (["r", "r-2"], "2026-06-01")
    # Its place is held: it is not new.
    recorded = record_batch(
        recorder, log.append(plan_event("later", "2026-08-01", day=3)), log.append(plan_event("3", day=1))
    )
    assert (event_ids(recorded.accepted), planned_date(recorder)) == (["3", "later"], "2026-06-01")


def test_a_time_spelled_otherwise_and_an_unknown_field_make_no_other_event(recorder: Recorder) -> None:
    log = TopicLog()
    event = plan_event("1")
    other = event | {"time": "2026-01-01T14:00:00.000+02:00", "data": event["data"] | {"colour": "blue"}}
    assert len(record_batch(recorder, log.append(event), log.append(other)).duplicates) == 1


def conflicts(recorded: RecordingResult) -> list[int]:
    """Give the offsets of the conflicting duplicates; nothing else may be rejected."""
    assert {rejected.rejection.reason for rejected in recorded.rejected} <= {RejectionReason.CONFLICTING_DUPLICATE}
    return sorted(rejected.record.offset for rejected in recorded.rejected)


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
@pytest.mark.parametrize(
    "other",
    [
        plan_event("1", "2026-07-01"),
        plan_event("1", day=2),
        plan_event("1", subject="south/wharf"),
        plan_event("1", subject="north/pier"),
        plan_event("1") | {"correlationid": "c"},
        plan_event("1") | {"recordedtime": "2026-01-01T12:00:00Z"},
        event_json(MILESTONE_CANCELLED, "1", {"milestone": "permit-approved"}),
        retraction_event("2", "1"),
    ],
)
def test_the_same_name_with_other_content_is_a_conflict_and_leaves_no_trace(
    recorder: Recorder, *, apart: bool, other: JsonEvent
) -> None:
    log = TopicLog()
    one, conflicting = log.append(plan_event("1")), log.append(other)
    if apart:
        record_batch(recorder, one)
        before = order_independent_rows(recorder.engine)
        recorded = record_batch(recorder, conflicting)
        assert order_independent_rows(recorder.engine) == before
        assert recorded.programme_changes == []
    else:
        recorded = record_batch(recorder, one, conflicting)
    assert conflicts(recorded) == [1]
    [rejected] = recorded.rejected
    assert (rejected.rejection.source, rejected.rejection.type) == ("office", other["type"])
    assert state_of_facts(load_facts(recorder)[0], DAY) == expected_state([plan_event("1")], DAY)
    assert (row_count(recorder, "ledger"), recorder.read_revisions()) == (1, {"north": 1})
    assert recorder.read_positions(TOPIC)[0] == 2


def test_the_same_name_of_another_source_is_another_event(recorder: Recorder) -> None:
    log = TopicLog()
    recorded = record_batch(
        recorder, log.append(plan_event("1")), log.append(plan_event("1", "2026-07-01", source="Office"))
    )
    assert len(recorded.accepted) == 2


def test_the_event_that_was_known_before_the_batch_decides_what_is_a_conflict_in_it(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")))
    other = plan_event("1", "2026-07-01")
    recorded = record_batch(recorder, log.append(other), log.append(plan_event("1")), log.append(other))
    assert conflicts(recorded) == [1, 3]
    assert [entry.offset for entry in recorded.duplicates] == [2]


def test_a_conflicting_event_that_is_repeated_is_rejected_each_time(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")))
    other = plan_event("1", "2026-07-01")
    assert conflicts(record_batch(recorder, log.append(other), log.append(other, encode=binary_record))) == [1, 2]


def test_a_retraction_that_is_rejected_as_a_conflict_takes_nothing_back(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")), log.append(plan_event("2", "2026-07-01", day=2)))
    before = order_independent_rows(recorder.engine)
    # Of an event that is there, of one that comes with it, and of one that never came.
    for taken_back in ("2", "3", "never"):
        recorded = record_batch(recorder, log.append(retraction_event(taken_back, "1")))
        assert len(conflicts(recorded)) == 1
        assert order_independent_rows(recorder.engine) == before
    recorded = record_batch(
        recorder, log.append(retraction_event("3", "1")), log.append(plan_event("3", "2026-08-01", day=3))
    )
    assert (len(conflicts(recorded)), event_ids(recorded.accepted)) == (1, ["3"])
    assert planned_date(recorder) == "2026-08-01"
    assert row_count(recorder, "ledger") == 3
    assert len(record_batch(recorder, log.append(plan_event("never", day=4))).accepted) == 1


def test_a_conflict_with_a_retracted_event_is_a_conflict_all_the_same(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(retraction_event("1")), log.append(plan_event("1")))
    recorded = record_batch(recorder, log.append(plan_event("1", "2026-07-01")), log.append(plan_event("1")))
    assert conflicts(recorded) == [2]
    assert [entry.offset for entry in recorded.duplicates] == [3]
    assert planned_date(recorder) is None
