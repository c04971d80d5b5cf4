"""The store's promises, on both databases."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

import models.domain.events
from models.database import tables
from models.database.claims import load_changed_since
from models.database.engine import (
    DatabaseError,
    ErrorKind,
    check_schema,
    classify_error,
    make_engine,
    read_transaction,
    write_transaction,
)
from models.database.ledger import DecodedRecord, RejectedRecord, decode_stored_event
from models.database.migrate import migrate
from models.database.positions import OffsetRange, PositionReset, StartOffset, TopicRecreatedError, reset_positions
from models.database.recorder import Batch, ProgrammeChange, Recorder, RecordingResult
from models.domain.claims import MilestoneKey, ProjectKey
from models.domain.events import Money, RejectionReason
from models.errors import ConcurrentWriteError
from tests.helpers.event_generators import binary_record, random_events, structured_record
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
)
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    event_batch,
    expected_state,
    fail_on_rejection,
    migrated_engine,
    order_independent_rows,
    state_of_facts,
)

DAY = date(2026, 3, 12)
GATE = MilestoneKey("north", "wharf", "permit-approved")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a migrated database, each kind in turn."""
    with migrated_engine(database_url) as engine:
        yield engine


@pytest.fixture
def store(engine: Engine) -> Recorder:
    """Give a store that takes up four partitions, empty so far."""
    return begun(engine)


@pytest.fixture
def shared(postgresql_url: str) -> Iterator[Recorder]:
    """Give the same on PostgreSQL alone, where there may be two writers."""
    with migrated_engine(postgresql_url) as engine:
        yield begun(engine)


def begun(engine: Engine) -> Recorder:
    store = Recorder(engine)
    store.resolve_start_offsets(TOPIC, dict.fromkeys(range(4), (0, 0)))
    return store


def said(  # noqa: PLR0913 - each of them can decide
    type_: str, name: str, data: dict[str, Any], *, subject: str = "north/wharf", source: str = "office", day: int = 1
) -> JsonEvent:
    return {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": type_,
        "subject": subject,
        "time": f"2026-01-{day:02}T12:00:00Z",
        "data": data,
    }


def plan(name: str, when: str = "2026-06-01", **more: Any) -> JsonEvent:  # noqa: ANN401 - as in `said`
    return said(MILESTONE_REPORTED, name, {"milestone": "permit-approved", "classifier": "PLN", "date": when}, **more)


def retraction(of: str, name: str = "r", **more: Any) -> JsonEvent:  # noqa: ANN401 - as in `said`
    return said(EVENT_RETRACTED, name, {"retracts": of, "reason": "incorrect_data"}, **more)


def planned(store: Recorder) -> str | None:
    """Give the planned date of the one gate."""
    milestone = store.load_facts()[0].milestones.get(GATE)
    return milestone.planned.date.isoformat() if milestone and milestone.planned else None


def ids(entries: Sequence[DecodedRecord]) -> list[str]:
    return [entry.outcome.id for entry in entries if not isinstance(entry.outcome, models.domain.events.Rejection)]


def record(store: Recorder, *entries: DecodedRecord) -> RecordingResult:
    """Record a batch of which something may be rejected."""
    told: list[RejectedRecord] = []
    recorded = store.record(event_batch(entries), told.extend)
    assert told == list(recorded.rejected)
    return recorded


def row_count(store: Recorder, table: str) -> int:
    with read_transaction(store.engine) as connection:
        return connection.scalar(select(func.count()).select_from(tables.metadata.tables[table])) or 0


# One batch, one transaction.


def test_a_batch_goes_in_with_its_positions(store: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan("1"), 0), log.append(plan("2", day=2), 1), log.append(plan("3", day=3), 0)]
    recorded = record(store, *entries)
    assert ids(recorded.accepted) == ["1", "2", "3"]
    assert (recorded.duplicates, recorded.rejected, recorded.stale_partitions) == ([], [], [])
    assert recorded.programme_changes == [ProgrammeChange("north", 1, 0)]
    assert store.read_positions(TOPIC) == {0: 2, 1: 1, 2: 0, 3: 0}
    assert store.read_positions("another.events") == {}
    assert (store.count_events(), store.read_revisions()) == (3, {"north": 1})


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


def test_names_come_back_as_they_were_spelled(store: Recorder) -> None:
    log = TopicLog()
    events = [plan(name, source=source) for source in SPELLINGS for name in SPELLINGS]
    recorded = record(store, *map(log.append, events))
    assert len(recorded.accepted) == len(events)
    with read_transaction(store.engine) as connection:
        held = connection.execute(select(tables.ledger.c.source, tables.ledger.c.id, tables.ledger.c.payload)).all()
    assert {(row.source, row.id): decode_stored_event(None, row.payload).id for row in held} == {
        (event["source"], event["id"]): event["id"] for event in events
    }
    assert len(record(store, *map(log.append, events)).duplicates) == len(events)
    taken_back = [retraction(event["id"], f"r{event['id']}", source=event["source"]) for event in events]
    record(store, *map(log.append, taken_back))
    assert planned(store) is None


def test_an_empty_batch_moves_the_position_alone(store: Recorder) -> None:
    recorded = store.record(Batch([OffsetRange(TOPIC, 0, 0, 5)], []), fail_on_rejection)
    assert recorded == RecordingResult([], [], [], [], [])
    assert store.read_positions(TOPIC)[0] == 5


def test_when_the_rejected_cannot_be_kept_nothing_goes_in(store: Recorder) -> None:
    log = TopicLog()
    batch = event_batch([log.append(plan("1"), 0), log.append_raw([], b"nonsense", 1), log.append(plan("2"), 1)])
    before = order_independent_rows(store.engine)

    def fail(_: Sequence[RejectedRecord]) -> None:
        raise ConnectionError("the dead letters are out of reach")

    with pytest.raises(ConnectionError):
        store.record(batch, fail)
    assert order_independent_rows(store.engine) == before
    assert (store.read_positions(TOPIC), store.read_revisions()) == ({0: 0, 1: 0, 2: 0, 3: 0}, {})
    kept: list[RejectedRecord] = []
    assert ids(store.record(batch, kept.extend).accepted) == ["1", "2"]
    assert [(why.record.partition, why.rejection.reason) for why in kept] == [(1, RejectionReason.MALFORMED)]
    assert store.read_positions(TOPIC) == {0: 1, 1: 2, 2: 0, 3: 0}


def test_the_rejected_are_handed_over_before_anything_is_to_be_seen(store: Recorder) -> None:
    log = TopicLog()
    seen: list[tuple[int, int]] = []

    def look(rejected: Sequence[RejectedRecord]) -> None:
        seen.append((len(rejected), store.read_positions(TOPIC)[0]))
        assert store.count_events() == 0

    store.record(event_batch([log.append_raw([], None), log.append(plan("1")), log.append_raw([], b"[]")]), look)
    assert seen == [(2, 0)]
    assert (store.read_positions(TOPIC)[0], store.count_events()) == (3, 1)


def test_a_batch_of_rejected_records_moves_the_position_and_changes_no_programme(store: Recorder) -> None:
    log = TopicLog()
    recorded = record(store, log.append_raw([], None), log.append_raw([], b"{"))
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.MALFORMED,
    ]
    assert (recorded.programme_changes, store.read_revisions(), store.read_positions(TOPIC)[0]) == ([], {}, 2)


def test_the_ledger_holds_every_event_as_it_came(store: Recorder) -> None:
    log = TopicLog()
    entries = [
        log.append(plan("1", day=4), 2, binary_record, 77),
        log.append_raw([], structured_record(plan("2"))[1], 2, 78),
    ]
    record(store, *entries)
    with read_transaction(store.engine) as connection:
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


def test_text_with_nul_and_all_of_unicode_is_kept(store: Recorder) -> None:
    odd = "NUL \0, \N{LINE SEPARATOR}, \x85, \uffff, e\N{COMBINING ACUTE ACCENT}, 🏗, '; DROP TABLE ledger; --"
    log = TopicLog()
    name = {"name": odd, "investment": {"amount": 0.1, "currency": "EUR"}, "jobs": 2**63 - 1}
    data = {"milestone": "permit-approved", "classifier": "PLN", "date": "2026-06-01", "remark": odd, "party": odd}
    events = [
        said(PROGRAMME_REGISTERED, "🏗é'\"\\$[0]", name, subject="north", source="/Über/büro 🏗\uffff"),
        said(PROJECT_REGISTERED, "2", name),
        said(MILESTONE_REPORTED, "3", data | {"amount": {"amount": 1e300, "currency": "EUR"}}),
    ]
    recorded = record(store, *[log.append(event) for event in events])
    assert len(recorded.accepted) == 3
    facts, _ = store.load_facts()
    assert state_of_facts(facts, DAY) == expected_state(events, DAY)
    assert facts.milestones[GATE].amount == Money(1e300, "EUR")
    again = [log.append(event, 1, binary_record) for event in events]
    assert len(record(store, *again).duplicates) == 3
    # What a fold from the ledger reads is the same.
    record(store, log.append(retraction("none", subject="north/wharf"), 2))
    record(store, log.append(plan("4", day=9), 2), log.append(retraction("4", "r4", day=10), 2))
    assert state_of_facts(store.load_facts()[0], DAY)[1:3] == expected_state(events, DAY)[1:3]


def test_the_longest_names_can_be_kept(store: Recorder) -> None:
    chance = Random(3)  # noqa: S311 - letters that do not compress
    longest = "".join(chr(chance.randrange(0x10000, 0x10FFFF)) for _ in range(255))
    slug = "x" * 64
    log = TopicLog()
    far = {"milestone": slug, "after": {"project": slug, "milestone": slug}}
    events = [
        plan(longest, source=longest, subject=f"{slug}/{slug}"),
        retraction(longest, longest[::-1], source=longest, subject=f"{slug}/{slug}"),
        said("milepost.dependency.declared.v1", "d", far, subject=f"{slug}/{slug}"),
    ]
    recorded = record(store, *[log.append(event) for event in events])
    assert (len(recorded.accepted), recorded.rejected) == (3, [])
    assert state_of_facts(store.load_facts()[0], DAY) == expected_state(events, DAY)


def test_an_instant_of_any_number_of_digits_is_kept(store: Recorder) -> None:
    log = TopicLog()
    nines = plan("nines") | {"time": f"2026-01-01T12:00:00.{'9' * 50_000}Z"}
    later = plan("later", "2026-07-01") | {"time": f"2026-01-01T12:00:00.{'9' * 50_001}Z"}
    assert len(record(store, log.append(later), log.append(nines)).accepted) == 2
    assert planned(store) == "2026-07-01"


def test_a_batch_of_two_thousand_events_says_what_the_contract_says(store: Recorder) -> None:
    log = TopicLog()
    events = random_events(9, 2000, with_dependencies=True)
    entries = [log.append(event, number % 4, binary_record) for number, event in enumerate(events)]
    recorded = record(store, *entries)
    assert len(recorded.accepted) == 2000
    assert [change.programme for change in recorded.programme_changes] == ["programme-0", "programme-1", "programme-2"]
    assert state_of_facts(store.load_facts()[0], DAY) == expected_state(events, DAY)
    again = [log.append(event, (number + 1) % 4) for number, event in enumerate(events)]
    repeated = record(store, *again)
    assert (len(repeated.duplicates), repeated.accepted, repeated.programme_changes) == (2000, [], [])


# Duplicates and conflicts.


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
@pytest.mark.parametrize("partition", [0, 1], ids=["in one partition", "in two"])
@pytest.mark.parametrize("mode", [structured_record, binary_record])
def test_a_duplicate_is_counted_and_not_applied(
    store: Recorder, *, apart: bool, partition: int, mode: Callable[[JsonEvent], Any]
) -> None:
    log = TopicLog()
    one, other = log.append(plan("1")), log.append(plan("1"), partition, mode)
    batches = [[one], [other]] if apart else [[one, other]]
    recorded = [record(store, *batch) for batch in batches]
    assert [len(told.accepted) for told in recorded] == ([1, 0] if apart else [1])
    assert [entry for told in recorded for entry in told.duplicates] == [other]
    assert [told.rejected for told in recorded] == [[]] * len(batches)
    assert [told.programme_changes for told in recorded] == [[ProgrammeChange("north", 1, 0)], []][: len(batches)]
    assert store.read_revisions() == {"north": 1}
    assert store.count_events() == 1


def test_the_ledger_is_not_searched_for_events_after_a_batch_that_was_all_new_until_one_is_not(store: Recorder) -> None:
    log, searches = TopicLog(), 0

    def note(*told: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        nonlocal searches
        searches += told[2].lstrip().startswith("SELECT ledger")

    event.listen(store.engine, "before_cursor_execute", note)
    searched, duplicates = [], []
    for names in (["1"], ["2", "3"], ["4", "2", "5"], ["5", "6"], ["7"], ["8"], ["1", "8"], ["9"]):
        before = searches
        recorded = record(store, *(log.append(plan(name)) for name in names))
        searched.append(searches - before)
        duplicates.append(len(recorded.duplicates))
    assert duplicates == [0, 0, 1, 1, 0, 0, 2, 0]
    # The first, and from one that turns out not to be all new to the next that is; what is retracted always is.
    assert searched == [1, 0, 1, 1, 1, 0, 1, 1]
    assert (store.count_events(), store.read_revisions()) == (9, {"north": 7})


def test_a_conflict_among_events_that_were_taken_for_new_is_rejected_once(store: Recorder) -> None:
    log = TopicLog()
    assert ids(record(store, log.append(plan("1"))).accepted) == ["1"]
    recorded = record(store, log.append(plan("2")), log.append(plan("1", "2026-07-01")), log.append(plan("3")))
    assert (ids(recorded.accepted), conflicts(recorded)) == (["2", "3"], [2])
    assert planned(store) == "2026-06-01"


def test_a_retraction_among_events_that_were_taken_for_new_strikes_what_is_known(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1")))
    record(store, log.append(plan("2", "2026-07-01", day=2)))
    recorded = record(store, log.append(retraction("2")), log.append(retraction("later", "r-2")))
    assert (ids(recorded.accepted), planned(store)) == (["r", "r-2"], "2026-06-01")
    # Its place is held: it is not new.
    recorded = record(store, log.append(plan("later", "2026-08-01", day=3)), log.append(plan("3", day=1)))
    assert (ids(recorded.accepted), planned(store)) == (["3", "later"], "2026-06-01")


def test_a_time_spelled_otherwise_and_an_unknown_field_make_no_other_event(store: Recorder) -> None:
    log = TopicLog()
    event = plan("1")
    other = event | {"time": "2026-01-01T14:00:00.000+02:00", "data": event["data"] | {"colour": "blue"}}
    assert len(record(store, log.append(event), log.append(other)).duplicates) == 1


def conflicts(recorded: RecordingResult) -> list[int]:
    """Give the offsets of the conflicting duplicates; nothing else may be rejected."""
    assert {rejected.rejection.reason for rejected in recorded.rejected} <= {RejectionReason.CONFLICTING_DUPLICATE}
    return sorted(rejected.record.offset for rejected in recorded.rejected)


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in two"])
@pytest.mark.parametrize(
    "other",
    [
        plan("1", "2026-07-01"),
        plan("1", day=2),
        plan("1", subject="south/wharf"),
        plan("1", subject="north/pier"),
        plan("1") | {"correlationid": "c"},
        plan("1") | {"recordedtime": "2026-01-01T12:00:00Z"},
        said(MILESTONE_CANCELLED, "1", {"milestone": "permit-approved"}),
        retraction("2", "1"),
    ],
)
def test_the_same_name_with_other_content_is_a_conflict_and_leaves_no_trace(
    store: Recorder, *, apart: bool, other: JsonEvent
) -> None:
    log = TopicLog()
    one, conflicting = log.append(plan("1")), log.append(other)
    if apart:
        record(store, one)
        before = order_independent_rows(store.engine)
        recorded = record(store, conflicting)
        assert order_independent_rows(store.engine) == before
        assert recorded.programme_changes == []
    else:
        recorded = record(store, one, conflicting)
    assert conflicts(recorded) == [1]
    [rejected] = recorded.rejected
    assert (rejected.rejection.source, rejected.rejection.type) == ("office", other["type"])
    assert state_of_facts(store.load_facts()[0], DAY) == expected_state([plan("1")], DAY)
    assert (row_count(store, "ledger"), store.read_revisions()) == (1, {"north": 1})
    assert store.read_positions(TOPIC)[0] == 2


def test_the_same_name_of_another_source_is_another_event(store: Recorder) -> None:
    log = TopicLog()
    recorded = record(store, log.append(plan("1")), log.append(plan("1", "2026-07-01", source="Office")))
    assert len(recorded.accepted) == 2


def test_the_event_that_was_known_before_the_batch_decides_what_is_a_conflict_in_it(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1")))
    other = plan("1", "2026-07-01")
    recorded = record(store, log.append(other), log.append(plan("1")), log.append(other))
    assert conflicts(recorded) == [1, 3]
    assert [entry.offset for entry in recorded.duplicates] == [2]


def test_a_conflicting_event_that_is_repeated_is_rejected_each_time(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1")))
    other = plan("1", "2026-07-01")
    assert conflicts(record(store, log.append(other), log.append(other, encode=binary_record))) == [1, 2]


def test_a_retraction_that_is_rejected_as_a_conflict_takes_nothing_back(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1")), log.append(plan("2", "2026-07-01", day=2)))
    before = order_independent_rows(store.engine)
    # Of an event that is there, of one that comes with it, and of one that never came.
    for taken_back in ("2", "3", "never"):
        recorded = record(store, log.append(retraction(taken_back, "1")))
        assert len(conflicts(recorded)) == 1
        assert order_independent_rows(store.engine) == before
    recorded = record(store, log.append(retraction("3", "1")), log.append(plan("3", "2026-08-01", day=3)))
    assert (len(conflicts(recorded)), ids(recorded.accepted)) == (1, ["3"])
    assert planned(store) == "2026-08-01"
    assert row_count(store, "ledger") == 3
    assert len(record(store, log.append(plan("never", day=4))).accepted) == 1


def test_a_conflict_with_a_retracted_event_is_a_conflict_all_the_same(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(retraction("1")), log.append(plan("1")))
    recorded = record(store, log.append(plan("1", "2026-07-01")), log.append(plan("1")))
    assert conflicts(recorded) == [2]
    assert [entry.offset for entry in recorded.duplicates] == [3]
    assert planned(store) is None


# Retractions.


def splits(events: Sequence[JsonEvent]) -> Iterator[list[list[JsonEvent]]]:
    """Give every order of events, in one batch and in one for each."""
    for order in permutations(events):
        yield [list(order)]
        yield [[event] for event in order]


def after(store: Recorder, log: TopicLog, batches: Sequence[Sequence[JsonEvent]]) -> Counter[str]:
    """Record batches; tell how many events were accepted, duplicate, rejected."""
    told: Counter[str] = Counter()
    for batch in batches:
        recorded = record(store, *[log.append(event) for event in batch])
        told.update(
            accepted=len(recorded.accepted), duplicates=len(recorded.duplicates), rejected=len(recorded.rejected)
        )
    return told


WAITS = {"milestone": "permit-approved", "after": {"project": "basin", "milestone": "park-commissioned"}}
RETRACTIONS = {
    "of the only event": [plan("1"), retraction("1")],
    "of the newer of two": [plan("1"), plan("2", "2026-07-01", day=2), retraction("2")],
    "of the older of two": [plan("1"), plan("2", "2026-07-01", day=2), retraction("1")],
    "of an event that never comes": [plan("1"), retraction("never")],
    "of a retraction": [plan("1"), retraction("1"), retraction("r", "rr")],
    "of itself": [plan("1"), retraction("r")],
    "of each other": [retraction("s", "r"), retraction("r", "s"), plan("1")],
    "by another source": [plan("1"), retraction("1", source="Office")],
    "by two events": [plan("1"), retraction("1", "r1"), retraction("1", "r2", subject="south/dock")],
    "under another programme": [plan("1"), retraction("1", subject="south/dock")],
    "under another project": [plan("1"), retraction("1", subject="north/pier")],
    "stamped long before": [plan("1", day=20), retraction("1")],
    "of a programme's registration": [
        said(PROGRAMME_REGISTERED, "1", {"name": "North", "jobs": 5}, subject="north"),
        said(PROGRAMME_REGISTERED, "2", {"name": "New North"}, subject="north", day=2),
        retraction("2"),
    ],
    "of a programme's only registration": [
        said(PROGRAMME_REGISTERED, "1", {"name": "North"}, subject="north"),
        retraction("1", subject="south/dock"),
    ],
    "of a site": [said(PROJECT_REGISTERED, "1", {"site": "basin", "name": "Wharf"}), retraction("1")],
    "of a cancellation": [
        plan("1"),
        said(MILESTONE_CANCELLED, "2", {"milestone": "permit-approved"}, day=2),
        retraction("2"),
    ],
    "of a claim that neither stands nor is the baseline": [
        plan("1"),
        plan("2", "2026-07-01", day=2),
        plan("3", "2026-08-01", day=3),
        retraction("2"),
    ],
    "of a registration whose site a newer one does not name": [
        said(PROJECT_REGISTERED, "1", {"site": "basin", "name": "Wharf"}),
        said(PROJECT_REGISTERED, "2", {"site": "quay", "name": "New Wharf"}, day=2),
        retraction("1"),
    ],
    "of a withdrawal that a newer one repeats": [
        said(PROJECT_WITHDRAWN, "1", {}),
        said(PROJECT_WITHDRAWN, "2", {}, day=2),
        retraction("1"),
    ],
    "of a declaration that a newer one replaces": [
        said(DEPENDENCY_DECLARED, "1", WAITS | {"lag_days": 5}),
        said(DEPENDENCY_DECLARED, "2", WAITS, day=2),
        retraction("1"),
    ],
    "of a declaration that stands": [
        said(DEPENDENCY_DECLARED, "1", WAITS | {"lag_days": 5}),
        said(DEPENDENCY_DECLARED, "2", WAITS, day=2),
        retraction("2"),
    ],
}


@pytest.mark.parametrize("events", RETRACTIONS.values(), ids=RETRACTIONS)
def test_a_retraction_counts_in_any_order(database_url: str, events: list[JsonEvent]) -> None:
    expected = expected_state(events, DAY)
    with migrated_engine(database_url) as engine:
        rows = []
        for batches in splits(events):
            with write_transaction(engine) as connection:
                for table in tables.metadata.sorted_tables:
                    connection.execute(table.delete())
            store = begun(engine)
            assert after(store, TopicLog(), batches) == Counter(accepted=len(events), duplicates=0, rejected=0)
            assert state_of_facts(store.load_facts()[0], DAY) == expected
            assert store.count_events() == len(events)
            rows.append(order_independent_rows(engine))
        assert all(row == rows[0] for row in rows)


def test_the_ledger_is_read_for_a_retraction_only_when_the_claim_that_is_lost_stands(store: Recorder) -> None:
    log, folds = TopicLog(), 0

    def note(*told: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        nonlocal folds
        folds += told[2].lstrip().startswith("SELECT ledger.type")

    after(store, log, [[plan(str(day), f"2026-06-{day:02}", day=day)] for day in range(1, 6)])
    before, revision = store.load_facts()[0], store.read_revisions()["north"]
    event.listen(store.engine, "before_cursor_execute", note)
    after(store, log, [[retraction("3", "r3"), retraction("2", "r2")]])
    assert (folds, store.load_facts()[0].milestones, planned(store)) == (0, before.milestones, "2026-06-05")
    # Whoever drew the revision before reads all of it again.
    with read_transaction(store.engine) as connection:
        assert load_changed_since(connection, {"north": revision}).facts.milestones == before.milestones
    after(store, log, [[retraction("5", "r5")]])
    assert (folds, planned(store)) == (1, "2026-06-04")
    # The oldest is the baseline.
    after(store, log, [[retraction("1", "r1")]])
    baseline = store.load_facts()[0].milestones[GATE].baseline
    assert (folds, baseline and baseline.date) == (2, date(2026, 6, 4))


def test_a_retracted_event_delivered_again_stays_retracted(store: Recorder) -> None:
    log = TopicLog()
    after(store, log, [[plan("1")], [retraction("1")]])
    assert after(store, log, [[plan("1")], [retraction("1"), plan("1")]]) == Counter(
        accepted=0, duplicates=3, rejected=0
    )
    assert planned(store) is None


def test_a_claim_said_again_under_a_new_id_counts(store: Recorder) -> None:
    log = TopicLog()
    after(store, log, [[plan("1")], [retraction("1")], [plan("2")]])
    assert planned(store) == "2026-06-01"


# Positions.


def test_a_position_behind_the_batch_makes_it_stale_and_nothing_is_written(store: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan(str(number))) for number in range(4)]
    record(store, entries[0])
    before = order_independent_rows(store.engine)
    recorded = record(store, *entries[2:])
    assert recorded == RecordingResult([], [], [], [], [(TOPIC, 0)])
    assert order_independent_rows(store.engine) == before
    assert store.read_positions(TOPIC)[0] == 1


def test_a_position_beyond_the_batch_means_it_is_done_already(store: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan(str(number))) for number in range(4)]
    record(store, *entries)
    assert record(store, *entries[:3]) == RecordingResult([], [], [], [], [])
    assert record(store, *entries) == RecordingResult([], [], [], [], [])
    assert store.read_positions(TOPIC)[0] == 4


def test_of_a_batch_that_is_partly_done_only_the_rest_is(store: Recorder) -> None:
    log = TopicLog()
    entries = [log.append(plan("0")), log.append_raw([], b"1"), log.append(plan("2")), log.append_raw([], b"3")]
    record(store, *entries[:2])
    recorded = record(store, *entries)
    assert ids(recorded.accepted) == ["2"]
    assert [rejected.record.offset for rejected in recorded.rejected] == [3]
    assert (recorded.duplicates, store.read_positions(TOPIC)[0]) == ([], 4)


def test_a_partition_that_was_never_taken_up_is_stale(store: Recorder) -> None:
    log = TopicLog()
    assert record(store, log.append(plan("1"), 9)).stale_partitions == [(TOPIC, 9)]
    assert (store.count_events(), 9 in store.read_positions(TOPIC)) == (0, False)


def test_of_several_partitions_each_is_judged_by_itself(store: Recorder) -> None:
    log = TopicLog()
    entries = {partition: [log.append(plan(f"{partition}-{n}"), partition) for n in range(3)] for partition in range(3)}
    record(store, *entries[1])
    recorded = record(store, entries[0][0], *entries[1], *entries[2][1:])
    assert ids(recorded.accepted) == ["0-0"]
    assert recorded.stale_partitions == [(TOPIC, 2)]
    assert store.read_positions(TOPIC) == {0: 1, 1: 3, 2: 0, 3: 0}


def test_the_rejected_of_a_batch_that_is_done_or_stale_are_not_rejected_again(store: Recorder) -> None:
    log = TopicLog()
    entries = [log.append_raw([], b"nonsense") for _ in range(3)]
    record(store, entries[0])
    assert store.record(event_batch(entries[:1]), fail_on_rejection).rejected == []
    assert store.record(event_batch(entries[2:]), fail_on_rejection).stale_partitions == [(TOPIC, 0)]


def test_positions_of_topics_of_one_name_and_another_are_kept_apart(store: Recorder) -> None:
    assert store.resolve_start_offsets("other.events", {0: (7, 9)}) == {0: StartOffset(7)}
    assert store.read_positions("other.events") == {0: 7}
    assert store.read_positions(TOPIC) == {0: 0, 1: 0, 2: 0, 3: 0}


def test_a_partition_is_taken_up_where_the_database_says(engine: Engine) -> None:
    store = Recorder(engine)
    # Never read: from the start of its log, and nothing is missed.
    assert store.resolve_start_offsets(TOPIC, {0: (0, 100), 1: (40, 100), 2: (0, 0)}) == {
        0: StartOffset(0),
        1: StartOffset(40),
        2: StartOffset(0),
    }
    with write_transaction(engine) as connection:
        connection.execute(update(tables.positions).where(tables.positions.c.partition == 0).values(next_offset=50))
    # Inside of the log, and at either end of it.
    assert store.resolve_start_offsets(TOPIC, {0: (0, 100)}) == {0: StartOffset(50)}
    assert store.resolve_start_offsets(TOPIC, {0: (0, 50)}) == {0: StartOffset(50)}
    assert store.resolve_start_offsets(TOPIC, {0: (50, 100)}) == {0: StartOffset(50)}
    # Records were deleted before they were read: they are counted once.
    assert store.resolve_start_offsets(TOPIC, {0: (60, 100)}) == {0: StartOffset(60, missed=10)}
    assert store.resolve_start_offsets(TOPIC, {0: (60, 100)}) == {0: StartOffset(60)}
    assert store.read_positions(TOPIC) == {0: 60, 1: 40, 2: 0}


def test_a_position_beyond_the_end_of_the_log_means_another_log_and_changes_nothing(engine: Engine) -> None:
    store = Recorder(engine)
    store.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9)})
    with pytest.raises(TopicRecreatedError) as error:
        store.resolve_start_offsets(TOPIC, {0: (6, 9), 1: (0, 7)})
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(
        "milepost.events:1 ends at offset 7, but the database has read up to 8: the topic was made anew"
    )
    assert store.read_positions(TOPIC) == {0: 5, 1: 8}


def test_what_there_is_to_do_meanwhile_is_done_once_before_the_batch_is_committed(store: Recorder) -> None:
    seen: list[int] = []
    log = TopicLog()
    for name in ("1", "2"):
        store.record(
            event_batch([log.append(plan(name))]), fail_on_rejection, lambda: seen.append(store.count_events())
        )
    assert seen == [0, 1]


# What the database refuses.


def reject_inserts(connection: Connection, condition: str, table: str = "ledger") -> None:
    """Make the database refuse rows of a table."""
    if connection.dialect.name == "sqlite":
        refusing = "BEGIN SELECT RAISE(ABORT, 'not\nthis'); END"
        connection.execute(text(f"CREATE TRIGGER refusal BEFORE INSERT ON {table} WHEN {condition} {refusing}"))
        return
    body = "BEGIN RAISE EXCEPTION E'not\\nthis'; END"
    connection.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"))
    each = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
    connection.execute(text(f"CREATE TRIGGER refusal BEFORE INSERT ON {table} {each}"))


@pytest.mark.parametrize("bad", [[0], [1], [16], [0, 1], [3, 8, 16], list(range(17))], ids=str)
def test_only_what_the_database_refuses_is_rejected(store: Recorder, bad: list[int]) -> None:
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.id LIKE 'bad%'")
    log = TopicLog()
    names = [f"bad-{number}" if number in bad else f"good-{number}" for number in range(17)]
    entries = [log.append(plan(name), number % 2) for number, name in enumerate(names)]
    recorded = record(store, *entries)
    assert ids([rejected.record for rejected in recorded.rejected]) == []
    assert sorted(ids(recorded.accepted)) == sorted(name for name in names if name.startswith("good"))
    assert {(rejected.record.partition, rejected.record.offset) for rejected in recorded.rejected} == {
        (entries[number].partition, entries[number].offset) for number in bad
    }
    for rejected in recorded.rejected:
        assert (rejected.rejection.reason, rejected.rejection.source) == (RejectionReason.UNSTORABLE, "office")
        assert rejected.rejection.type == MILESTONE_REPORTED
        assert rejected.rejection.detail.startswith("the database refuses it: not this")
        assert len(rejected.rejection.detail.splitlines()) == 1
        assert rejected.record.value is not None
    assert store.read_positions(TOPIC) == {0: 9, 1: 8, 2: 0, 3: 0}
    assert store.count_events() == 17 - len(bad)
    assert store.read_revisions() == ({"north": 1} if len(bad) < 17 else {})


def test_what_is_refused_of_the_winning_claims_is_rejected(store: Recorder) -> None:
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.milestone LIKE 'bad%'", "milestones")
    log = TopicLog()
    entries = [
        log.append(said(MILESTONE_REPORTED, name, {"milestone": name, "classifier": "PLN", "date": "2026-06-01"}))
        for name in ("good", "bad-1", "better", "bad-2")
    ]
    recorded = record(store, *entries)
    assert [(rejected.record.offset, rejected.rejection.reason) for rejected in recorded.rejected] == [
        (1, RejectionReason.UNSTORABLE),
        (3, RejectionReason.UNSTORABLE),
    ]
    assert all("the database refuses it: not this" in rejected.rejection.detail for rejected in recorded.rejected)
    assert ids(recorded.accepted) == ["good", "better"]
    assert {key.milestone for key in store.load_facts()[0].milestones} == {"good", "better"}


def test_one_refused_of_two_thousand_is_found(store: Recorder) -> None:
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.id = '9-1234'")
    log = TopicLog()
    events = random_events(9, 2000)
    recorded = record(store, *[log.append(event) for event in events])
    assert [(rejected.record.offset, rejected.rejection.reason) for rejected in recorded.rejected] == [
        (1234, RejectionReason.UNSTORABLE)
    ]
    assert len(recorded.accepted) == 1999
    assert state_of_facts(store.load_facts()[0], DAY) == expected_state([*events[:1234], *events[1235:]], DAY)


def test_what_is_refused_goes_with_what_was_rejected_before(store: Recorder) -> None:
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    log = TopicLog()
    recorded = record(store, log.append_raw([], None), log.append(plan("bad")), log.append(plan("1")))
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.UNSTORABLE,
    ]
    assert ids(recorded.accepted) == ["1"]


def test_a_refused_retraction_takes_nothing_back(store: Recorder) -> None:
    with write_transaction(store.engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    log = TopicLog()
    entries = [log.append(event) for event in (plan("1"), retraction("1", "bad"), retraction("2", "bad"))]
    recorded = record(store, *entries)
    assert [rejected.rejection.reason for rejected in recorded.rejected] == [RejectionReason.UNSTORABLE] * 2
    assert (planned(store), row_count(store, "ledger")) == ("2026-06-01", 1)


def test_what_is_refused_only_together_is_no_records_fault(store: Recorder) -> None:
    with write_transaction(store.engine) as connection:
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
    entries = [log.append(plan("a")), log.append(plan("b"))]
    with pytest.raises(DBAPIError, match="not both"):
        store.record(event_batch(entries), fail_on_rejection)
    assert (store.count_events(), store.read_positions(TOPIC)[0]) == (0, 0)


# Revisions and changes.


def test_a_revision_is_raised_once_for_each_batch_and_programme_it_touches(store: Recorder) -> None:
    log = TopicLog()
    first = record(
        store,
        log.append(plan("1"), appended_ms=30),
        log.append(plan("2", subject="south/dock"), appended_ms=10),
        log.append(plan("3"), appended_ms=20),
        log.append(plan("4", subject="n.2/dock"), appended_ms=40),
    )
    assert first.programme_changes == [
        ProgrammeChange("n.2", 1, 40),
        ProgrammeChange("north", 1, 20),
        ProgrammeChange("south", 1, 10),
    ]
    second = record(store, log.append(plan("5"), appended_ms=60), log.append(plan("2", subject="south/dock")))
    assert second.programme_changes == [ProgrammeChange("north", 2, 60)]
    assert store.read_revisions() == {"n.2": 1, "north": 2, "south": 1}
    assert store.load_facts(["north"])[1] == {"north": 2}
    assert store.load_facts([])[1] == {}


def test_a_retraction_changes_the_programme_that_loses_an_event_too(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1"), appended_ms=10))
    recorded = record(store, log.append(retraction("1", subject="south/dock"), appended_ms=50))
    assert recorded.programme_changes == [ProgrammeChange("north", 2, 50), ProgrammeChange("south", 1, 50)]
    # A second retraction of the same takes nothing more.
    recorded = record(store, log.append(retraction("1", "r2", subject="south/dock"), appended_ms=60))
    assert recorded.programme_changes == [ProgrammeChange("south", 2, 60)]


def test_the_programme_that_loses_an_event_changed_when_the_retraction_was_appended(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(plan("1"), appended_ms=10))
    recorded = record(
        store,
        log.append(retraction("1", subject="south/dock"), appended_ms=50),
        log.append(plan("2", subject="east/pier"), appended_ms=9000),
    )
    assert recorded.programme_changes == [
        ProgrammeChange("east", 1, 9000),
        ProgrammeChange("north", 2, 50),
        ProgrammeChange("south", 1, 50),
    ]


def test_an_event_that_was_retracted_before_it_came_changes_nothing_but_is_accepted(store: Recorder) -> None:
    log = TopicLog()
    record(store, log.append(retraction("1", subject="south/dock")))
    recorded = record(store, log.append(plan("1")))
    assert ids(recorded.accepted) == ["1"]
    assert state_of_facts(store.load_facts()[0], DAY) == expected_state(
        [retraction("1", subject="south/dock"), plan("1")], DAY
    )


# Two writers at once.


def persist(store: Recorder, batch: Batch, trouble: Counter[str]) -> RecordingResult:
    """Record a batch as the agent does: what passes is tried again."""
    told: list[RejectedRecord] = []
    while True:
        try:
            return store.record(batch, told.extend)
        except Exception as error:
            if classify_error(error) is not ErrorKind.TRANSIENT:
                raise
            trouble[type(getattr(error, "orig", error)).__name__] += 1
            assert sum(trouble.values()) < 1000


class Writers:
    """Two writers who begin each round together."""

    def __init__(self, store: Recorder) -> None:
        self.store = store
        self.trouble: Counter[str] = Counter()
        self._together = threading.Barrier(2, timeout=60)

    def write(self, *shares: Sequence[Sequence[DecodedRecord]]) -> list[list[RecordingResult]]:
        """Record the batches of each writer, and tell what came of them."""

        def write(share: Sequence[Sequence[DecodedRecord]]) -> list[RecordingResult]:
            self._together.wait()
            return [persist(self.store, event_batch(entries), self.trouble) for entries in share]

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(write, shares))


def in_batches(entries: Sequence[DecodedRecord], chance: Random) -> list[list[DecodedRecord]]:
    batches, rest = [], list(entries)
    while rest:
        size = chance.randint(1, 12)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


def test_two_writers_who_get_the_same_events_in_any_order_enter_each_once(shared: Recorder) -> None:
    chance, writers, log = Random(1), Writers(shared), TopicLog()  # noqa: S311 - repeatable choices
    everything: list[JsonEvent] = []
    for number in range(25):
        events = random_events(100 + number, 30, programmes=2, projects=2, with_dependencies=True)
        everything += events
        shares = []
        for partition in (0, 1):
            entries = [log.append(event, partition) for event in chance.sample(events, len(events))]
            shares.append(in_batches(entries, chance))
        recorded = [told for share in writers.write(*shares) for told in share]
        assert sum(len(told.accepted) for told in recorded) == 30
        assert sum(len(told.duplicates) for told in recorded) == 30
        assert [told.rejected for told in recorded] == [[]] * len(recorded)
    assert state_of_facts(shared.load_facts()[0], DAY) == expected_state(everything, DAY)
    assert shared.count_events() == 25 * 30
    # Rows are locked in one order: two workers never wait for each other.
    assert "DeadlockDetected" not in writers.trouble


def test_a_batch_that_another_writer_was_faster_with_is_recorded_at_once(shared: Recorder) -> None:
    log, slower = TopicLog(), list[Future[RecordingResult]]()
    record(shared, log.append(plan("0")))
    batch = event_batch([log.append(plan("1")), log.append_raw([], b"no event")])
    known = [log.append(plan("1"), 1), log.append(plan("2"), 1)]
    with ThreadPoolExecutor(1) as pool:

        def reject(_: Sequence[RejectedRecord]) -> None:
            # It has looked for its events, found neither, and waits for the programme.
            slower.append(pool.submit(Recorder(shared.engine).record, event_batch(known), fail_on_rejection))
            until_it_waits(shared, slower[0])

        shared.record(batch, reject)
        [recorded] = [told.result(60) for told in slower]
    assert (ids(recorded.accepted), recorded.duplicates) == (["2"], known[:1])
    assert (shared.count_events(), shared.read_revisions()) == (3, {"north": 3})


def test_two_writers_with_events_and_their_retractions_agree_with_the_contract(shared: Recorder) -> None:
    chance, writers, log = Random(2), Writers(shared), TopicLog()  # noqa: S311 - repeatable choices
    everything: list[JsonEvent] = []
    for number in range(25):
        subjects = [f"{programme}/{project}" for programme in ("north", "south") for project in ("wharf", "dock")]
        names = [f"{number}-{place}" for place in range(12)]
        claims = [
            plan(name, f"2026-06-{place + 1:02}", subject=chance.choice(subjects), day=place + 1)
            for place, name in enumerate(names)
        ]
        taken_back = [retraction(name, f"r-{name}", subject=chance.choice(subjects)) for name in names]
        everything += claims + taken_back
        shares = []
        for partition, events in enumerate((claims, taken_back)):
            entries = [log.append(event, partition) for event in chance.sample(events, len(events))]
            shares.append(in_batches(entries, chance))
        recorded = [told for share in writers.write(*shares) for told in share]
        assert sum(len(told.accepted) for told in recorded) == 24
        assert state_of_facts(shared.load_facts()[0], DAY) == expected_state(everything, DAY)
    assert "DeadlockDetected" not in writers.trouble


def test_two_writers_with_the_same_partition_record_it_once(shared: Recorder) -> None:
    chance, writers, log = Random(3), Writers(shared), TopicLog()  # noqa: S311 - repeatable choices
    events = random_events(7, 300, programmes=2, projects=3)
    entries = [log.append(event) for event in events]
    batches = in_batches(entries, chance)
    # One of them reads on from where the other stands, so that a batch is never stale.
    for start in range(len(batches)):
        one, other = writers.write([batches[start]], [batches[start]])
        accepted = [len(told.accepted) for told in (*one, *other)]
        assert sorted(accepted) == [0, len(batches[start])]
        assert [told.duplicates for told in (*one, *other)] == [[], []]
    assert state_of_facts(shared.load_facts()[0], DAY) == expected_state(events, DAY)


WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def until_it_waits(store: Recorder, other: Future[Any]) -> None:
    """Return when a writer waits for a lock, or has not had to."""
    with store.engine.connect() as connection:
        while not other.done() and not connection.scalar(WAITING):
            connection.rollback()


def overtaken(
    store: Recorder, log: TopicLog, first: Sequence[JsonEvent], second: Sequence[JsonEvent]
) -> tuple[RecordingResult, RecordingResult]:
    """Let the second writer begin when the first has written everything and not committed."""
    trouble: Counter[str] = Counter()
    entries = [log.append(event, 0) for event in first]
    entries.append(log.append_raw([], b"what makes the store call back"))
    others = event_batch([log.append(event, 1) for event in second])
    began: list[Future[RecordingResult]] = []

    with ThreadPoolExecutor(1) as pool:

        def meanwhile(_: Sequence[RejectedRecord]) -> None:
            began.append(pool.submit(persist, store, others, trouble))
            until_it_waits(store, began[0])

        one = store.record(event_batch(entries), meanwhile)
        other = began[0].result(60)
    return one, other


HELD = retraction("1", "r0", subject="south/dock")
OVERTAKEN: dict[str, tuple[list[JsonEvent], list[JsonEvent], list[JsonEvent]]] = {
    "the same event": ([], [plan("1")], [plan("1")]),
    "the same retraction": ([plan("1")], [retraction("1")], [retraction("1")]),
    "an event and its retraction": ([], [plan("1")], [retraction("1")]),
    "a retraction and its event": ([], [retraction("1")], [plan("1")]),
    "two retractions of one event": ([plan("1")], [retraction("1", "r1")], [retraction("1", "r2")]),
    "two retractions of an event that never came": ([], [retraction("1", "r1")], [retraction("1", "r2")]),
    "two events of one milestone": ([], [plan("1")], [plan("2", "2026-07-01", day=2)]),
    "a newer event, then an older": ([], [plan("1", day=2)], [plan("2", "2026-07-01", day=1)]),
    "a retraction and another event of its subject": (
        [plan("1", day=9)],
        [retraction("1")],
        [plan("2", "2026-07-01", day=2)],
    ),
    "an event and the retraction of another of its subject": (
        [plan("1", day=9)],
        [plan("2", "2026-07-01", day=2)],
        [retraction("1")],
    ),
    "two retractions in one subject": (
        [plan("1"), plan("2", "2026-07-01", day=2), plan("3", "2026-08-01", day=3)],
        [retraction("3", "r3")],
        [retraction("2", "r2")],
    ),
    "programmes in opposite orders": (
        [],
        [plan("1", subject="north/a"), plan("2", subject="south/a")],
        [plan("3", subject="south/b"), plan("4", subject="north/b")],
    ),
    "an event that was retracted before, twice at once": ([HELD], [plan("1")], [plan("1")]),
    "a retraction that was retracted before, twice at once": (
        [retraction("r", "r0"), plan("1")],
        [retraction("1")],
        [retraction("1")],
    ),
}


@pytest.mark.parametrize(("before", "first", "second"), OVERTAKEN.values(), ids=OVERTAKEN)
def test_a_writer_who_waits_for_another_sees_what_that_one_did(
    shared: Recorder, before: list[JsonEvent], first: list[JsonEvent], second: list[JsonEvent]
) -> None:
    log = TopicLog()
    if before:
        record(shared, *[log.append(event, 2) for event in before])
    one, other = overtaken(shared, log, first, second)
    events = [*before, *first, *second]
    assert state_of_facts(shared.load_facts()[0], DAY) == expected_state(events, DAY)
    names = {(event["source"], event["id"]) for event in events}
    assert len(before) + len(one.accepted) + len(other.accepted) == len(names) == shared.count_events()
    assert len(one.duplicates) + len(other.duplicates) == len(events) - len(names)


CONFLICTS: dict[str, tuple[list[JsonEvent], list[JsonEvent], list[JsonEvent]]] = {
    "of two events": ([], [plan("1")], [plan("1", "2026-07-01")]),
    "of an event and a retraction": ([plan("2", day=2)], [plan("1")], [retraction("2", "1")]),
    "of two events that were retracted before": ([HELD], [plan("1")], [plan("1", "2026-07-01")]),
    "of two retractions that were retracted before": (
        [retraction("r", "r0"), plan("1"), plan("2", day=2)],
        [retraction("1")],
        [retraction("2")],
    ),
}


@pytest.mark.parametrize(("before", "first", "second"), CONFLICTS.values(), ids=CONFLICTS)
def test_of_two_writers_with_conflicting_events_one_is_rejected(
    shared: Recorder, before: list[JsonEvent], first: list[JsonEvent], second: list[JsonEvent]
) -> None:
    log = TopicLog()
    if before:
        record(shared, *[log.append(event, 2) for event in before])
    one, other = overtaken(shared, log, first, second)
    assert (len(one.accepted), len(other.accepted)) == (1, 0)
    assert [rejected.rejection.reason for rejected in other.rejected] == [RejectionReason.CONFLICTING_DUPLICATE]
    assert state_of_facts(shared.load_facts()[0], DAY) == expected_state([*before, *first], DAY)


def test_a_conflicting_retraction_does_not_keep_out_what_another_writer_enters(shared: Recorder) -> None:
    log = TopicLog()
    record(shared, log.append(plan("1"), 2))
    one, other = overtaken(shared, log, [retraction("2", "1")], [plan("2", "2026-07-01", day=2)])
    assert [rejected.rejection.reason for rejected in one.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.CONFLICTING_DUPLICATE,
    ]
    assert ids(other.accepted) == ["2"]
    assert (planned(shared), row_count(shared, "ledger")) == ("2026-07-01", 2)


def test_of_two_writers_with_the_same_batch_the_second_does_nothing(shared: Recorder) -> None:
    log = TopicLog()
    batch = event_batch([log.append_raw([], None), log.append(plan("1"))])
    rejected: list[str] = []

    with ThreadPoolExecutor(1) as pool:
        began: list[Future[RecordingResult]] = []

        def meanwhile(_: Sequence[RejectedRecord]) -> None:
            rejected.append("by the first")
            began.append(pool.submit(shared.record, batch, lambda _: rejected.append("by the second")))
            until_it_waits(shared, began[0])

        assert ids(shared.record(batch, meanwhile).accepted) == ["1"]
        assert began[0].result(60) == RecordingResult([], [], [], [], [])
    assert rejected == ["by the first"]


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_programmes_are_locked_in_the_order_of_their_names(shared: Recorder, names: tuple[str, str]) -> None:
    log = TopicLog()
    record(shared, log.append(plan("n", subject="north/a")), log.append(plan("s", subject="south/a")))
    batch = event_batch([log.append(plan(names[0], subject="north/a")), log.append(plan(names[1], subject="south/a"))])
    lock = "SELECT programme FROM programmes WHERE programme = '{}' FOR UPDATE SKIP LOCKED"
    with ThreadPoolExecutor(1) as pool:
        with write_transaction(shared.engine) as holding:
            assert holding.scalar(text(lock.format("north"))) == "north"
            began = pool.submit(shared.record, batch, fail_on_rejection)
            until_it_waits(shared, began)
            # Who waits for the first of them holds none of those behind it.
            with write_transaction(shared.engine) as connection:
                assert connection.scalar(text(lock.format("south"))) == "south"
        assert len(began.result(60).accepted) == 2


def test_two_writers_who_take_up_the_same_partition_for_the_first_time_agree(shared: Recorder) -> None:
    together = threading.Barrier(2, timeout=60)

    def take_up(partition: int) -> dict[int, StartOffset]:
        together.wait()
        return shared.resolve_start_offsets("new.events", {partition: (3, 9)})

    with ThreadPoolExecutor(2) as pool:
        for partition in range(10):
            assert list(pool.map(take_up, (partition, partition))) == [{partition: StartOffset(3)}] * 2


# The schema.


def head() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(Path(models.__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def test_the_schema_this_program_knows_is_the_last_migrations() -> None:
    assert head() == tables.SCHEMA_REVISION


def test_the_migrations_make_exactly_the_tables_of_the_program(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*tables.metadata.tables, "alembic_version"}
        for table in tables.metadata.sorted_tables:
            found = inspect(connection).get_columns(table.name)
            assert [column["name"] for column in found] == [column.name for column in table.c]


def test_names_sort_by_code_point_in_the_database(engine: Engine) -> None:
    names = ["ab", "a.b", "a-z", "B", "é", "🏗", "\uffff", "e\N{COMBINING ACUTE ACCENT}", "a b", "Ab"]
    store = begun(engine)
    log = TopicLog()
    record(store, *[log.append(plan(name)) for name in names])
    with read_transaction(engine) as connection:
        found = connection.scalars(select(tables.ledger.c.id).order_by(tables.ledger.c.id)).all()
    assert found == sorted(names)


def test_names_and_stamps_sort_by_code_point_whatever_the_locale_of_the_server(shared: Recorder) -> None:
    amounts = {"planned_amount", "estimated_amount", "actual_amount"}
    free_text = {"name", "investment", "jobs", "correlationid"} | amounts
    query = text(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text'"
    )
    with read_transaction(shared.engine) as connection:
        found = {(table, column): collation for table, column, collation in connection.execute(query)}
    assert {column for (_, column), collation in found.items() if collation != "C"} == free_text
    assert {found["ledger", "source"], found["milestones", "baseline_stamp"], found["projects", "kind"]} == {"C"}


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    store = begun(engine)
    record(store, TopicLog().append(plan("1")))
    before = order_independent_rows(engine)
    migrate(engine)
    migrate(engine)
    check_schema(engine)
    assert order_independent_rows(engine) == before
    assert store.read_positions(TOPIC)[0] == 1


def test_two_processes_that_prepare_the_same_database_at_once_leave_it_ready(database_url: str) -> None:
    program = (
        "import sys\n"
        "from models.database.engine import DatabaseError, make_engine; from models.database.migrate import migrate\n"
        "engine = make_engine(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: migrate(engine)\n"
        "except DatabaseError as error: print(error)\n"
        "else: print('done')\n"
    )
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    # Whoever comes second waits, and finds it done.
    assert told == [("done\n", "")] * 2
    engine = make_engine(database_url)
    check_schema(engine)
    migrate(engine)
    engine.dispose()


def complaint(engine: Engine) -> str:
    with pytest.raises(DatabaseError) as error:
        check_schema(engine)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_database_without_tables_is_told(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        assert complaint(engine).endswith(" has no tables yet: run `milepost init`")
    finally:
        engine.dispose()


def test_a_database_of_another_schema_is_told(engine: Engine) -> None:
    check_schema(engine)
    for found, told in {
        "0000": f"has schema 0000, this program needs {tables.SCHEMA_REVISION}: run `milepost init`",
        "9999": f"has schema 9999, newer than {tables.SCHEMA_REVISION} which this program knows: update milepost",
    }.items():
        with write_transaction(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
        assert complaint(engine).endswith(told)
    with pytest.raises(DatabaseError, match="has a schema newer than this program knows: update milepost"):
        migrate(engine)


def test_a_server_that_does_not_answer_is_told_without_its_password() -> None:
    engine = make_engine("postgresql://milepost:open-sesame@127.0.0.1:1/milepost")
    line = complaint(engine)
    assert line.startswith("database postgresql+psycopg://milepost:***@127.0.0.1:1/milepost does not answer: ")
    assert "open-sesame" not in line
    with pytest.raises(DatabaseError) as error:
        migrate(engine)
    assert "cannot be prepared" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    engine = make_engine(f"sqlite:///{tmp_path / 'folder'}")
    assert complaint(engine).endswith("does not answer: unable to open database file")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk\n" * 1000)
    engine = make_engine(f"sqlite:///{tmp_path / 'notes.txt'}")
    assert complaint(engine).endswith("does not answer: file is not a database")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "MILEPOST_DATABASE is no SQLAlchemy URL"),
        ("", "MILEPOST_DATABASE is no SQLAlchemy URL"),
        ("mysql://host/name", "MILEPOST_DATABASE: mysql is neither sqlite nor postgresql"),
        ("postgresql+asyncpg://host/name", "MILEPOST_DATABASE: postgresql+asyncpg is neither sqlite nor postgresql"),
    ],
)
def test_a_url_that_cannot_work_is_told(url: str, told: str) -> None:
    with pytest.raises(DatabaseError) as error:
        make_engine(url)
    assert str(error.value).startswith(told)
    assert len(str(error.value).splitlines()) == 1


# What an error means.


def failed(act: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception, match=r".*") as error:
        act()
    return error.value


def execute(engine: Engine, *statements: str, **parameters: object) -> Callable[[], None]:
    def act() -> None:
        with write_transaction(engine) as connection:
            for statement in statements:
                connection.execute(text(statement), parameters)

    return act


POSITION = "INSERT INTO positions VALUES (:topic, 0, 0)"


def test_a_missing_table_or_column_and_wrong_sql_are_bugs(engine: Engine) -> None:
    for statement in (
        "SELECT 1 FROM nowhere",
        "SELECT nothing FROM positions",
        "INSERT INTO positions (nothing) VALUES (1)",
        "SELEKT 1",
    ):
        assert classify_error(failed(execute(engine, statement))) is ErrorKind.BUG, statement


def test_a_broken_rule_of_the_data_is_refused(engine: Engine) -> None:
    execute(engine, POSITION, topic="one")()
    for topic in ("one", None):
        assert classify_error(failed(execute(engine, POSITION, topic=topic))) is ErrorKind.PERMANENT
    with write_transaction(engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    assert (
        classify_error(failed(execute(engine, "INSERT INTO ledger (source, id) VALUES ('a', 'bad')")))
        is ErrorKind.PERMANENT
    )


def test_text_that_is_too_long_is_refused(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        assert classify_error(failed(execute(engine, "SELECT zeroblob(2000000000)"))) is ErrorKind.PERMANENT
        return
    long = "".join(map(chr, Random(1).choices(range(0x4E00, 0x9FFF), k=9000)))  # noqa: S311 - does not compress
    assert classify_error(failed(execute(engine, POSITION, topic=long))) is ErrorKind.PERMANENT
    short = ("CREATE TEMPORARY TABLE short (name varchar(2)) ON COMMIT DROP", "INSERT INTO short VALUES ('abc')")
    assert classify_error(failed(execute(engine, *short))) is ErrorKind.PERMANENT


def test_nul_in_text_is_refused_by_postgresql(shared: Recorder) -> None:
    assert classify_error(failed(execute(shared.engine, POSITION, topic="a\0b"))) is ErrorKind.PERMANENT


def test_a_transaction_that_may_only_read_passes(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # A connection of its own: the pool would hand it on.
        engine = create_engine(engine.url)
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
        assert classify_error(failed(execute(engine, POSITION, topic="one"))) is ErrorKind.TRANSIENT
        engine.dispose()
    else:
        only = "SET TRANSACTION READ ONLY"
        assert classify_error(failed(execute(engine, only, POSITION, topic="one"))) is ErrorKind.TRANSIENT


def test_a_server_that_does_not_answer_passes() -> None:
    engine = make_engine("postgresql://milepost@127.0.0.1:1/milepost")
    error = failed(engine.connect)
    assert isinstance(error, OperationalError)
    assert classify_error(error) is ErrorKind.TRANSIENT


def test_a_connection_that_is_cut_passes(shared: Recorder) -> None:
    def cut(connection: Connection) -> None:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with write_transaction(shared.engine) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    with shared.engine.connect() as connection:
        cut(connection)
        assert classify_error(failed(lambda: connection.execute(text("SELECT 1")))) is ErrorKind.TRANSIENT
    # In the middle of a batch: nothing of it is there, and the same batch goes in afterwards.
    log = TopicLog()
    batch = event_batch([log.append(plan("1")), log.append_raw([], None)])

    def cut_all(_: Sequence[RejectedRecord]) -> None:
        with shared.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND datname = current_database()"
                )
            )

    for others in ((cut_all,), (lambda _: None, lambda: cut_all(()))):
        assert classify_error(failed(partial(shared.record, batch, *others))) is ErrorKind.TRANSIENT
        assert (shared.count_events(), shared.read_positions(TOPIC)[0]) == (0, 0)
    assert ids(shared.record(batch, lambda _: None).accepted) == ["1"]


def test_a_database_that_is_locked_for_too_long_passes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.database.engine.LOCK_TIMEOUT_MS", 50)
    impatient = make_engine(engine.url.render_as_string(hide_password=False))
    try:
        with write_transaction(engine) as connection:
            connection.execute(text(POSITION), {"topic": "one"})
            assert classify_error(failed(execute(impatient, POSITION, topic="one"))) is ErrorKind.TRANSIENT
        execute(impatient, POSITION, topic="two")()
    finally:
        impatient.dispose()


def test_a_serialization_failure_passes(shared: Recorder) -> None:
    move = text("UPDATE positions SET next_offset = next_offset + 1")
    with shared.engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("SELECT 1 FROM positions"))
        execute(shared.engine, move.text)()
        error = failed(lambda: connection.execute(move))
    assert getattr(getattr(error, "orig", None), "sqlstate", None) == "40001"
    assert classify_error(error) is ErrorKind.TRANSIENT


def test_what_isolation_the_database_has_by_default_does_not_matter(shared: Recorder) -> None:
    how = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
    execute(shared.engine, how.format(shared.engine.url.database))()
    newcomer = make_engine(shared.engine.url.render_as_string(hide_password=False))
    try:
        for _ in range(2):
            with write_transaction(newcomer) as connection:
                assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"
            with read_transaction(newcomer) as connection:
                assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    finally:
        newcomer.dispose()


def test_a_deadlock_passes(shared: Recorder) -> None:
    move = "UPDATE positions SET next_offset = 1 WHERE partition = {}"
    together = threading.Barrier(2, timeout=60)

    def cross(partitions: tuple[int, int]) -> BaseException | None:
        try:
            with write_transaction(shared.engine) as connection:
                connection.execute(text(move.format(partitions[0])))
                together.wait()
                connection.execute(text(move.format(partitions[1])))
        except DBAPIError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        errors = [error for error in pool.map(cross, ((0, 1), (1, 0))) if error is not None]
    assert [getattr(getattr(error, "orig", None), "sqlstate", None) for error in errors] == ["40P01"]
    assert classify_error(errors[0]) is ErrorKind.TRANSIENT


def test_a_cancelled_statement_and_a_full_pool_pass(postgresql_url: str) -> None:
    engine = create_engine(
        make_engine(postgresql_url).url, pool_size=1, max_overflow=0, pool_timeout=0.01, connect_args={"options": ""}
    )
    try:
        late = ("SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(60)")
        assert classify_error(failed(execute(engine, *late))) is ErrorKind.TRANSIENT
        with engine.connect():
            assert classify_error(failed(engine.connect)) is ErrorKind.TRANSIENT
    finally:
        engine.dispose()


def test_what_is_no_error_of_the_database_is_a_bug_but_for_a_lost_race() -> None:
    assert classify_error(ConcurrentWriteError("another was faster")) is ErrorKind.TRANSIENT
    for error in (ValueError("x"), OverflowError("x"), AssertionError(), KeyError("x"), DatabaseError("x")):
        assert classify_error(error) is ErrorKind.BUG
    assert classify_error(IntegrityError("INSERT", {}, ValueError("x"))) is ErrorKind.BUG


def test_a_projects_facts_are_read_for_the_programmes_that_are_asked_for(store: Recorder) -> None:
    log = TopicLog()
    record(store, *[log.append(plan(name, subject=f"{name}/wharf")) for name in ("north", "south", "n.2")])
    facts, revisions = store.load_facts(["north", "n.2", "nowhere"])
    assert revisions == {"north": 1, "n.2": 1}
    assert facts.existing_projects() == {ProjectKey("north", "wharf"), ProjectKey("n.2", "wharf")}


# A topic made anew.


def test_a_topic_is_known_by_the_id_it_had_when_it_was_read_first(engine: Engine) -> None:
    store = Recorder(engine)
    for _ in range(2):
        store.remember_topic_id(TOPIC, "one")
    with pytest.raises(TopicRecreatedError) as error:
        store.remember_topic_id(TOPIC, "other")

    assert str(error.value).startswith("milepost.events has the id other, but the database has read one: ")
    assert "milepost init --accept-new-topic" in str(error.value)
    store.remember_topic_id("another", "other")


def test_accepting_a_topic_without_an_id_sets_back_what_lies_beyond_the_end(engine: Engine) -> None:
    store = Recorder(engine)
    store.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9), 2: (3, 3)})
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, None, {0: (0, 9), 1: (2, 7), 3: (0, 0)}) == [PositionReset(1, 8, 2)]

    assert store.read_positions(TOPIC) == {0: 5, 1: 2, 2: 3}


def test_accepting_a_topic_of_another_id_sets_back_every_position(engine: Engine) -> None:
    store = Recorder(engine)
    store.resolve_start_offsets(TOPIC, {0: (5, 9), 1: (8, 9), 2: (0, 3)})
    store.remember_topic_id(TOPIC, "one")
    logs = {0: (0, 90), 1: (2, 7), 2: (0, 3)}
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, "other", logs) == [PositionReset(0, 5, 0), PositionReset(1, 8, 2)]
    with write_transaction(engine) as connection:
        assert reset_positions(connection, TOPIC, "other", logs) == []

    store.remember_topic_id(TOPIC, "other")
    assert store.read_positions(TOPIC) == {0: 0, 1: 2, 2: 0}


def test_a_sqlite_file_that_was_removed_or_replaced_takes_no_more_writes(tmp_path: Path) -> None:
    file = tmp_path / "milepost.db"
    for what in ("removed", "replaced"):
        engine = make_engine(f"sqlite:///{file}")
        migrate(engine)
        store = Recorder(engine)
        store.resolve_start_offsets(TOPIC, {0: (0, 0)})
        # Kept elsewhere, so that a new file cannot come to the same place on the disk.
        file.rename(tmp_path / f"{what}.db")
        if what == "replaced":
            file.touch()
        with pytest.raises(DatabaseError) as error:
            store.resolve_start_offsets(TOPIC, {0: (0, 0)})

        assert str(error.value) == (
            f"database sqlite:///{file} was {what} while it was in use: run `milepost init`, then start again"
        )
        engine.dispose()
        file.unlink(missing_ok=True)
