"""Two recorders at once: each event is recorded once, and both agree with the contract."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from models.database.engine import (
    ErrorKind,
    classify_error,
    write_transaction,
)
from models.database.ledger import DecodedRecord, RejectedRecord
from models.database.positions import StartOffset
from models.database.recorder import Batch, Recorder, RecordingResult
from models.domain.events import RejectionReason
from tests.helpers.event_generators import random_events
from tests.helpers.oracle import (
    JsonEvent,
)
from tests.helpers.recorder import (
    DAY,
    TopicLog,
    count_events,
    event_batch,
    event_ids,
    expected_state,
    fail_on_rejection,
    load_facts,
    plan_event,
    planned_date,
    record_batch,
    retraction_event,
    row_count,
    state_of_facts,
)


def persist(recorder: Recorder, batch: Batch, trouble: Counter[str]) -> RecordingResult:
    """Record a batch as the agent does: what passes is tried again."""
    told: list[RejectedRecord] = []
    while True:
        try:
            return recorder.record(batch, told.extend)
        except Exception as error:
            if classify_error(error) is not ErrorKind.TRANSIENT:
                raise
            trouble[type(getattr(error, "orig", error)).__name__] += 1
            assert sum(trouble.values()) < 1000


class Writers:
    """Two writers who begin each round together."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.trouble: Counter[str] = Counter()
        self._together = threading.Barrier(2, timeout=60)

    def write(self, *shares: Sequence[Sequence[DecodedRecord]]) -> list[list[RecordingResult]]:
        """Record the batches of each writer, and tell what came of them."""

        def write(share: Sequence[Sequence[DecodedRecord]]) -> list[RecordingResult]:
            self._together.wait()
            return [persist(self.recorder, event_batch(entries), self.trouble) for entries in share]

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(write, shares))


def in_batches(entries: Sequence[DecodedRecord], chance: Random) -> list[list[DecodedRecord]]:
    batches, rest = [], list(entries)
    while rest:
        size = chance.randint(1, 12)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


def test_two_writers_who_get_the_same_events_in_any_order_enter_each_once(shared_recorder: Recorder) -> None:
    chance, writers, log = Random(1), Writers(shared_recorder), TopicLog()  # noqa: S311 - repeatable choices
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
    assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state(everything, DAY)
    assert count_events(shared_recorder) == 25 * 30
    # Rows are locked in one order: two workers never wait for each other.
    assert "DeadlockDetected" not in writers.trouble


def test_a_batch_that_another_writer_was_faster_with_is_recorded_at_once(shared_recorder: Recorder) -> None:
    log, slower = TopicLog(), list[Future[RecordingResult]]()
    record_batch(shared_recorder, log.append(plan_event("0")))
    batch = event_batch([log.append(plan_event("1")), log.append_raw([], b"no event")])
    known = [log.append(plan_event("1"), 1), log.append(plan_event("2"), 1)]
    with ThreadPoolExecutor(1) as pool:

        def reject(_: Sequence[RejectedRecord]) -> None:
            # It has looked for its events, found neither, and waits for the programme.
            slower.append(pool.submit(Recorder(shared_recorder.engine).record, event_batch(known), fail_on_rejection))
            until_it_waits(shared_recorder, slower[0])

        shared_recorder.record(batch, reject)
        [recorded] = [told.result(60) for told in slower]
    assert (event_ids(recorded.accepted), recorded.duplicates) == (["2"], known[:1])
    assert (count_events(shared_recorder), shared_recorder.read_revisions()) == (3, {"north": 3})


def test_two_writers_with_events_and_their_retractions_agree_with_the_contract(shared_recorder: Recorder) -> None:
    chance, writers, log = Random(2), Writers(shared_recorder), TopicLog()  # noqa: S311 - repeatable choices
    everything: list[JsonEvent] = []
    for number in range(25):
        subjects = [f"{programme}/{project}" for programme in ("north", "south") for project in ("wharf", "dock")]
        names = [f"{number}-{place}" for place in range(12)]
        claims = [
            plan_event(name, f"2026-06-{place + 1:02}", subject=chance.choice(subjects), day=place + 1)
            for place, name in enumerate(names)
        ]
        taken_back = [retraction_event(name, f"r-{name}", subject=chance.choice(subjects)) for name in names]
        everything += claims + taken_back
        shares = []
        for partition, events in enumerate((claims, taken_back)):
            entries = [log.append(event, partition) for event in chance.sample(events, len(events))]
            shares.append(in_batches(entries, chance))
        recorded = [told for share in writers.write(*shares) for told in share]
        assert sum(len(told.accepted) for told in recorded) == 24
        assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state(everything, DAY)
    assert "DeadlockDetected" not in writers.trouble


def test_two_writers_with_the_same_partition_record_it_once(shared_recorder: Recorder) -> None:
    chance, writers, log = Random(3), Writers(shared_recorder), TopicLog()  # noqa: S311 - repeatable choices
    events = random_events(7, 300, programmes=2, projects=3)
    entries = [log.append(event) for event in events]
    batches = in_batches(entries, chance)
    # One of them reads on from where the other stands, so that a batch is never stale.
    for start in range(len(batches)):
        one, other = writers.write([batches[start]], [batches[start]])
        accepted = [len(told.accepted) for told in (*one, *other)]
        assert sorted(accepted) == [0, len(batches[start])]
        assert [told.duplicates for told in (*one, *other)] == [[], []]
    assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state(events, DAY)


WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def until_it_waits(recorder: Recorder, other: Future[Any], waiting: int = 1) -> None:
    """Return when so many writers wait for a lock, or this one has not had to."""
    with recorder.engine.connect() as connection:
        while not other.done() and (connection.scalar(WAITING) or 0) < waiting:
            connection.rollback()


def overtaken(
    recorder: Recorder, log: TopicLog, first: Sequence[JsonEvent], second: Sequence[JsonEvent]
) -> tuple[RecordingResult, RecordingResult]:
    """Let the second writer begin when the first has written everything and not committed."""
    trouble: Counter[str] = Counter()
    entries = [log.append(event, 0) for event in first]
    entries.append(log.append_raw([], b"what makes the recorder call back"))
    others = event_batch([log.append(event, 1) for event in second])
    began: list[Future[RecordingResult]] = []

    with ThreadPoolExecutor(1) as pool:

        def meanwhile(_: Sequence[RejectedRecord]) -> None:
            began.append(pool.submit(persist, recorder, others, trouble))
            until_it_waits(recorder, began[0])

        one = recorder.record(event_batch(entries), meanwhile)
        other = began[0].result(60)
    return one, other


HELD = retraction_event("1", "r0", subject="south/dock")
OVERTAKEN: dict[str, tuple[list[JsonEvent], list[JsonEvent], list[JsonEvent]]] = {
    "the same event": ([], [plan_event("1")], [plan_event("1")]),
    "the same retraction": ([plan_event("1")], [retraction_event("1")], [retraction_event("1")]),
    "an event and its retraction": ([], [plan_event("1")], [retraction_event("1")]),
    "a retraction and its event": ([], [retraction_event("1")], [plan_event("1")]),
    "two retractions of one event": ([plan_event("1")], [retraction_event("1", "r1")], [retraction_event("1", "r2")]),
    "two retractions of an event that never came": ([], [retraction_event("1", "r1")], [retraction_event("1", "r2")]),
    "two events of one milestone": ([], [plan_event("1")], [plan_event("2", "2026-07-01", day=2)]),
    "a newer event, then an older": ([], [plan_event("1", day=2)], [plan_event("2", "2026-07-01", day=1)]),
    "a retraction and another event of its subject": (
        [plan_event("1", day=9)],
        [retraction_event("1")],
        [plan_event("2", "2026-07-01", day=2)],
    ),
    "an event and the retraction of another of its subject": (
        [plan_event("1", day=9)],
        [plan_event("2", "2026-07-01", day=2)],
        [retraction_event("1")],
    ),
    "two retractions in one subject": (
        [plan_event("1"), plan_event("2", "2026-07-01", day=2), plan_event("3", "2026-08-01", day=3)],
        [retraction_event("3", "r3")],
        [retraction_event("2", "r2")],
    ),
    "programmes in opposite orders": (
        [],
        [plan_event("1", subject="north/a"), plan_event("2", subject="south/a")],
        [plan_event("3", subject="south/b"), plan_event("4", subject="north/b")],
    ),
    "an event that was retracted before, twice at once": ([HELD], [plan_event("1")], [plan_event("1")]),
    "a retraction that was retracted before, twice at once": (
        [retraction_event("r", "r0"), plan_event("1")],
        [retraction_event("1")],
        [retraction_event("1")],
    ),
}


@pytest.mark.parametrize(("before", "first", "second"), OVERTAKEN.values(), ids=OVERTAKEN)
def test_a_writer_who_waits_for_another_sees_what_that_one_did(
    shared_recorder: Recorder, before: list[JsonEvent], first: list[JsonEvent], second: list[JsonEvent]
) -> None:
    log = TopicLog()
    if before:
        record_batch(shared_recorder, *[log.append(event, 2) for event in before])
    one, other = overtaken(shared_recorder, log, first, second)
    events = [*before, *first, *second]
    assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state(events, DAY)
    names = {(event["source"], event["id"]) for event in events}
    assert len(before) + len(one.accepted) + len(other.accepted) == len(names) == count_events(shared_recorder)
    assert len(one.duplicates) + len(other.duplicates) == len(events) - len(names)


CONFLICTS: dict[str, tuple[list[JsonEvent], list[JsonEvent], list[JsonEvent]]] = {
    "of two events": ([], [plan_event("1")], [plan_event("1", "2026-07-01")]),
    "of an event and a retraction": ([plan_event("2", day=2)], [plan_event("1")], [retraction_event("2", "1")]),
    "of two events that were retracted before": ([HELD], [plan_event("1")], [plan_event("1", "2026-07-01")]),
    "of two retractions that were retracted before": (
        [retraction_event("r", "r0"), plan_event("1"), plan_event("2", day=2)],
        [retraction_event("1")],
        [retraction_event("2")],
    ),
}


@pytest.mark.parametrize(("before", "first", "second"), CONFLICTS.values(), ids=CONFLICTS)
def test_of_two_writers_with_conflicting_events_one_is_rejected(
    shared_recorder: Recorder, before: list[JsonEvent], first: list[JsonEvent], second: list[JsonEvent]
) -> None:
    log = TopicLog()
    if before:
        record_batch(shared_recorder, *[log.append(event, 2) for event in before])
    one, other = overtaken(shared_recorder, log, first, second)
    assert (len(one.accepted), len(other.accepted)) == (1, 0)
    assert [rejected.rejection.reason for rejected in other.rejected] == [RejectionReason.CONFLICTING_DUPLICATE]
    assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state([*before, *first], DAY)


def test_a_conflicting_retraction_does_not_keep_out_what_another_writer_enters(shared_recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(shared_recorder, log.append(plan_event("1"), 2))
    one, other = overtaken(shared_recorder, log, [retraction_event("2", "1")], [plan_event("2", "2026-07-01", day=2)])
    assert [rejected.rejection.reason for rejected in one.rejected] == [
        RejectionReason.MALFORMED,
        RejectionReason.CONFLICTING_DUPLICATE,
    ]
    assert event_ids(other.accepted) == ["2"]
    assert (planned_date(shared_recorder), row_count(shared_recorder, "ledger")) == ("2026-07-01", 2)


def test_of_two_writers_with_the_same_batch_the_second_does_nothing(shared_recorder: Recorder) -> None:
    log = TopicLog()
    batch = event_batch([log.append_raw([], None), log.append(plan_event("1"))])
    rejected: list[str] = []

    with ThreadPoolExecutor(1) as pool:
        began: list[Future[RecordingResult]] = []

        def meanwhile(_: Sequence[RejectedRecord]) -> None:
            rejected.append("by the first")
            began.append(pool.submit(shared_recorder.record, batch, lambda _: rejected.append("by the second")))
            until_it_waits(shared_recorder, began[0])

        assert event_ids(shared_recorder.record(batch, meanwhile).accepted) == ["1"]
        assert began[0].result(60) == RecordingResult([], [], [], [], [])
    assert rejected == ["by the first"]


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_programmes_are_locked_in_the_order_of_their_names(shared_recorder: Recorder, names: tuple[str, str]) -> None:
    log = TopicLog()
    record_batch(
        shared_recorder, log.append(plan_event("n", subject="north/a")), log.append(plan_event("s", subject="south/a"))
    )
    batch = event_batch(
        [log.append(plan_event(names[0], subject="north/a")), log.append(plan_event(names[1], subject="south/a"))]
    )
    lock = "SELECT programme FROM programmes WHERE programme = '{}' FOR UPDATE SKIP LOCKED"
    with ThreadPoolExecutor(1) as pool:
        with write_transaction(shared_recorder.engine) as holding:
            assert holding.scalar(text(lock.format("north"))) == "north"
            began = pool.submit(shared_recorder.record, batch, fail_on_rejection)
            until_it_waits(shared_recorder, began)
            # Who waits for the first of them holds none of those behind it.
            with write_transaction(shared_recorder.engine) as connection:
                assert connection.scalar(text(lock.format("south"))) == "south"
        assert len(began.result(60).accepted) == 2


def test_two_writers_who_take_up_the_same_partition_for_the_first_time_agree(shared_recorder: Recorder) -> None:
    together = threading.Barrier(2, timeout=60)

    def take_up(partition: int) -> dict[int, StartOffset]:
        together.wait()
        return shared_recorder.resolve_start_offsets("new.events", {partition: (3, 9)})

    with ThreadPoolExecutor(2) as pool:
        for partition in range(10):
            assert list(pool.map(take_up, (partition, partition))) == [{partition: StartOffset(3)}] * 2


class HeldWriter:
    """A writer that has written everything of its batch, and commits when it is told to."""

    def __init__(self, pool: ThreadPoolExecutor, recorder: Recorder, log: TopicLog, *written: DecodedRecord) -> None:
        self._has_written, self._may_commit = threading.Event(), threading.Event()
        reports = log.append_raw([], b"what makes the recorder call back", written[0].partition)
        batch = event_batch([*written, reports])
        self.result = pool.submit(Recorder(recorder.engine).record, batch, self._hold)

    def _hold(self, _: Sequence[RejectedRecord]) -> None:
        self._has_written.set()
        assert self._may_commit.wait(60)

    def until_it_has_written(self) -> None:
        assert self._has_written.wait(60)

    def commit(self) -> None:
        self._may_commit.set()


def test_what_a_writer_meets_only_when_it_tries_again_does_not_make_two_wait_for_each_other(
    shared_recorder: Recorder,
) -> None:
    log, tried_again = TopicLog(), Recorder(shared_recorder.engine)
    # So that it takes the next batch to be new.
    tried_again.record(event_batch([log.append(plan_event("0", subject="south/a"), 0)]), fail_on_rejection)
    known = plan_event("1", subject="west/a")
    with ThreadPoolExecutor(4) as pool:
        first = HeldWriter(pool, shared_recorder, log, log.append(known, 1))
        first.until_it_has_written()
        # It holds south, and waits for what the first makes of the event of both.
        mine = [known, retraction_event("2", subject="south/a"), plan_event("3", subject="south/a", day=3)]
        again = pool.submit(tried_again.record, event_batch([log.append(each, 0) for each in mine]), fail_on_rejection)
        until_it_waits(shared_recorder, again)
        # It holds north, with the event that the other retracts and has not seen, and waits for south.
        theirs = [plan_event("2", subject="north/a"), plan_event("4", subject="south/b")]
        second = HeldWriter(pool, shared_recorder, log, *[log.append(event, 2) for event in theirs])
        until_it_waits(shared_recorder, again, 2)
        first.commit()
        second.until_it_has_written()
        until_it_waits(shared_recorder, again)
        # It gets north as soon as the second ends, and then wants south.
        last = [plan_event("5", subject="north/b"), plan_event("6", subject="south/c")]
        third = pool.submit(
            Recorder(shared_recorder.engine).record,
            event_batch([log.append(event, 3) for event in last]),
            fail_on_rejection,
        )
        until_it_waits(shared_recorder, again, 2)
        second.commit()
        assert (event_ids(again.result(60).accepted), len(again.result().duplicates)) == (["r", "3"], 1)
        assert event_ids(third.result(60).accepted) == ["5", "6"]
    events = [plan_event("0", subject="south/a"), *mine, *theirs, *last]
    assert state_of_facts(load_facts(shared_recorder)[0], DAY) == expected_state(events, DAY)
