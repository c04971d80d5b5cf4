"""The events topic against the database, read from the outside: every record accounted for, and the state it makes.

1. One moment of the database: positions, ledger, winning claims, forecasts. 2. The events topic from its log's start to
those positions; a worker may go on meanwhile, what it records later is not asked about. 3. The dead letters, last: they
are written before a position passes them. 4. The fold of what was said and accepted, against the tables.
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
from models.domain.claims import fold
from models.domain.cloudevents import decode
from models.domain.events import Event, EventRetracted
from models.settings import Settings

EventKey = tuple[str, str]


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
    """What the database says, and what the topic said of it so far."""

    ledger: dict[EventKey, StoredEvent]
    tables: TableSnapshot
    positions: dict[int, int]
    differences: list[Difference]
    accepted_events: dict[EventKey, Event] = field(default_factory=dict)
    #: Records that the ledger does not hold: must be among the dead letters.
    not_in_ledger: dict[str, str] = field(default_factory=dict)
    records_read: int = 0
    duplicates: int = 0
    unread: int = 0
    expired: int = 0

    def match_record(self, record: ConsumerRecord) -> None:
        """Account for a record."""
        self.records_read += 1
        origin = (record.topic, record.partition, record.offset)
        key = f"{record.topic}:{record.partition}:{record.offset}"
        event = decode(record.headers, record.value)
        if not isinstance(event, Event):
            self.not_in_ledger[key] = f"{event.reason}, {event.detail}"
            return
        name = (event.source, event.id)
        kept = self.ledger.get(name)
        if kept is None or kept.digest != event.digest():
            self.not_in_ledger[key] = f"event {event.id!r} of {event.source!r}"
        elif kept.origin == origin:
            self.accepted_events[name] = event
            # The same again: of millions, two of each are more than there is room for.
            self.ledger[name] = kept._replace(event=None)
        else:
            self.duplicates += 1


def audit(settings: Settings, engine: Engine) -> tuple[list[Difference], AuditSummary]:
    """Return what is not as the events say, and how much was compared."""
    topic = settings.events_topic
    for needed in (topic, settings.dead_letters_topic):
        require_topic(settings, needed)
    # 1.
    with read_transaction(engine) as connection:
        ends = positions.read_positions(connection, topic)
        ledger, wrong = {}, []
        for kept, its in read_ledger(connection):
            ledger[kept.source, kept.id] = kept
            wrong.extend(its)
        books = _Reconciliation(ledger, read_tables(connection), ends, wrong)
    # 2.
    with open_topic_consumer(settings) as consumer:
        starts = _read_topic(consumer, topic, books)
    # 3.
    rejected, settled = _match_dead_letters(books, *read_keys_and_tombstones(settings))
    # 4.
    _account_for_missing_records(books, topic, starts)
    retracted = {
        (e.source, e.data.retracts) for e in books.accepted_events.values() if isinstance(e.data, EventRetracted)
    }
    standing = [e for n, e in books.accepted_events.items() if n not in retracted or isinstance(e.data, EventRetracted)]
    facts = fold(standing)
    named = {event.programme for event in books.accepted_events.values()}
    books.differences.extend(diff_tables(facts, named, books.tables))
    accepted = len(books.accepted_events) - books.expired
    counts = (len(facts.existing_programmes() | named), len(facts.existing_milestones()))
    return books.differences, AuditSummary(
        books.records_read, accepted, books.duplicates, rejected, settled, books.unread, books.expired, *counts
    )


def _read_topic(consumer: KafkaConsumer, topic: str, reconciliation: _Reconciliation) -> Mapping[int, int]:
    """Read what lies below the positions; return where each partition's log starts."""
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    starts, log_ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    until: dict[TopicPartition, int] = {}
    for partition in partitions:
        position = reconciliation.positions.get(partition.partition, starts[partition])
        if position > log_ends[partition]:
            where = f"{topic}:{partition.partition} position"
            reconciliation.differences.append(
                Difference(where, f"at most {log_ends[partition]}, the log's end", str(position))
            )
        until[partition] = min(position, log_ends[partition])
        reconciliation.unread += max(0, log_ends[partition] - max(position, starts[partition]))
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for record in read_until(consumer, topic, until):
        reconciliation.match_record(record)
    return {partition.partition: start for partition, start in starts.items()}


def _match_dead_letters(
    reconciliation: _Reconciliation, dead_letter_keys: set[str], tombstone_keys: set[str]
) -> tuple[int, int]:
    """Look for what the ledger does not hold among the dead letters; return how many are there, and were."""
    lost = reconciliation.not_in_ledger.keys() - dead_letter_keys - tombstone_keys
    for key, what in reconciliation.not_in_ledger.items():
        if key in lost:
            reconciliation.differences.append(
                Difference(key, f"in the ledger or among the dead letters ({what})", "nowhere")
            )
    return len(reconciliation.not_in_ledger.keys() & dead_letter_keys), len(
        reconciliation.not_in_ledger.keys() & tombstone_keys
    )


def _account_for_missing_records(reconciliation: _Reconciliation, topic: str, start_offsets: Mapping[int, int]) -> None:
    """Account for ledger rows that no record was found for."""
    for name in sorted(reconciliation.ledger.keys() - reconciliation.accepted_events.keys()):
        kept = reconciliation.ledger[name]
        its_topic, partition, offset = kept.origin
        is_gone = its_topic.startswith(f"{topic}{positions.REPLACED_TOPIC_SEPARATOR}") or (
            its_topic == topic and offset < start_offsets.get(partition, 0)
        )
        if is_gone and kept.event is not None:
            reconciliation.accepted_events[name] = kept.event
            reconciliation.expired += 1
        else:
            where = f"ledger {kept.source} {kept.id}"
            origin = f"{its_topic}:{partition}:{offset}"
            reconciliation.differences.append(Difference(where, f"the record at {origin} says it", "it does not"))
