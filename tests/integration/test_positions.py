"""Positions decide which records of a batch are recorded; a recreated topic is refused until it is accepted."""

from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from models.database import tables
from models.database.engine import (
    write_transaction,
)
from models.database.positions import PositionReset, StartOffset, TopicRecreatedError, reset_positions
from models.database.recorder import Recorder, RecordingResult
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    count_events,
    event_batch,
    event_ids,
    fail_on_rejection,
    order_independent_rows,
    plan_event,
    record_batch,
)


def test_a_position_behind_the_batch_makes_it_stale_and_nothing_is_written(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan_event(str(number))) for number in range(4)]
    record_batch(recorder, entries[0])
    before = order_independent_rows(recorder.engine)
    recorded = record_batch(recorder, *entries[2:])
    assert recorded == RecordingResult([], [], [], [], [(TOPIC, 0)])
    assert order_independent_rows(recorder.engine) == before
    assert recorder.read_positions(TOPIC)[0] == 1


def test_a_position_beyond_the_batch_means_it_is_done_already(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan_event(str(number))) for number in range(4)]
    record_batch(recorder, *entries)
    assert record_batch(recorder, *entries[:3]) == RecordingResult([], [], [], [], [])
    assert record_batch(recorder, *entries) == RecordingResult([], [], [], [], [])
    assert recorder.read_positions(TOPIC)[0] == 4


def test_of_a_batch_that_is_partly_done_only_the_rest_is(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [
        log.append(plan_event("0")),
        log.append_raw([], b"1"),
        log.append(plan_event("2")),
        log.append_raw([], b"3"),
    ]
    record_batch(recorder, *entries[:2])
    recorded = record_batch(recorder, *entries)
    assert event_ids(recorded.accepted) == ["2"]
    assert [rejected.record.offset for rejected in recorded.rejected] == [3]
    assert (recorded.duplicates, recorder.read_positions(TOPIC)[0]) == ([], 4)


def test_a_partition_that_was_never_taken_up_is_stale(recorder: Recorder) -> None:
    log = TopicLog()
    assert record_batch(recorder, log.append(plan_event("1"), 9)).stale_partitions == [(TOPIC, 9)]
    assert (count_events(recorder), 9 in recorder.read_positions(TOPIC)) == (0, False)


def test_of_several_partitions_each_is_judged_by_itself(recorder: Recorder) -> None:
    log = TopicLog()
    entries = {
        partition: [log.append(plan_event(f"{partition}-{n}"), partition) for n in range(3)] for partition in range(3)
    }
    record_batch(recorder, *entries[1])
    recorded = record_batch(recorder, entries[0][0], *entries[1], *entries[2][1:])
    assert event_ids(recorded.accepted) == ["0-0"]
    assert recorded.stale_partitions == [(TOPIC, 2)]
    assert recorder.read_positions(TOPIC) == {0: 1, 1: 3, 2: 0, 3: 0}


def test_the_rejected_of_a_batch_that_is_done_or_stale_are_not_rejected_again(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [log.append_raw([], b"nonsense") for _ in range(3)]
    record_batch(recorder, entries[0])
    assert recorder.record(event_batch(entries[:1]), fail_on_rejection).rejected == []
    assert recorder.record(event_batch(entries[2:]), fail_on_rejection).stale_partitions == [(TOPIC, 0)]


def test_positions_of_topics_of_one_name_and_another_are_kept_apart(recorder: Recorder) -> None:
    assert recorder.resolve_start_offsets("other.events", {0: (7, 9)}) == {0: StartOffset(7)}
    assert recorder.read_positions("other.events") == {0: 7}
    assert recorder.read_positions(TOPIC) == {0: 0, 1: 0, 2: 0, 3: 0}


def test_a_partition_is_taken_up_where_the_database_says(engine: Engine) -> None:
    recorder = Recorder(engine)
    # Never read: from the start of its log, and nothing is missed.
    assert recorder.resolve_start_offsets(TOPIC, {0: (0, 100), 1: (40, 100), 2: (0, 0)}) == {
        0: StartOffset(0),
        1: StartOffset(40),
        2: StartOffset(0),
    }
    with write_transaction(engine) as connection:
        connection.execute(update(tables.positions).where(tables.positions.c.partition == 0).values(next_offset=50))
    # Inside of the log, and at either end of it.
    assert recorder.resolve_start_offsets(TOPIC, {0: (0, 100)}) == {0: StartOffset(50)}
    assert recorder.resolve_start_offsets(TOPIC, {0: (0, 50)}) == {0: StartOffset(50)}
    assert recorder.resolve_start_offsets(TOPIC, {0: (50, 100)}) == {0: StartOffset(50)}
    # Records were deleted before they were read: they are counted once.
    assert recorder.resolve_start_offsets(TOPIC, {0: (60, 100)}) == {0: StartOffset(60, missed=10)}
    assert recorder.resolve_start_offsets(TOPIC, {0: (60, 100)}) == {0: StartOffset(60)}
    assert recorder.read_positions(TOPIC) == {0: 60, 1: 40, 2: 0}


def test_a_position_beyond_the_end_of_the_log_means_another_log_and_changes_nothing(engine: Engine) -> None:
    recorder = Recorder(engine)
    recorder.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9)})
    with pytest.raises(TopicRecreatedError) as error:
        recorder.resolve_start_offsets(TOPIC, {0: (6, 9), 1: (0, 7)})
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(
        "milepost.events:1 ends at offset 7, but the database has read up to 8: the topic was recreated"
    )
    assert recorder.read_positions(TOPIC) == {0: 5, 1: 8}


def test_what_there_is_to_do_meanwhile_is_done_once_before_the_batch_is_committed(recorder: Recorder) -> None:
    seen: list[int] = []
    log = TopicLog()
    for name in ("1", "2"):
        recorder.record(
            event_batch([log.append(plan_event(name))]), fail_on_rejection, lambda: seen.append(count_events(recorder))
        )
    assert seen == [0, 1]


def test_a_topic_is_known_by_the_id_it_had_when_it_was_read_first(engine: Engine) -> None:
    recorder = Recorder(engine)
    for _ in range(2):
        recorder.remember_topic_id(TOPIC, "one")
    with pytest.raises(TopicRecreatedError) as error:
        recorder.remember_topic_id(TOPIC, "other")

    assert str(error.value).startswith("milepost.events has the id other, but the database has read one: ")
    assert "milepost init --accept-new-topic" in str(error.value)
    recorder.remember_topic_id("another", "other")


def test_accepting_a_topic_without_an_id_sets_back_what_lies_beyond_the_end(engine: Engine) -> None:
    recorder = Recorder(engine)
    recorder.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9), 2: (3, 3)})
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, None, {0: (0, 9), 1: (2, 7), 3: (0, 0)}) == [PositionReset(1, 8, 2)]

    assert recorder.read_positions(TOPIC) == {0: 5, 1: 2, 2: 3}


def test_accepting_a_topic_of_another_id_sets_back_every_position(engine: Engine) -> None:
    recorder = Recorder(engine)
    recorder.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9), 2: (0, 3)})
    recorder.remember_topic_id(TOPIC, "one")
    logs = {0: (0, 90), 1: (2, 7), 2: (0, 3)}
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, "other", logs) == [PositionReset(0, 5, 0), PositionReset(1, 8, 2)]
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, "other", logs) == []

    recorder.remember_topic_id(TOPIC, "other")
    assert recorder.read_positions(TOPIC) == {0: 0, 1: 2, 2: 0}


def test_batches_of_any_number_of_partitions_and_programmes_are_written_by_the_same_statements(
    shared_recorder: Recorder,
) -> None:
    log, statements = TopicLog(), list[str]()

    def note(*told: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        statements.append(told[2])

    written = []
    event.listen(shared_recorder.engine, "before_cursor_execute", note)
    for number, partitions in enumerate((1, 1, 2, 4)):
        statements.clear()
        subjects = [f"programme-{partition}/wharf" for partition in range(partitions)]
        entries = [
            log.append(plan_event(f"{number}-{partition}", subject=subject), partition, appended_ms=number)
            for partition, subject in enumerate(subjects)
        ]
        assert len(record_batch(shared_recorder, *entries).programme_changes) == partitions
        written.append(statements[:])
    # The first looks for its events, too.
    assert written[1] == written[2] == written[3]
    assert shared_recorder.read_positions(TOPIC) == {0: 4, 1: 2, 2: 1, 3: 1}
