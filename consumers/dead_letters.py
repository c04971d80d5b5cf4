"""The rejected: what the dead-letters topic holds now."""
# Send the rejected back to where they came from, or take them off the list.
#
# A letter is taken off by a tombstone, and only after the broker has acknowledged the record that was sent back: what
# stops in between leaves the letter where it is. It can be replayed again then, for an event counts once.

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata

from consumers.client import KafkaUnreachableError, kafka_errors, require_topic
from consumers.compat import NullableHeaders, NullHeaderSerializer
from consumers.publish import ACK_TIMEOUT_S, create_reliable_producer
from consumers.topic_reader import open_topic_consumer, read_until
from models.domain.dead_letters import DeadLetter, parse_dead_letter
from models.domain.events import RejectionReason
from models.errors import MilepostError
from models.settings import Settings


class DeadLetterNotFoundError(MilepostError):
    """There is no dead letter under a key; the message is one line."""


def read_dead_letters(settings: Settings) -> list[DeadLetter]:
    """Return what the topic holds from its start to its present end, in the order of origin.

    Of several letters with one key the last counts, and a tombstone takes it back: compaction may not have been there.
    """
    return sorted(
        (letter for letter in _read_newest_by_key(settings).values() if letter is not None), key=_origin_sort_key
    )


def read_newest_dead_letters(settings: Settings, offset_count: int) -> list[DeadLetter]:
    """Return what so many offsets at the end of the topic hold, the newest first."""
    letters = _read_newest_by_key(settings, offset_count)
    return [letter for letter in reversed(letters.values()) if letter is not None]


def read_keys_and_tombstones(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the keys of the dead letters there are, and of those that a tombstone took back."""
    letters = _read_newest_by_key(settings)
    there = {letter.key for letter in letters.values() if letter is not None}
    return there, {key.decode("utf-8", "backslashreplace") for key, letter in letters.items() if letter is None}


def _read_newest_by_key(settings: Settings, offset_count: int | None = None) -> dict[bytes, DeadLetter | None]:
    require_topic(settings, settings.dead_letters_topic)
    letters: dict[bytes, DeadLetter | None] = {}
    with open_topic_consumer(settings) as consumer:
        for record in _read_records(consumer, settings.dead_letters_topic, offset_count):
            # What is said again of a letter is the newest of it.
            letters.pop(record.key or b"", None)
            letters[record.key or b""] = parse_dead_letter(record.key, record.value, record.headers)
    return letters


def find_dead_letter(settings: Settings, key: str) -> DeadLetter:
    """Return the letter with a key; raises `NoSuchLetterError`."""
    for letter in read_dead_letters(settings):
        if letter.key == key:
            return letter
    raise DeadLetterNotFoundError(
        f"there is no dead letter {key!r} in {settings.dead_letters_topic} on {settings.kafka}:"
        " `milepost dead-letters list` shows those that are"
    )


def _read_records(consumer: KafkaConsumer, topic: str, offset_count: int | None) -> Iterator[ConsumerRecord]:
    """Return the records of a topic up to its present end: all of them, or so many offsets of each partition."""
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    if offset_count is not None:
        for partition, start in consumer.beginning_offsets(partitions).items():
            consumer.seek(partition, max(start, ends[partition] - offset_count))
    return read_until(consumer, topic, ends)


def _origin_sort_key(dead_letter: DeadLetter) -> tuple[Any, ...]:
    return dead_letter.topic, dead_letter.partition or 0, dead_letter.offset or 0, dead_letter.key


#: The largest record to be sent: what came in is never larger than its letter, see `deploy.topics`.
_MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
#: How many letters are on their way at once.
_CHUNK_SIZE: Final = 50

OnResolved = Callable[[DeadLetter], None]


class ReplayError(MilepostError):
    """Letters were not replayed or discarded, or not all; the message is one line."""


class DeadLetterSelection(NamedTuple):
    """Which letters: those with these keys, or of this reason, or (neither) all."""

    keys: Sequence[str] = ()
    reason: str | None = None


def select_dead_letters(settings: Settings, selection: DeadLetterSelection) -> list[DeadLetter]:
    """Return the letters chosen, in the order of origin; raises `NoSuchLetterError` for a key or reason unheard of."""
    letters = read_dead_letters(settings)
    where = f"in {settings.dead_letters_topic} on {settings.kafka}: `milepost dead-letters list` shows those that are"
    if absent := [key for key in selection.keys if key not in {letter.key for letter in letters}]:
        raise DeadLetterNotFoundError(f"there is no dead letter {absent[0]!r} {where}; nothing was done")
    if selection.keys:
        return [letter for letter in letters if letter.key in selection.keys]
    if selection.reason is None:
        return letters
    known = {reason.value for reason in RejectionReason} | {letter.reason for letter in letters}
    if selection.reason not in known:
        raise DeadLetterNotFoundError(f"there is no reason {selection.reason!r}, only {', '.join(sorted(known))}")
    return [letter for letter in letters if letter.reason == selection.reason]


def require_replayable(settings: Settings, dead_letters: Iterable[DeadLetter]) -> None:
    """Raise `ReplayError` for a letter that does not say that it came from the events topic: no header names another.

    The headers of a letter are anybody's who may write to the topic; the events topic is where Milepost reads.
    """
    for letter in dead_letters:
        if letter.topic != settings.events_topic or letter.partition is None or letter.offset is None:
            raise ReplayError(
                f"dead letter {letter.key!r} does not say which partition of {settings.events_topic} it came from:"
                " it cannot be replayed; nothing was done"
            )


def replay(settings: Settings, dead_letters: Sequence[DeadLetter], on_resolved: OnResolved) -> None:
    """Send letters back as they came, to the partition they came from, and take them off the list.

    Tells each that is done. Raises `ReplayError`, which says how many were.
    """
    require_replayable(settings, dead_letters)
    require_topic(settings, settings.events_topic)
    _resolve(settings, dead_letters, on_resolved, _resend_to_origin)


def discard(settings: Settings, dead_letters: Sequence[DeadLetter], on_resolved: OnResolved) -> None:
    """Take letters off the list. Tells each that is done; raises `ReplayError`, which says how many were."""
    require_topic(settings, settings.dead_letters_topic)
    _resolve(settings, dead_letters, on_resolved, None)


_SendRecord = Callable[[KafkaProducer, DeadLetter], FutureRecordMetadata]


def _resolve(
    settings: Settings, dead_letters: Sequence[DeadLetter], on_resolved: OnResolved, resend: _SendRecord | None
) -> None:
    def send_tombstone(producer: KafkaProducer, dead_letter: DeadLetter) -> FutureRecordMetadata:
        return producer.send(settings.dead_letters_topic, key=dead_letter.key_bytes, value=None)

    done = 0
    try:
        with _open_producer(settings) as sending, _open_producer(settings) as burying:
            # Two, because kafka-python's has done for good once one of its records is refused, and what was sent back
            # before that is still to be taken off the list.
            _require_partitions(sending, dead_letters if resend else ())
            for start in range(0, len(dead_letters), _CHUNK_SIZE):
                sent, failed = dead_letters[start : start + _CHUNK_SIZE], None
                if resend:
                    sent, failed = _send_and_wait(sending, sent, resend)
                buried, unburied = _send_and_wait(burying, sent, send_tombstone)
                done += len(buried)
                for letter in buried:
                    on_resolved(letter)
                if (error := failed or unburied) is not None:
                    raise error
    except KafkaUnreachableError as error:
        doing = "replayed" if resend else "discarded"
        raise ReplayError(f"{error}; {done} of {len(dead_letters)} dead letters were {doing} before") from error


@contextmanager
def _open_producer(settings: Settings) -> Iterator[KafkaProducer]:
    with kafka_errors(settings) as options:
        # A batch each: the broker takes or refuses batches, and what it refuses is to be that letter alone.
        producer = create_reliable_producer(
            options, max_request_size=_MAX_REQUEST_BYTES, batch_size=0, value_serializer=NullHeaderSerializer()
        )
        try:
            yield producer
        finally:
            # What is on its way then will not arrive, and is accounted for.
            with suppress(KafkaError):
                producer.close(timeout=1)


def _resend_to_origin(producer: KafkaProducer, dead_letter: DeadLetter) -> FutureRecordMetadata:
    headers = NullableHeaders(dead_letter.headers)
    # A letter does not keep the key, on which nothing depends; kafka-python sends no record without key and value.
    key = b"" if dead_letter.value is None else None
    return producer.send(
        dead_letter.topic, key=key, value=dead_letter.value, headers=headers, partition=dead_letter.partition
    )


def _require_partitions(producer: KafkaProducer, dead_letters: Iterable[DeadLetter]) -> None:
    for letter in dead_letters:
        if letter.partition not in producer.partitions_for(letter.topic):
            raise ReplayError(
                f"topic {letter.topic} has no partition {letter.partition} any more, which dead letter {letter.key!r}"
                " came from: it cannot be replayed; nothing was done"
            )


def _send_and_wait(
    producer: KafkaProducer, dead_letters: Sequence[DeadLetter], send: _SendRecord
) -> tuple[list[DeadLetter], KafkaError | None]:
    """Send a record for each letter and wait; return for which the broker has it, and the first failure."""
    there: list[DeadLetter] = []
    waiting: list[tuple[DeadLetter, FutureRecordMetadata]] = []
    failed: KafkaError | None = None
    try:
        for letter in dead_letters:
            waiting.append((letter, send(producer, letter)))  # noqa: PERF401 - those before a failure count
    except KafkaError as error:
        failed = error
    for letter, future in waiting:
        try:
            future.get(timeout=ACK_TIMEOUT_S)
        except KafkaError as error:
            failed = failed or error
        else:
            there.append(letter)
    return there, failed
