"""The rejected: what the dead-letters topic holds now."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from consumers.connection import need_topic
from consumers.log_reading import log_reader, records_until
from models.settings import Settings

#: The headers that Milepost adds: contract, section 3. All others are the rejected record's own, whatever their names.
OURS: Final = frozenset(f"milepost-{name}" for name in ("reason", "detail", "topic", "partition", "offset", "source"))
_REASON: Final = "milepost-reason"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was not accepted, and why."""

    #: Where it came from: `<topic>:<partition>:<offset>`.
    key: str
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None
    #: The CloudEvents source, when it could be read.
    source: str | None
    #: The record as it came; null is one of the things it may be rejected for.
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class NoSuchLetterError(Exception):
    """There is no dead letter under a key; the message is one line."""


def read_dead_letters(settings: Settings) -> list[DeadLetter]:
    """Return what the topic holds from its start to its present end, in the order of origin.

    Of several letters with one key the last counts, and a tombstone takes it back: compaction may not have been there.
    """
    return sorted((letter for letter in _read(settings).values() if letter is not None), key=_origin)


def read_newest_letters(settings: Settings, offsets: int) -> list[DeadLetter]:
    """Return what so many offsets at the end of the topic hold, the newest first."""
    letters = _read(settings, offsets)
    return [letter for letter in reversed(letters.values()) if letter is not None]


def read_fates(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the keys of the dead letters there are, and of those that a tombstone took back."""
    letters = _read(settings)
    there = {letter.key for letter in letters.values() if letter is not None}
    return there, {key.decode("utf-8", "backslashreplace") for key, letter in letters.items() if letter is None}


def _read(settings: Settings, offsets: int | None = None) -> dict[bytes, DeadLetter | None]:
    need_topic(settings, settings.dead_letters_topic)
    letters: dict[bytes, DeadLetter | None] = {}
    with log_reader(settings) as consumer:
        for record in _records(consumer, settings.dead_letters_topic, offsets):
            # What is said again of a letter is the newest of it.
            letters.pop(record.key or b"", None)
            letters[record.key or b""] = _letter(record)
    return letters


def find_dead_letter(settings: Settings, key: str) -> DeadLetter:
    """Return the letter with a key; raises `NoSuchLetterError`."""
    for letter in read_dead_letters(settings):
        if letter.key == key:
            return letter
    raise NoSuchLetterError(
        f"there is no dead letter {key!r} in {settings.dead_letters_topic} on {settings.kafka}:"
        " `milepost dead-letters list` shows those that are"
    )


def _records(consumer: KafkaConsumer, topic: str, offsets: int | None) -> Iterator[ConsumerRecord]:
    """Return the records of a topic up to its present end: all of them, or so many offsets of each partition."""
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    if offsets is not None:
        for partition, start in consumer.beginning_offsets(partitions).items():
            consumer.seek(partition, max(start, ends[partition] - offsets))
    return records_until(consumer, topic, ends)


def _letter(record: ConsumerRecord) -> DeadLetter | None:
    """Return the letter a record holds, or None for a tombstone."""
    ours: dict[str, str] = {}
    theirs: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        if name in OURS:
            ours[name] = (value or b"").decode("utf-8", "backslashreplace")
        else:
            theirs.append((name, value))
    # A null value alone is no tombstone: a record whose value was null is rejected as it came, under our headers.
    if record.value is None and _REASON not in ours:
        return None
    return DeadLetter(
        # A stranger's key may be any bytes, and has to be found again by them.
        key=(record.key or b"").decode("utf-8", "surrogateescape"),
        reason=ours.get(_REASON, "unknown"),
        detail=ours.get("milepost-detail", ""),
        topic=ours.get("milepost-topic", ""),
        partition=_number(ours.get("milepost-partition")),
        offset=_number(ours.get("milepost-offset")),
        source=ours.get("milepost-source"),
        value=record.value,
        headers=tuple(theirs),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _origin(letter: DeadLetter) -> tuple[Any, ...]:
    return letter.topic, letter.partition or 0, letter.offset or 0, letter.key
