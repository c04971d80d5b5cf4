"""Compares the database with the events topic, read from outside: every record accounted for, and the resulting state.

1. Read positions, ledger, winning claims and forecasts in one snapshot. 2. Read the dead letters: they were written
before a position passed their records. 3. Read the events topic from its start up to those positions; a worker may
continue meanwhile, what it records later is not compared. 4. Fold the accepted events and compare with the tables.
"""

from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord
from sqlalchemy import Engine

from consumers.dead_letters import read_keys_and_tombstones
from consumers.rights import Role, require_rights
from consumers.topic_reader import OffsetRanges, open_topic, read_ranges
from models.database import positions
from models.database.consistency import Difference, StoredEvent, diff_tables, read_ledger, read_tables
from models.database.engine import read_transaction
from models.database.ledger import EventKey
from models.domain.claims import exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.settings import Settings


@dataclass(slots=True)
class AuditSummary:
    """How many of each there are."""

    records_read: int = 0
    accepted: int = 0
    duplicates: int = 0
    #: Their dead letters wait.
    rejected: int = 0
    #: Their dead letters were replayed or discarded.
    resolved: int = 0
    unread: int = 0
    #: Ledger rows whose records the topic no longer holds.
    expired: int = 0
    programmes: int = 0
    milestones: int = 0


@dataclass(slots=True)
class _Reconciliation:
    """The ledger, and the records of the topic that were matched with it so far."""

    ledger: dict[EventKey, StoredEvent] = field(default_factory=dict)
    #: The keys of the dead letters: those that wait, and those that were replayed or discarded.
    waiting_letters: set[str] = field(default_factory=set)
    resolved_letters: set[str] = field(default_factory=set)
    events: dict[EventKey, Event] = field(default_factory=dict)
    #: Records that the ledger does not hold, by origin: they must be among the dead letters.
    not_in_ledger: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    summary: AuditSummary = field(default_factory=AuditSummary)

    def match_record(self, record: ConsumerRecord) -> None:
        self.summary.records_read += 1
        origin = (record.topic, record.partition, record.offset)
        event = decode(record.headers, record.value)
        if not isinstance(event, Event):
            self.not_in_ledger[_origin_name(origin)] = f"{event.reason}, {event.detail}"
            return
        stored = self.ledger.get(key := EventKey(event.source, event.id))
        if stored is None or stored.digest != event.digest():
            self.not_in_ledger[_origin_name(origin)] = f"event {event.id!r} of {event.source!r}"
        elif stored.origin == origin:
            self.events[key] = event
            # Both events are equal; millions of them twice would not fit in memory.
            self.ledger[key] = stored._replace(event=None)
        elif (name := _origin_name(origin)) in self.waiting_letters or name in self.resolved_letters:
            # Rejected here, and recorded from another record: of a replay, or of a publisher that sent it again.
            self.not_in_ledger[name] = f"event {event.id!r} of {event.source!r}"
        else:
            self.summary.duplicates += 1


def audit(settings: Settings, engine: Engine) -> tuple[list[Difference], AuditSummary]:
    """Return the differences between events and database, and how much was compared."""
    topic = settings.events_topic
    require_rights(settings, Role.AUDITOR)
    state = _Reconciliation()
    differences, summary = state.differences, state.summary
    # 1.
    with read_transaction(engine) as connection:
        next_offsets = positions.read_positions(connection, topic)
        state.ledger.update((stored.key, stored) for stored in read_ledger(connection, differences))
        tables = read_tables(connection)
    # 2.
    state.waiting_letters, state.resolved_letters = read_keys_and_tombstones(settings)
    # 3.
    with open_topic(settings, topic) as (consumer, ranges):
        recorded: dict[int, tuple[int, int]] = {}
        for number, (start, end) in ranges.items():
            position = next_offsets.get(number, start)
            if position > end:
                where = f"{topic}:{number} position"
                differences.append(Difference(where, f"at most {end}, the log's end", str(position)))
            summary.unread += max(0, end - max(position, start))
            recorded[number] = start, min(position, end)
        for record in read_ranges(consumer, topic, recorded):
            state.match_record(record)
    for origin, what in state.not_in_ledger.items():
        if origin not in state.waiting_letters and origin not in state.resolved_letters:
            differences.append(Difference(origin, f"in the ledger or among the dead letters ({what})", "nowhere"))
    # 4.
    _account_for_missing_records(state, topic, ranges)
    facts = fold(exclude_retracted(state.events.values()))
    programmes = {event.programme for event in state.events.values()}
    differences.extend(diff_tables(facts, programmes, tables))
    summary.accepted = len(state.events) - summary.expired
    summary.rejected = len(state.not_in_ledger.keys() & state.waiting_letters)
    summary.resolved = len(state.not_in_ledger.keys() & state.resolved_letters)
    summary.programmes = len(facts.existing_programmes() | programmes)
    summary.milestones = len(facts.existing_milestones())
    return differences, summary


def _account_for_missing_records(state: _Reconciliation, topic: str, ranges: OffsetRanges) -> None:
    """Accept ledger rows whose records have expired; every other row without a record is a difference."""
    for key in sorted(state.ledger.keys() - state.events.keys()):
        stored = state.ledger[key]
        origin_topic, partition, offset = stored.origin
        is_replaced = origin_topic.startswith(f"{topic}{positions.REPLACED_TOPIC_SEPARATOR}")
        is_expired = origin_topic == topic and offset < ranges.get(partition, (0, 0))[0]
        if (is_replaced or is_expired) and stored.event is not None:
            state.events[key] = stored.event
            state.summary.expired += 1
        else:
            expected = f"the record at {_origin_name(stored.origin)} says it"
            state.differences.append(Difference(f"ledger {key.source} {key.id}", expected, "it does not"))


def _origin_name(origin: tuple[str, int, int]) -> str:
    return ":".join(map(str, origin))
