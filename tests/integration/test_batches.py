"""One batch, one transaction: what a recorder writes, and when others can see it."""

from collections.abc import Sequence
from random import Random

import pytest
from sqlalchemy import select

from models.database import tables
from models.database.engine import (
    read_transaction,
)
from models.database.ledger import RejectedRecord, decode_stored_event
from models.database.positions import OffsetRange
from models.database.recorder import Batch, ProgrammeChange, Recorder, RecordingResult
from models.domain.claims import ProjectKey
from models.domain.events import Money, RejectionReason
from tests.helpers.event_generators import binary_record, random_events, structured_record
from tests.helpers.oracle import (
    MILESTONE_REPORTED,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
)
from tests.helpers.recorder import (
    DAY,
    GATE,
    TOPIC,
    TopicLog,
    count_events,
    event_batch,
    event_ids,
    event_json,
    expected_state,
    fail_on_rejection,
    load_facts,
    order_independent_rows,
    plan_event,
    planned_date,
    record_batch,
    retraction_event,
    state_of_facts,
)


def test_a_batch_goes_in_with_its_positions(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [
        log.append(plan_event("1"), 0),
        log.append(plan_event("2", day=2), 1),
        log.append(plan_event("3", day=3), 0),
    ]
    recorded = record_batch(recorder, *entries)
    assert event_ids(recorded.accepted) == ["1", "2", "3"]
    assert (recorded.duplicates, recorded.rejected, recorded.stale_partitions) == ([], [], [])
    assert recorded.programme_changes == [ProgrammeChange("north", 1, 0)]
    assert recorder.read_positions(TOPIC) == {0: 2, 1: 1, 2: 0, 3: 0}
    assert recorder.read_positions("another.events") == {}
    assert (count_events(recorder), recorder.read_revisions()) == (3, {"north": 1})


#: Each means something in some spelling of rows: arrays as text, JSON.
SPELLINGS = (
    "\\N",
    "\\.",
    "\\",
    "\\\\x41",
    "NULL",
    "null",
    "{a,b}",
    '"',
    'a"b\\',
    "'",
    ",",
    " ",
    "%s",
    ":name",
    "\u00a0",
    "🏗",
)


def test_names_come_back_as_they_were_spelled(recorder: Recorder) -> None:
    log = TopicLog()
    events = [plan_event(name, source=source) for source in SPELLINGS for name in SPELLINGS]
    recorded = record_batch(recorder, *map(log.append, events))
    assert len(recorded.accepted) == len(events)
    with read_transaction(recorder.engine) as connection:
        held = connection.execute(select(tables.ledger.c.source, tables.ledger.c.id, tables.ledger.c.payload)).all()
    assert {(row.source, row.id): decode_stored_event(None, row.payload).id for row in held} == {
        (event["source"], event["id"]): event["id"] for event in events
    }
    assert len(record_batch(recorder, *map(log.append, events)).duplicates) == len(events)
    taken_back = [retraction_event(event["id"], f"r{event['id']}", source=event["source"]) for event in events]
    record_batch(recorder, *map(log.append, taken_back))
    assert planned_date(recorder) is None


def test_an_empty_batch_moves_the_position_alone(recorder: Recorder) -> None:
    recorded = recorder.record(Batch([OffsetRange(TOPIC, 0, 0, 5)], []), fail_on_rejection)
    assert recorded == RecordingResult([], [], [], [], [])
    assert recorder.read_positions(TOPIC)[0] == 5


def test_when_the_rejected_cannot_be_kept_nothing_goes_in(recorder: Recorder) -> None:
    log = TopicLog()
    batch = event_batch(
        [log.append(plan_event("1"), 0), log.append_raw([], b"nonsense", 1), log.append(plan_event("2"), 1)]
    )
    before = order_independent_rows(recorder.engine)

    def fail(_: Sequence[RejectedRecord]) -> None:
        raise ConnectionError("the dead letters are out of reach")

    with pytest.raises(ConnectionError):
        recorder.record(batch, fail)
    assert order_independent_rows(recorder.engine) == before
    assert (recorder.read_positions(TOPIC), recorder.read_revisions()) == ({0: 0, 1: 0, 2: 0, 3: 0}, {})
    kept: list[RejectedRecord] = []
    assert event_ids(recorder.record(batch, kept.extend).accepted) == ["1", "2"]
    assert [(why.record.partition, why.rejection.reason) for why in kept] == [(1, RejectionReason.MALFORMED)]
    assert recorder.read_positions(TOPIC) == {0: 1, 1: 2, 2: 0, 3: 0}


def test_the_rejected_are_handed_over_before_anything_is_to_be_seen(recorder: Recorder) -> None:
    log = TopicLog()
    seen: list[tuple[int, int]] = []

    def look(rejected: Sequence[RejectedRecord]) -> None:
        seen.append((len(rejected), recorder.read_positions(TOPIC)[0]))
        assert count_events(recorder) == 0

    recorder.record(
        event_batch([log.append_raw([], None), log.append(plan_event("1")), log.append_raw([], b"[]")]), look
    )
    assert seen == [(2, 0)]
    assert (recorder.read_positions(TOPIC)[0], count_events(recorder)) == (3, 1)


def test_a_batch_of_rejected_records_moves_the_position_and_changes_no_programme(recorder: Recorder) -> None:
    log = TopicLog()
    recorded = record_batch(recorder, log.append_raw([], None), log.append_raw([], b"{"))
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.MALFORMED,
    ]
    assert (recorded.programme_changes, recorder.read_revisions(), recorder.read_positions(TOPIC)[0]) == ([], {}, 2)


def test_the_ledger_holds_every_event_as_it_came(recorder: Recorder) -> None:
    log = TopicLog()
    entries = [
        log.append(plan_event("1", day=4), 2, binary_record, 77),
        log.append_raw([], structured_record(plan_event("2"))[1], 2, 78),
    ]
    record_batch(recorder, *entries)
    with read_transaction(recorder.engine) as connection:
        rows = connection.execute(select(tables.ledger).order_by(tables.ledger.c.id)).mappings().all()
    assert [(row["topic"], row["partition"], row["offset"], row["appended_ms"]) for row in rows] == [
        (TOPIC, 2, 0, 77),
        (TOPIC, 2, 1, 78),
    ]
    assert [row["payload"] for row in rows] == [entry.value for entry in entries]
    assert [decode_stored_event(row["headers"], row["payload"]) for row in rows] == [entry.outcome for entry in entries]
    assert dict(rows[0]) | {
        "source": "office",
        "type": MILESTONE_REPORTED,
        "programme": "north",
        "project": "wharf",
        "instant": "2026-01-04T12:00:00",
        "retracts": None,
        "retracted": False,
    } == dict(rows[0])


def test_text_with_nul_and_all_of_unicode_is_kept(recorder: Recorder) -> None:
    odd = "NUL \0, \N{LINE SEPARATOR}, \x85, \uffff, e\N{COMBINING ACUTE ACCENT}, 🏗, '; DROP TABLE ledger; --"
    log = TopicLog()
    name = {"name": odd, "investment": {"amount": 0.1, "currency": "EUR"}, "jobs": 2**63 - 1}
    data = {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01", "remark": odd, "party": odd}
    events = [
        event_json(PROGRAMME_REGISTERED, "🏗é'\"\\$[0]", name, subject="north", source="/Über/büro 🏗\uffff"),
        event_json(PROJECT_REGISTERED, "2", name),
        event_json(MILESTONE_REPORTED, "3", data | {"amount": {"amount": 1e300, "currency": "EUR"}}),
    ]
    recorded = record_batch(recorder, *[log.append(event) for event in events])
    assert len(recorded.accepted) == 3
    facts, _ = load_facts(recorder)
    assert state_of_facts(facts, DAY) == expected_state(events, DAY)
    assert facts.milestones[GATE].amount == Money(1e300, "EUR")
    again = [log.append(event, 1, binary_record) for event in events]
    assert len(record_batch(recorder, *again).duplicates) == 3
    # What a fold from the ledger reads is the same.
    record_batch(recorder, log.append(retraction_event("none", subject="north/wharf"), 2))
    record_batch(recorder, log.append(plan_event("4", day=9), 2), log.append(retraction_event("4", "r4", day=10), 2))
    assert state_of_facts(load_facts(recorder)[0], DAY)[1:3] == expected_state(events, DAY)[1:3]


def test_the_longest_names_can_be_kept(recorder: Recorder) -> None:
    chance = Random(3)  # noqa: S311 - letters that do not compress
    longest = "".join(chr(chance.randrange(0x10000, 0x10FFFF)) for _ in range(255))
    slug = "x" * 64
    log = TopicLog()
    far = {"milestone": slug, "after": {"project": slug, "milestone": slug}}
    events = [
        plan_event(longest, source=longest, subject=f"{slug}/{slug}"),
        retraction_event(longest, longest[::-1], source=longest, subject=f"{slug}/{slug}"),
        event_json("milepost.dependency.declared.v1", "d", far, subject=f"{slug}/{slug}"),
    ]
    recorded = record_batch(recorder, *[log.append(event) for event in events])
    assert (len(recorded.accepted), recorded.rejected) == (3, [])
    assert state_of_facts(load_facts(recorder)[0], DAY) == expected_state(events, DAY)


def test_an_instant_of_any_number_of_digits_is_kept(recorder: Recorder) -> None:
    log = TopicLog()
    nines = plan_event("nines") | {"time": f"2026-01-01T12:00:00.{'9' * 50_000}Z"}
    later = plan_event("later", "2026-07-01") | {"time": f"2026-01-01T12:00:00.{'9' * 50_001}Z"}
    assert len(record_batch(recorder, log.append(later), log.append(nines)).accepted) == 2
    assert planned_date(recorder) == "2026-07-01"


def test_a_batch_of_two_thousand_events_says_what_the_contract_says(recorder: Recorder) -> None:
    log = TopicLog()
    events = random_events(9, 2000, with_dependencies=True)
    entries = [log.append(event, number % 4, binary_record) for number, event in enumerate(events)]
    recorded = record_batch(recorder, *entries)
    assert len(recorded.accepted) == 2000
    assert [change.programme for change in recorded.programme_changes] == ["programme-0", "programme-1", "programme-2"]
    assert state_of_facts(load_facts(recorder)[0], DAY) == expected_state(events, DAY)
    again = [log.append(event, (number + 1) % 4) for number, event in enumerate(events)]
    repeated = record_batch(recorder, *again)
    assert (len(repeated.duplicates), repeated.accepted, repeated.programme_changes) == (2000, [], [])


def test_a_projects_facts_are_read_for_the_programmes_that_are_asked_for(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(
        recorder, *[log.append(plan_event(name, subject=f"{name}/wharf")) for name in ("north", "south", "n.2")]
    )
    facts, revisions = load_facts(recorder, ["north", "n.2", "nowhere"])
    assert revisions == {"north": 1, "n.2": 1}
    assert facts.existing_projects() == {ProjectKey("north", "wharf"), ProjectKey("n.2", "wharf")}
