"""Revisions: each batch raises the revision of every programme that it changes, once."""

from models.database.recorder import ProgrammeChange, Recorder
from tests.helpers.recorder import (
    DAY,
    TopicLog,
    event_ids,
    expected_state,
    load_facts,
    plan_event,
    record_batch,
    retraction_event,
    state_of_facts,
)


def test_a_revision_is_raised_once_for_each_batch_and_programme_it_touches(recorder: Recorder) -> None:
    log = TopicLog()
    first = record_batch(
        recorder,
        log.append(plan_event("1"), appended_ms=30),
        log.append(plan_event("2", subject="south/dock"), appended_ms=10),
        log.append(plan_event("3"), appended_ms=20),
        log.append(plan_event("4", subject="n.2/dock"), appended_ms=40),
    )
    assert first.programme_changes == [
        ProgrammeChange("n.2", 1, 40),
        ProgrammeChange("north", 1, 20),
        ProgrammeChange("south", 1, 10),
    ]
    second = record_batch(
        recorder, log.append(plan_event("5"), appended_ms=60), log.append(plan_event("2", subject="south/dock"))
    )
    assert second.programme_changes == [ProgrammeChange("north", 2, 60)]
    assert recorder.read_revisions() == {"n.2": 1, "north": 2, "south": 1}
    assert load_facts(recorder, ["north"])[1] == {"north": 2}
    assert load_facts(recorder, [])[1] == {}


def test_a_retraction_changes_the_programme_that_loses_an_event_too(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1"), appended_ms=10))
    recorded = record_batch(recorder, log.append(retraction_event("1", subject="south/dock"), appended_ms=50))
    assert recorded.programme_changes == [ProgrammeChange("north", 2, 50), ProgrammeChange("south", 1, 50)]
    # A second retraction of the same takes nothing more.
    recorded = record_batch(recorder, log.append(retraction_event("1", "r2", subject="south/dock"), appended_ms=60))
    assert recorded.programme_changes == [ProgrammeChange("south", 2, 60)]


def test_the_programme_that_loses_an_event_changed_when_the_retraction_was_appended(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1"), appended_ms=10))
    recorded = record_batch(
        recorder,
        log.append(retraction_event("1", subject="south/dock"), appended_ms=50),
        log.append(plan_event("2", subject="east/pier"), appended_ms=9000),
    )
    assert recorded.programme_changes == [
        ProgrammeChange("east", 1, 9000),
        ProgrammeChange("north", 2, 50),
        ProgrammeChange("south", 1, 50),
    ]


def test_an_event_that_was_retracted_before_it_came_changes_nothing_but_is_accepted(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(retraction_event("1", subject="south/dock")))
    recorded = record_batch(recorder, log.append(plan_event("1")))
    assert event_ids(recorded.accepted) == ["1"]
    assert state_of_facts(load_facts(recorder)[0], DAY) == expected_state(
        [retraction_event("1", subject="south/dock"), plan_event("1")], DAY
    )
