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

from consumers.client import need_topic
from consumers.dead_letters import read_fates
from consumers.topic_reader import log_reader, records_until
from models.database import positions
from models.database.consistency import Difference, Found, Kept, differences, read_found, read_ledger
from models.database.engine import reading
from models.domain.claims import fold
from models.domain.cloudevents import decode
from models.domain.events import Event, EventRetracted
from models.settings import Settings

Name = tuple[str, str]


class Summary(NamedTuple):
    """How many of each there are."""

    read: int
    accepted: int
    duplicates: int
    rejected: int
    #: Rejected, and replayed or discarded since.
    settled: int
    not_read_yet: int
    #: Ledger rows whose records the topic no longer holds.
    gone: int
    programmes: int
    milestones: int


@dataclass(slots=True)
class _Books:
    """What the database says, and what the topic said of it so far."""

    ledger: dict[Name, Kept]
    found: Found
    ends: dict[int, int]
    wrong: list[Difference]
    said: dict[Name, Event] = field(default_factory=dict)
    #: Records that the ledger does not hold: must be among the dead letters.
    elsewhere: dict[str, str] = field(default_factory=dict)
    read: int = 0
    duplicates: int = 0
    not_read_yet: int = 0
    gone: int = 0

    def enter(self, record: ConsumerRecord) -> None:
        """Account for a record."""
        self.read += 1
        origin = (record.topic, record.partition, record.offset)
        key = f"{record.topic}:{record.partition}:{record.offset}"
        event = decode(record.headers, record.value)
        if not isinstance(event, Event):
            self.elsewhere[key] = f"{event.reason}, {event.detail}"
            return
        name = (event.source, event.id)
        kept = self.ledger.get(name)
        if kept is None or kept.digest != event.digest():
            self.elsewhere[key] = f"event {event.id!r} of {event.source!r}"
        elif kept.origin == origin:
            self.said[name] = event
            # The same again: of millions, two of each are more than there is room for.
            self.ledger[name] = kept._replace(event=None)
        else:
            self.duplicates += 1


def audit(settings: Settings, engine: Engine) -> tuple[list[Difference], Summary]:
    """Return what is not as the events say, and how much was compared."""
    topic = settings.events_topic
    for needed in (topic, settings.dead_letters_topic):
        need_topic(settings, needed)
    # 1.
    with reading(engine) as connection:
        ends = positions.read(connection, topic)
        ledger, wrong = {}, []
        for kept, its in read_ledger(connection):
            ledger[kept.source, kept.id] = kept
            wrong.extend(its)
        books = _Books(ledger, read_found(connection), ends, wrong)
    # 2.
    with log_reader(settings) as consumer:
        starts = _read(consumer, topic, books)
    # 3.
    rejected, settled = _settle(books, *read_fates(settings))
    # 4.
    _take_on_trust(books, topic, starts)
    retracted = {(e.source, e.data.retracts) for e in books.said.values() if isinstance(e.data, EventRetracted)}
    standing = [e for n, e in books.said.items() if n not in retracted or isinstance(e.data, EventRetracted)]
    facts = fold(standing)
    named = {event.programme for event in books.said.values()}
    books.wrong.extend(differences(facts, named, books.found))
    accepted = len(books.said) - books.gone
    counts = (len(facts.existing_programmes() | named), len(facts.existing_milestones()))
    return books.wrong, Summary(
        books.read, accepted, books.duplicates, rejected, settled, books.not_read_yet, books.gone, *counts
    )


def _read(consumer: KafkaConsumer, topic: str, books: _Books) -> Mapping[int, int]:
    """Read what lies below the positions; return where each partition's log starts."""
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    starts, log_ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    until: dict[TopicPartition, int] = {}
    for partition in partitions:
        position = books.ends.get(partition.partition, starts[partition])
        if position > log_ends[partition]:
            where = f"{topic}:{partition.partition} position"
            books.wrong.append(Difference(where, f"at most {log_ends[partition]}, the log's end", str(position)))
        until[partition] = min(position, log_ends[partition])
        books.not_read_yet += max(0, log_ends[partition] - max(position, starts[partition]))
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for record in records_until(consumer, topic, until):
        books.enter(record)
    return {partition.partition: start for partition, start in starts.items()}


def _settle(books: _Books, letters: set[str], tombstones: set[str]) -> tuple[int, int]:
    """Look for what the ledger does not hold among the dead letters; return how many are there, and were."""
    lost = books.elsewhere.keys() - letters - tombstones
    for key, what in books.elsewhere.items():
        if key in lost:
            books.wrong.append(Difference(key, f"in the ledger or among the dead letters ({what})", "nowhere"))
    return len(books.elsewhere.keys() & letters), len(books.elsewhere.keys() & tombstones)


def _take_on_trust(books: _Books, topic: str, starts: Mapping[int, int]) -> None:
    """Account for ledger rows that no record was found for."""
    for name in sorted(books.ledger.keys() - books.said.keys()):
        kept = books.ledger[name]
        its_topic, partition, offset = kept.origin
        is_gone = its_topic.startswith(f"{topic}{positions.OF_ANOTHER}") or (
            its_topic == topic and offset < starts.get(partition, 0)
        )
        if is_gone and kept.event is not None:
            books.said[name] = kept.event
            books.gone += 1
        else:
            where = f"ledger {kept.source} {kept.id}"
            origin = f"{its_topic}:{partition}:{offset}"
            books.wrong.append(Difference(where, f"the record at {origin} says it", "it does not"))
