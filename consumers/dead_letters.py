"""Reads the dead-letters topic; replays dead letters to the partition they came from, or discards them.

A dead letter is removed by a tombstone, and only after the broker has acknowledged the record that was sent back: an
interruption in between leaves the dead letter in place. Replaying it again does no harm, because an event counts once.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata

from consumers.client import KafkaUnreachableError, admin_client, require_topic, require_topics
from consumers.compat import NullableHeaders, NullHeaderSerializer
from consumers.producer import ACK_TIMEOUT_S, open_producer
from consumers.topic_reader import open_topic, read_ranges
from models.domain.dead_letters import DeadLetter, parse_dead_letter, read_event_attributes
from models.domain.events import RejectionReason
from models.errors import MilepostError
from models.settings import Settings

#: The largest record to send: more than a dead letter can have, see `models.domain.dead_letters`.
_MAX_REQUEST_BYTES: Final = 1024 * 1024
#: How many dead letters are in flight at once.
_CHUNK_SIZE: Final = 50
#: How much of a wrong key or reason a line repeats.
_MAX_SHOWN: Final = 200


T = TypeVar("T")


class DeadLetterSummary(NamedTuple):
    """What can be said of a dead letter in a line."""

    key: str
    rejected_ms: int | None
    source: str | None
    id: str | None
    type: str | None
    subject: str | None
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None


def read_dead_letters(settings: Settings) -> list[DeadLetter]:
    """Return what the topic holds from its start to its present end, in the order of origin.

    Of several records with one key the last counts, and a tombstone removes it, whether or not compaction has run.
    """
    existing = filter(None, _read_newest_by_key(settings, _parse).values())
    return sorted(existing, key=lambda letter: (letter.topic, letter.partition or 0, letter.offset or 0, letter.key))


def read_newest_dead_letters(settings: Settings, offset_count: int) -> list[DeadLetter]:
    """Return what so many offsets at the end of the topic hold, the newest first."""
    return list(filter(None, reversed(_read_newest_by_key(settings, _parse, offset_count).values())))


def list_dead_letters(
    settings: Settings, source: str | None = None, reason: str | None = None, since_ms: int | None = None
) -> list[DeadLetterSummary]:
    """Return what can be said in a line of the dead letters with this source and reason, the newest first.

    With `since_ms`, of those rejected since then. Raises `MilepostError` for an unknown reason.
    """
    letters = [letter for letter in _read_newest_by_key(settings, _summarize).values() if letter is not None]
    _require_known_reason(reason, (letter.reason for letter in letters))
    return [
        letter
        for letter in reversed(letters)
        if source in {None, letter.source}
        and reason in {None, letter.reason}
        and (since_ms is None or (letter.rejected_ms or 0) >= since_ms)
    ]


def read_keys_and_tombstones(settings: Settings) -> tuple[set[str], set[str]]:
    """Return the keys of the dead letters, and of those that a tombstone has removed."""
    by_key = _read_newest_by_key(settings, _parse)
    removed = {key.decode("utf-8", "backslashreplace") for key, dead_letter in by_key.items() if dead_letter is None}
    return {dead_letter.key for dead_letter in by_key.values() if dead_letter is not None}, removed


def find_dead_letter(settings: Settings, key: str) -> DeadLetter:
    """Return the dead letter with a key; raises `MilepostError`."""
    for dead_letter in read_dead_letters(settings):
        if dead_letter.key == key:
            return dead_letter
    raise _not_found_error(settings, key)


def select_dead_letters(settings: Settings, keys: Sequence[str], reason: str | None) -> list[DeadLetter]:
    """Return the dead letters with these keys, or of this reason, or (neither) all, in the order of origin.

    Raises `MilepostError` for an unknown key or reason.
    """
    dead_letters = read_dead_letters(settings)
    existing = {dead_letter.key for dead_letter in dead_letters}
    for key in keys:
        if key not in existing:
            raise _not_found_error(settings, key, "; nothing was done")
    _require_known_reason(reason, (dead_letter.reason for dead_letter in dead_letters))
    return [letter for letter in dead_letters if letter.key in keys or (not keys and reason in {None, letter.reason})]


def _require_known_reason(reason: str | None, others: Iterable[str]) -> None:
    reasons = {*RejectionReason, *others}
    if reason is not None and reason not in reasons:
        raise MilepostError(f"there is no reason {reason[:_MAX_SHOWN]!r}, only {', '.join(sorted(reasons))}")


def split_replayable(
    settings: Settings, dead_letters: Iterable[DeadLetter]
) -> tuple[list[DeadLetter], list[tuple[DeadLetter, str]]]:
    """Return the dead letters that can be replayed, and the others, each with the reason why it cannot."""
    with admin_client(settings) as admin:
        partition_count = require_topics(settings, admin, [settings.events_topic])[settings.events_topic]
    replayable, others = list[DeadLetter](), list[tuple[DeadLetter, str]]()
    for dead_letter in dead_letters:
        if problem := _why_not_replayable(settings, dead_letter, partition_count):
            others.append((dead_letter, problem))
        else:
            replayable.append(dead_letter)
    return replayable, others


def _why_not_replayable(settings: Settings, dead_letter: DeadLetter, partition_count: int) -> str | None:
    topic, partition = dead_letter.topic, dead_letter.partition
    # Whoever may write to the dead-letters topic decides its headers; records are sent to the events topic only.
    if topic != settings.events_topic or partition is None or dead_letter.offset is None:
        return f"does not say which partition of {settings.events_topic} it came from"
    if partition >= partition_count:
        return f"came from partition {partition}, and topic {topic} has {partition_count}"
    if dead_letter.truncated is not None:
        return f"has only the beginning of a record of {dead_letter.truncated} bytes, which would be rejected again"
    return None


def require_replayable(settings: Settings, dead_letters: Iterable[DeadLetter]) -> None:
    """Raise `MilepostError` for a dead letter that cannot be replayed."""
    _, others = split_replayable(settings, dead_letters)
    for dead_letter, problem in others:
        raise MilepostError(f"dead letter {dead_letter.key!r} {problem}: it cannot be replayed; nothing was done")


def replay(settings: Settings, dead_letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
    """Send records back as they came, to the partition they came from; yield the dead letters that this removed.

    Raises `MilepostError`, which says how many were.
    """
    require_replayable(settings, dead_letters)
    yield from _resolve(settings, dead_letters, resend=True)


def discard(settings: Settings, dead_letters: Sequence[DeadLetter]) -> Iterator[DeadLetter]:
    """Remove dead letters, as `replay` does, without sending their records back."""
    require_topic(settings, settings.dead_letters_topic)
    yield from _resolve(settings, dead_letters, resend=False)


def _read_newest_by_key(
    settings: Settings, parse: Callable[[ConsumerRecord], T | None], offset_count: int = sys.maxsize
) -> dict[bytes, T | None]:
    """Return all that the topic holds, or so many offsets at the end of each partition; None is a tombstone."""
    topic = settings.dead_letters_topic
    require_topic(settings, topic)
    newest: dict[bytes, T | None] = {}
    with open_topic(settings, topic) as (consumer, ranges):
        newest_ranges = {number: (max(start, end - offset_count), end) for number, (start, end) in ranges.items()}
        for record in read_ranges(consumer, topic, newest_ranges):
            # A later record with the same key replaces the earlier one, and takes the last place.
            newest.pop(record.key or b"", None)
            newest[record.key or b""] = parse(record)
    return newest


def _parse(record: ConsumerRecord) -> DeadLetter | None:
    return parse_dead_letter(record.key, record.value, record.headers, record.timestamp)


def _summarize(record: ConsumerRecord) -> DeadLetterSummary | None:
    letter = _parse(record)
    if letter is None:
        return None
    attributes = read_event_attributes(letter)
    return DeadLetterSummary(
        letter.key, letter.rejected_ms, *attributes, *(getattr(letter, name) for name in DeadLetterSummary._fields[6:])
    )


def _not_found_error(settings: Settings, key: str, suffix: str = "") -> MilepostError:
    return MilepostError(
        f"there is no dead letter {key[:_MAX_SHOWN]!r} in {settings.dead_letters_topic} on {settings.kafka}:"
        f" `milepost dead-letters list` shows those that are{suffix}"
    )


def _resolve(settings: Settings, dead_letters: Sequence[DeadLetter], *, resend: bool) -> Iterator[DeadLetter]:
    def send_tombstone(producer: KafkaProducer, dead_letter: DeadLetter) -> FutureRecordMetadata:
        return producer.send(settings.dead_letters_topic, key=dead_letter.key_bytes, value=None)

    options: dict[str, Any] = {
        "max_request_size": _MAX_REQUEST_BYTES,
        # One record a batch: the broker refuses whole batches, and only the refused dead letter is to stay.
        "batch_size": 0,
        "value_serializer": NullHeaderSerializer(),
    }
    removed_count = 0
    try:
        # Two producers: kafka-python's is unusable once the broker has refused one of its records, and the dead letters
        # whose records were sent back before that are still to be removed.
        with open_producer(settings, **options) as resender, open_producer(settings, **options) as remover:
            for start in range(0, len(dead_letters), _CHUNK_SIZE):
                sent, error = dead_letters[start : start + _CHUNK_SIZE], None
                if resend:
                    sent, error = _send_and_wait(resender, sent, _resend_to_origin)
                removed, removal_error = _send_and_wait(remover, sent, send_tombstone)
                removed_count += len(removed)
                yield from removed
                if (failure := error or removal_error) is not None:
                    raise failure
    except KafkaUnreachableError as error:
        verb = "replayed" if resend else "discarded"
        outcome = f"{removed_count} of {len(dead_letters)} dead letters were {verb} before"
        raise MilepostError(f"{error}; {outcome}") from error


def _resend_to_origin(producer: KafkaProducer, dead_letter: DeadLetter) -> FutureRecordMetadata:
    # A dead letter does not keep the record's key, on which nothing depends; kafka-python needs a key or a value.
    key, headers = b"" if dead_letter.value is None else None, NullableHeaders(dead_letter.headers)
    return producer.send(dead_letter.topic, dead_letter.value, key, headers, dead_letter.partition)


def _send_and_wait(
    producer: KafkaProducer,
    dead_letters: Sequence[DeadLetter],
    send: Callable[[KafkaProducer, DeadLetter], FutureRecordMetadata],
) -> tuple[list[DeadLetter], KafkaError | None]:
    """Send a record for each dead letter and wait; return those whose record was acknowledged, and the first error."""
    acknowledged: list[DeadLetter] = []
    in_flight: list[tuple[DeadLetter, FutureRecordMetadata]] = []
    first_error: KafkaError | None = None
    try:
        for dead_letter in dead_letters:
            in_flight.append((dead_letter, send(producer, dead_letter)))  # noqa: PERF401 - those before an error count
    except KafkaError as error:
        first_error = error
    for dead_letter, future in in_flight:
        try:
            future.get(timeout=ACK_TIMEOUT_S)
        except KafkaError as error:
            first_error = first_error or error
        else:
            acknowledged.append(dead_letter)
    return acknowledged, first_error
