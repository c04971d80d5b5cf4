"""The database says what the set of events says, however they were delivered."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, update

from models.database.engine import make_engine, read_transaction, write_transaction
from models.database.ledger import DecodedRecord
from models.database.queries import fold_as_of
from models.database.recorder import Recorder
from models.database.tables import positions
from models.domain.claims import exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.timestamps import parse_instant
from tests.helpers.databases import BACKENDS, DatabaseFactory
from tests.helpers.event_generators import (
    TIMES,
    binary_record,
    event_sets,
    events,
    random_events,
    shuffled_with_duplicates,
    structured_record,
)
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    count_events,
    emptied_recorder,
    event_batch,
    expected_state,
    fail_on_rejection,
    load_facts,
    migrated_engine,
    order_independent_rows,
    state_of_facts,
)

DAY = date(2026, 3, 12)
#: A transaction on PostgreSQL waits for the disk, so there are fewer.
EXAMPLES = {"sqlite": 120, "postgresql": 50}
MODES = (structured_record, binary_record)


@contextmanager
def fresh(databases: DatabaseFactory, kind: str) -> Iterator[Engine]:
    with databases.new_database(kind) as url, migrated_engine(url) as engine:
        yield engine


def examples(kind: str, share: float = 1) -> settings:
    return settings(max_examples=int(EXAMPLES[kind] * share), suppress_health_check=list(HealthCheck))


def deliver(store: Recorder, said: Sequence[dict[str, Any]], chance: random.Random, partitions: int = 3) -> None:
    """Deliver events in any order, some of them again, over several partitions, in batches of any size."""
    log = TopicLog()
    order = [*chance.sample(said, len(said)), *chance.choices(said, k=len(said) // 3)] if said else []
    chance.shuffle(order)
    entries = [log.append(event, chance.randrange(partitions), chance.choice(MODES)) for event in order]
    store.resolve_start_offsets(TOPIC, log.offset_ranges)
    largest = chance.choice((1, 3, len(entries) + 1))
    while entries:
        size = chance.randint(1, largest)
        recorded = store.record(event_batch(entries[:size]), fail_on_rejection)
        assert len(recorded.accepted) + len(recorded.duplicates) == len(entries[:size])
        entries = entries[size:]
    assert store.read_positions(TOPIC) == {partition: end for partition, (_, end) in log.offset_ranges.items()}
    assert count_events(store) == len(said)


@pytest.mark.parametrize("kind", BACKENDS)
def test_any_delivery_of_any_events_gives_the_same_rows_and_what_the_contract_says(
    databases: DatabaseFactory, kind: str
) -> None:
    with fresh(databases, kind) as engine:

        @examples(kind)
        @given(event_sets(max_size=20), st.randoms(use_true_random=False))
        def hold(said: list[dict[str, Any]], chance: random.Random) -> None:
            store = emptied_recorder(engine)
            deliver(store, said, chance)
            facts, _ = load_facts(store)
            assert state_of_facts(facts, DAY) == expected_state(said, DAY)
            rows = order_independent_rows(engine)
            deliver(emptied_recorder(engine), said, chance)
            assert order_independent_rows(engine) == rows
            assert load_facts(store)[0] == facts

        hold()


@pytest.mark.parametrize("kind", BACKENDS)
def test_one_batch_of_everything_gives_the_rows_of_one_batch_for_each(databases: DatabaseFactory, kind: str) -> None:
    with fresh(databases, kind) as engine:

        @examples(kind, 0.5)
        @given(event_sets(min_size=5, max_size=20))
        def hold(said: list[dict[str, Any]]) -> None:
            store, log = emptied_recorder(engine), TopicLog()
            entries = [log.append(event) for event in said]
            store.resolve_start_offsets(TOPIC, {0: (0, 0)})
            for entry in entries:
                store.record(event_batch([entry]), fail_on_rejection)
            rows = order_independent_rows(engine)
            store = emptied_recorder(engine)
            store.resolve_start_offsets(TOPIC, {0: (0, 0)})
            store.record(event_batch(entries), fail_on_rejection)
            assert order_independent_rows(engine) == rows

        hold()


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_winning_claims_in_the_database_are_those_of_the_pure_fold(databases: DatabaseFactory, kind: str) -> None:
    said = random_events(3, 1500, with_dependencies=True)
    decoded = [outcome for event in said if isinstance(outcome := decode(*structured_record(event)), Event)]
    with fresh(databases, kind) as engine:
        deliver(Recorder(engine), said, random.Random(1))  # noqa: S311 - a repeatable choice
        facts, _ = load_facts(Recorder(engine))
        assert facts == fold(exclude_retracted(decoded))
        assert state_of_facts(facts, DAY) == expected_state(said, DAY)
        north, revisions = load_facts(Recorder(engine), ["programme-1"])
        assert set(revisions) == {"programme-1"}
        assert {key.programme for key in north.existing_milestones()} == {"programme-1"}
        assert north.milestones == {key: known for key, known in facts.milestones.items() if key[0] == "programme-1"}


@pytest.mark.parametrize("kind", BACKENDS)
def test_what_was_believed_at_any_moment_is_what_the_contract_says_of_the_claims_up_to_then(
    databases: DatabaseFactory, kind: str
) -> None:
    with fresh(databases, kind) as engine:

        @examples(kind, 0.5)
        @given(event_sets(max_size=20), st.sampled_from(TIMES), st.randoms(use_true_random=False))
        def hold(said: list[dict[str, Any]], as_of: str, chance: random.Random) -> None:
            deliver(emptied_recorder(engine), said, chance)
            with read_transaction(engine) as connection:
                facts = fold_as_of(connection, parse_instant(as_of))
                north = fold_as_of(connection, parse_instant(as_of), "north")
            expected = expected_state(said, DAY, as_of)
            assert state_of_facts(facts, DAY) == expected
            rows, projects, programmes, dependencies, dependents, set_aside = state_of_facts(north, DAY)
            assert rows == [row for row in expected[0] if row["programme"] == "north"]
            assert projects == {key: row for key, row in expected[1].items() if key[0] == "north"}
            assert programmes == {key: row for key, row in expected[2].items() if key == "north"}
            assert dependencies == {key: lag for key, lag in expected[3].items() if key[0] == "north"}
            assert dependents == {key: count for key, count in expected[4].items() if key[0] == "north"}
            assert set_aside == [key for key in expected[5] if key[0] == "north"]

        hold()


class Tracking(RuleBasedStateMachine):
    """A log that grows, a reader that reads it in its own way, and a database that is set back now and then."""

    engine: Engine

    @initialize()
    def begin(self) -> None:
        """Start with three empty partitions and an empty database."""
        self.store = emptied_recorder(self.engine)
        self.log = TopicLog()
        self.log.partitions = {0: [], 1: [], 2: []}
        #: The first event of each name; another of the same name would conflict.
        self.published: dict[tuple[str, str], dict[str, Any]] = {}
        self.read: dict[int, int] = {}
        self.delivered: dict[tuple[str, str], dict[str, Any]] = {}
        self.take_up()

    def take_up(self) -> None:
        taken = self.store.resolve_start_offsets(TOPIC, self.log.offset_ranges)
        assert all(place.missed == 0 for place in taken.values())
        self.read = {partition: place.offset for partition, place in taken.items()}

    def record(self, entries: Sequence[DecodedRecord]) -> bool:
        """Record a batch as the agent does; return whether the database knew less than the reader."""
        recorded = self.store.record(event_batch(entries), fail_on_rejection)
        stale = {partition for _, partition in recorded.stale_partitions}
        for entry in entries:
            if entry.partition not in stale and isinstance(entry.outcome, Event):
                name = entry.outcome.source, entry.outcome.id
                self.delivered[name] = self.published[name]
                self.read[entry.partition] = max(self.read[entry.partition], entry.offset + 1)
        if stale:
            self.take_up()
        return bool(stale)

    @rule(event=events(), partition=st.integers(0, 2), mode=st.sampled_from(MODES))
    def publish(self, event: dict[str, Any], partition: int, mode: Any) -> None:  # noqa: ANN401 - one of two functions
        """Publish an event, or the one of the same name that was published before, in any partition."""
        known = self.published.setdefault((event["source"], event["id"]), event)
        self.log.append(known, partition, mode)

    @precondition(lambda self: any(self.unread()))
    @rule(data=st.data())
    def deliver_what_comes_next(self, data: st.DataObject) -> None:
        """Deliver up to so many records of every partition."""
        most = data.draw(st.integers(1, 4))
        self.record([entry for records in self.unread() for entry in records[:most]])

    def unread(self) -> list[list[DecodedRecord]]:
        """Give what of each partition was not read yet."""
        return [records[self.read[partition] :] for partition, records in self.log.partitions.items()]

    @precondition(lambda self: any(self.read.values()))
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """Deliver what was read before, and perhaps something new behind it."""
        partition = data.draw(st.sampled_from([name for name, read in self.read.items() if read]))
        start = data.draw(st.integers(0, self.read[partition] - 1))
        records = self.log.partitions[partition]
        self.record(records[start : data.draw(st.integers(start + 1, len(records)))])

    @precondition(lambda self: any(self.read.values()))
    @rule(data=st.data())
    def set_the_position_back(self, data: st.DataObject) -> None:
        """Let the database know less than the reader: it says so, and is read for again from there."""
        partition = data.draw(st.sampled_from([name for name, read in self.read.items() if read]))
        back = data.draw(st.integers(0, self.read[partition] - 1))
        with write_transaction(self.engine) as connection:
            at = positions.c.topic == TOPIC, positions.c.partition == partition
            connection.execute(update(positions).where(*at).values(next_offset=back))
        if unread := self.log.partitions[partition][self.read[partition] :]:
            before = order_independent_rows(self.engine)
            assert self.record(unread)
            assert order_independent_rows(self.engine) == before
        else:
            self.take_up()
        assert self.read[partition] == back

    @rule()
    def restart(self) -> None:
        """Come back with nothing but the database."""
        self.store = Recorder(make_engine(self.engine.url.render_as_string(hide_password=False)))
        try:
            self.take_up()
        finally:
            self.store.engine.dispose()
            self.store = Recorder(self.engine)

    @invariant()
    def the_database_says_what_was_delivered(self) -> None:
        """Hold the database against the independent reading."""
        facts, _ = load_facts(self.store)
        assert state_of_facts(facts, DAY) == expected_state(self.delivered.values(), DAY)
        assert count_events(self.store) == len(self.delivered)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_reader_that_repeats_restarts_and_is_set_back_changes_nothing(databases: DatabaseFactory, kind: str) -> None:
    with fresh(databases, kind) as engine:
        machine = type("TrackingHere", (Tracking,), {"engine": engine})
        run_state_machine_as_test(
            machine, settings=settings(examples(kind, 0.3), stateful_step_count=20, deadline=None)
        )


@pytest.mark.parametrize("kind", BACKENDS)
def test_thousands_of_events_twice_over_in_any_order_give_the_same_rows(databases: DatabaseFactory, kind: str) -> None:
    said = random_events(5, 1200)
    rows = []
    with fresh(databases, kind) as engine:
        for seed in (1, 2):
            store, log = emptied_recorder(engine), TopicLog()
            entries = [log.append(event) for event in shuffled_with_duplicates(said, seed)]
            store.resolve_start_offsets(TOPIC, {0: (0, 0)})
            for start in range(0, len(entries), 700):
                store.record(event_batch(entries[start : start + 700]), fail_on_rejection)
            rows.append(order_independent_rows(engine))
    assert rows[0] == rows[1]
