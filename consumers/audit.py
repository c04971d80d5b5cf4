"""Compares the database with the events topic, read from outside: every record accounted for, and the resulting state.

1. Read positions, ledger, winning claims and forecasts in one snapshot. 2. Read the events topic from its start up to
those positions; a worker may continue meanwhile, what it records later is not compared. 3. Read the dead letters last:
they are written before a position passes their records. 4. Fold the accepted events and compare with the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from sqlalchemy import Engine

from consumers.client import require_topic
from consumers.dead_letters import read_keys_and_tombstones
from consumers.topic_reader import open_topic_consumer, read_until
from models.database import positions
from models.database.consistency import Difference, StoredEvent, TableSnapshot, diff_tables, read_ledger, read_tables
from models.database.engine import read_transaction
from models.database.ledger import EventKey
from models.domain.claims import exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.settings import Settings


class AuditSummary(NamedTuple):
    """How many of each there are."""

    records_read: int
    accepted: int
    duplicates: int
    rejected: int
    #: Rejected, and replayed or discarded since.
    resolved: int
    unread: int
    #: Ledger rows whose records the topic no longer holds.
    expired: int
    programmes: int
    milestones: int


@dataclass(slots=True)
class _Reconciliation:
    """The content of the database, and the records of the topic that were matched with it so far."""

    ledger: dict[EventKey, StoredEvent]
    tables: TableSnapshot
    positions: dict[int, int]
    differences: list[Difference]
    accepted_events: dict[EventKey, Event] = field(default_factory=dict)
    #: Records that the ledger does not hold, by origin: they must be among the dead letters.
    not_in_ledger: dict[str, str] = field(default_factory=dict)
    records_read: int = 0
    duplicates: int = 0
    unread: int = 0
    expired: int = 0

    def match_record(self, record: ConsumerRecord) -> None:
        """Look for a record's event in the ledger."""
        self.records_read += 1
        origin = (record.topic, record.partition, record.offset)
        event = decode(record.headers, record.value)
        if not isinstance(event, Event):
            self.not_in_ledger[_origin_name(origin)] = f"{event.reason}, {event.detail}"
            return
        key = EventKey(event.source, event.id)
        stored = self.ledger.get(key)
        if stored is None or stored.digest != event.digest():
            self.not_in_ledger[_origin_name(origin)] = f"event {event.id!r} of {event.source!r}"
        elif stored.origin == origin:
            self.accepted_events[key] = event
            # Both events are equal; millions of them twice would not fit in memory.
            self.ledger[key] = stored._replace(event=None)
        else:
            self.duplicates += 1


def audit(settings: Settings, engine: Engine) -> tuple[list[Difference], AuditSummary]:
    """Return the differences between events and database, and how much was compared."""
    topic = settings.events_topic
    for name in (topic, settings.dead_letters_topic):
        require_topic(settings, name)
    # 1.
    with read_transaction(engine) as connection:
        next_offsets = positions.read_positions(connection, topic)
        differences: list[Difference] = []
        ledger = {stored.key: stored for stored in read_ledger(connection, differences)}
        state = _Reconciliation(ledger, read_tables(connection), next_offsets, differences)
    # 2.
    with open_topic_consumer(settings) as consumer:
        log_starts = _read_topic(consumer, topic, state)
    # 3.
    dead_letter_keys, tombstone_keys = read_keys_and_tombstones(settings)
    dead_letters_ever = dead_letter_keys | tombstone_keys
    for origin, what in state.not_in_ledger.items():
        if origin not in dead_letters_ever:
            differences.append(Difference(origin, f"in the ledger or among the dead letters ({what})", "nowhere"))
    # 4.
    _account_for_missing_records(state, topic, log_starts)
    facts = fold(exclude_retracted(state.accepted_events.values()))
    programmes = {event.programme for event in state.accepted_events.values()}
    differences.extend(diff_tables(facts, programmes, state.tables))
    return differences, AuditSummary(
        records_read=state.records_read,
        accepted=len(state.accepted_events) - state.expired,
        duplicates=state.duplicates,
        rejected=len(state.not_in_ledger.keys() & dead_letter_keys),
        resolved=len(state.not_in_ledger.keys() & tombstone_keys),
        unread=state.unread,
        expired=state.expired,
        programmes=len(facts.existing_programmes() | programmes),
        milestones=len(facts.existing_milestones()),
    )


def _read_topic(consumer: KafkaConsumer, topic: str, state: _Reconciliation) -> Mapping[int, int]:
    """Match the records below the positions; return where each partition's log starts."""
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    end_offsets: dict[TopicPartition, int] = {}
    for partition in partitions:
        position, end = state.positions.get(partition.partition, starts[partition]), ends[partition]
        if position > end:
            where = f"{topic}:{partition.partition} position"
            state.differences.append(Difference(where, f"at most {end}, the log's end", str(position)))
        end_offsets[partition] = min(position, end)
        state.unread += max(0, end - max(position, starts[partition]))
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for record in read_until(consumer, topic, end_offsets):
        state.match_record(record)
    return {partition.partition: start for partition, start in starts.items()}


def _account_for_missing_records(state: _Reconciliation, topic: str, log_starts: Mapping[int, int]) -> None:
    """Accept ledger rows whose records have expired; every other row without a record is a difference."""
    for key in sorted(state.ledger.keys() - state.accepted_events.keys()):
        stored = state.ledger[key]
        origin_topic, partition, offset = stored.origin
        is_expired = origin_topic.startswith(f"{topic}{positions.REPLACED_TOPIC_SEPARATOR}") or (
            origin_topic == topic and offset < log_starts.get(partition, 0)
        )
        if is_expired and stored.event is not None:
            state.accepted_events[key] = stored.event
            state.expired += 1
        else:
            origin = _origin_name(stored.origin)
            state.differences.append(
                Difference(f"ledger {key.source} {key.id}", f"the record at {origin} says it", "it does not")
            )


def _origin_name(origin: tuple[str, int, int]) -> str:
    topic, partition, offset = origin
    return f"{topic}:{partition}:{offset}"
