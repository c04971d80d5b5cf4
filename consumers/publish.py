"""Checks events as a worker would, and sends them to the events topic."""

from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from msgspec import Raw, Struct

from consumers.client import KafkaUnreachableError, kafka_errors
from consumers.event_files import EventLine
from consumers.producer import ACK_TIMEOUT_S, open_producer
from consumers.repeated_ids import MAX_REMEMBERED, RepeatedIds
from consumers.rights import Role, require_rights
from models.domain.cloudevents import decode
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import AllowedSources, Event, Rejection, RejectionReason, check_acceptable
from models.domain.json_values import find_repeated_name
from models.domain.unknown_fields import describe_unknown_field
from models.errors import MilepostError
from models.settings import Settings
from models.text import printable

#: How many bytes may be unacknowledged at once: kafka-python's own buffer has no bound.
_MAX_IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024
_FLUSH_TIMEOUT_S: Final = 5

LineSink = Callable[[str], None]


class PublishError(MilepostError):
    """Events were not sent, or not all."""


class _UnsendableError(Exception):
    """No record can carry what stands at a place; the message says why."""


class ContentMode(StrEnum):
    """How a CloudEvent travels in a Kafka record."""

    STRUCTURED = "structured"
    BINARY = "binary"


class Validated(NamedTuple):
    """The outcome of checking one event."""

    location: str
    outcome: Event | Rejection

    @property
    def unknown_fields(self) -> Sequence[str]:
        """Fields of `data` that nobody will read."""
        return self.outcome.unknown_fields if isinstance(self.outcome, Event) else ()


class _OutgoingRecord(NamedTuple):
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


class _RoutingAttributes(Struct):
    partitionkey: Any = None
    subject: Any = None


_decode_routing = msgspec.json.Decoder(_RoutingAttributes).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def validate(
    event_lines: Iterable[EventLine],
    now_ms: int,
    allowed_sources: AllowedSources,
    mode: ContentMode = ContentMode.STRUCTURED,
    repeated_ids: RepeatedIds | None = None,
) -> Iterator[Validated]:
    """Check events as a worker would that reads them at this moment, sent in this mode, one after the other."""
    repeated_ids = repeated_ids or RepeatedIds()
    for event_line in event_lines:
        location, value, fault = event_line
        outcome = Rejection(RejectionReason.MALFORMED, fault) if fault else _decode_as_sent(event_line, mode)
        if isinstance(outcome, Event):
            outcome = check_acceptable(outcome, now_ms, allowed_sources)
        if not fault and (name := find_repeated_name(value)) is not None:
            # A worker takes the last one, as machines do; a person meant one of the two.
            detail = f"the name {name[:64]!r} stands twice in one object"
            outcome = Rejection(RejectionReason.MALFORMED, detail, outcome.source, outcome.type)
        if isinstance(outcome, Event):
            outcome = repeated_ids.check(outcome)
        yield Validated(location, outcome)


def _decode_as_sent(event_line: EventLine, mode: ContentMode) -> Event | Rejection:
    outcome = decode(STRUCTURED_HEADERS, event_line.value)
    if mode is ContentMode.STRUCTURED or isinstance(outcome, Rejection):
        return outcome
    try:
        record = _encode_record(event_line, mode)
    except _UnsendableError as error:
        return Rejection(RejectionReason.INVALID_ENVELOPE, str(error), outcome.source, outcome.type)
    return decode(record.headers, record.value)


def validate_and_report(  # noqa: PLR0913 - what is checked, as what, and where the outcome goes
    settings: Settings,
    event_lines: Iterable[EventLine],
    now_ms: int,
    report: LineSink,
    warn: LineSink,
    mode: ContentMode = ContentMode.STRUCTURED,
) -> tuple[int, int]:
    """Check events, report the invalid, warn of unknown fields; return how many there are, and how many are invalid."""
    count, invalid, repeated_ids = 0, 0, RepeatedIds()
    for location, outcome in validate(event_lines, now_ms, settings.allowed_sources, mode, repeated_ids):
        count += 1
        if isinstance(outcome, Rejection):
            invalid += 1
            report(printable(f"{location}: {outcome.reason}: {outcome.detail}"))
        elif outcome.unknown_fields:
            described = [describe_unknown_field(path, outcome.type) for path in outcome.unknown_fields]
            warn(printable(f"{location}: warning: {outcome.type} does not know {'; '.join(described)}"))
    if repeated_ids.is_full:
        warn(f"warning: ids are compared with those of the first {MAX_REMEMBERED} events alone")
    return count, invalid


def publish_validated(
    settings: Settings, read_events: Callable[[], Iterator[EventLine]], mode: ContentMode, now_ms: int, warn: LineSink
) -> int:
    """Check all events and, if all are valid, send them; return how many. Raises `PublishError`.

    They are read twice, so that a file of any size is sent whole or not at all without being held in memory.
    """
    count, invalid = validate_and_report(settings, read_events(), now_ms, warn, warn, mode)
    if invalid:
        raise PublishError(f"{invalid} of {count} events are not valid: nothing was sent")
    # A file may have grown since: only what was checked is sent.
    return publish_events(settings, islice(read_events(), count), mode)


def publish_events(settings: Settings, event_lines: Iterable[EventLine], mode: ContentMode) -> int:
    """Send events and wait until the broker has acknowledged all; return how many. Raises `PublishError`."""
    require_rights(settings, Role.PUBLISHER)
    with open_producer(settings) as producer:
        sender = _BoundedSender(producer, settings.events_topic)
        try:
            with kafka_errors(settings):
                for event_line in event_lines:
                    sender.send(event_line, mode)
                sender.wait_for_acks(0)
        except (KafkaUnreachableError, _UnsendableError) as error:
            raise PublishError(
                f"{sender.location}: {error}; sending stopped there,"
                f" {sender.flush_and_count()} events were acknowledged by {settings.events_topic}"
            ) from error
    return sender.acknowledged


@dataclass(slots=True)
class _BoundedSender:
    """Sends events, counts the acknowledged, and bounds the bytes that are unacknowledged."""

    _producer: KafkaProducer
    _topic: str
    acknowledged: int = 0
    #: Where the event stands that is being sent, or that failed.
    location: str = ""
    _in_flight: deque[tuple[str, FutureRecordMetadata, int]] = field(default_factory=deque)
    _in_flight_bytes: int = 0

    def send(self, event_line: EventLine, mode: ContentMode) -> None:
        """Pass an event to the producer; raises `_UnsendableError`, and the `KafkaError` of an earlier event."""
        self.location = event_line.location
        record = _encode_record(event_line, mode)
        future = self._producer.send(self._topic, key=record.key, headers=record.headers, value=record.value)
        self._in_flight.append((event_line.location, future, len(record.value)))
        self._in_flight_bytes += len(record.value)
        self.wait_for_acks(_MAX_IN_FLIGHT_BYTES)

    def wait_for_acks(self, max_in_flight_bytes: int) -> None:
        """Wait for acknowledgements, the oldest first, until at most so many bytes are unacknowledged."""
        while self._in_flight and (self._in_flight_bytes > max_in_flight_bytes or not max_in_flight_bytes):
            location, future, size = self._in_flight.popleft()
            self._in_flight_bytes -= size
            try:
                future.get(timeout=ACK_TIMEOUT_S)
            except KafkaError:
                self.location = location
                raise
            self.acknowledged += 1

    def flush_and_count(self) -> int:
        """Return how many events were acknowledged, after a last short wait for those in flight."""
        with suppress(KafkaError):
            self._producer.flush(timeout=_FLUSH_TIMEOUT_S)
        self.acknowledged += sum(future.succeeded() for _, future, _ in self._in_flight)
        self._in_flight.clear()
        return self.acknowledged


def _encode_record(event_line: EventLine, mode: ContentMode) -> _OutgoingRecord:
    if event_line.fault is not None:
        raise _UnsendableError(event_line.fault)
    key = _record_key(event_line.value)
    if mode is ContentMode.STRUCTURED:
        return _OutgoingRecord(key, list(STRUCTURED_HEADERS), event_line.value)
    try:
        return _OutgoingRecord(key, *_encode_binary(_decode_fields(event_line.value)))
    except (ValueError, RecursionError) as error:
        raise _UnsendableError(f"cannot be sent in binary mode: {error}") from None


def _record_key(value: bytes) -> bytes | None:
    """Return the programme of an event, None when it cannot be read: an unchecked value may be anything."""
    try:
        attributes = _decode_routing(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(attributes.partitionkey, str) and attributes.partitionkey:
        return attributes.partitionkey.encode()
    return attributes.subject.partition("/")[0].encode() or None if isinstance(attributes.subject, str) else None


def _encode_binary(fields: dict[str, Raw]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return headers and value by the binary content mode of the CloudEvents Kafka binding."""
    data, data_base64 = fields.pop("data", None), _attribute_text(fields.pop("data_base64", None))
    content_type = _attribute_text(fields.pop("datacontenttype", None)) or "application/json"
    headers = [("content-type", content_type.encode())]
    for name, raw in fields.items():
        if (text := _attribute_text(raw)) is not None:
            headers.append((f"ce_{name}", text.encode()))
    if data_base64 is not None:
        return headers, b64decode(data_base64, validate=True)
    # Without data the value would be null, which means a tombstone to Kafka.
    return headers, b"{}" if data is None or bytes(data) == b"null" else bytes(data)


def _attribute_text(raw: Raw | None) -> str | None:
    """Return the text of an attribute in a header; null means absent."""
    attribute = None if raw is None else msgspec.json.decode(raw)
    return attribute if raw is None or attribute is None or isinstance(attribute, str) else bytes(raw).decode()
