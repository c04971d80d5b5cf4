"""Judge events before they are sent, as a worker will that reads them."""
# Check events and send them to the events topic.

from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from msgspec import Raw, Struct

from consumers.client import REQUEST_TIMEOUT_MS, KafkaUnreachableError, create_client, kafka_errors, require_topic
from consumers.event_files import EventLine
from models.domain.cloudevents import STRUCTURED_HEADERS, decode
from models.domain.events import DATA_TYPES, AllowedSources, Event, Oddity, Rejection, RejectionReason, check_acceptable
from models.errors import MilepostError
from models.settings import Settings

#: Takes a line for people.
LineSink = Callable[[str], None]


class Validated(NamedTuple):
    """What came of checking one event."""

    location: str
    outcome: Event | Rejection
    #: Fields of `data` that nobody will read.
    unknown_fields: Sequence[str] = ()


class _DataOnly(Struct):
    data: dict[str, Raw] = {}


_decode_data_only = msgspec.json.Decoder(_DataOnly).decode


def validate(event_lines: Iterable[EventLine], now_ms: int, allowed_sources: AllowedSources) -> Iterator[Validated]:
    """Judge events as a worker would that reads them at this moment."""
    for place in event_lines:
        if place.fault is not None:
            yield Validated(place.location, Rejection(RejectionReason.MALFORMED, place.fault))
            continue
        outcome = decode(STRUCTURED_HEADERS, place.value)
        if isinstance(outcome, Event):
            outcome = check_acceptable(outcome, now_ms, allowed_sources)
        unknown: Sequence[str] = ()
        if isinstance(outcome, Event) and Oddity.UNKNOWN_FIELD in outcome.oddities:
            unknown = _unknown_fields(outcome, place.value)
        yield Validated(place.location, outcome, unknown)


def _unknown_fields(event: Event, value: bytes) -> Sequence[str]:
    return sorted(_decode_data_only(value).data.keys() - set(DATA_TYPES[event.type].__struct_fields__)) or [
        "data_base64"
    ]


def validate_and_report(
    settings: Settings, event_lines: Iterable[EventLine], now_ms: int, report: LineSink, warn: LineSink
) -> tuple[int, int]:
    """Check events, telling the bad and warning of the odd; return how many there are and how many are bad."""
    count = bad = 0
    for where, outcome, unknown in validate(event_lines, now_ms, settings.allowed_sources):
        count += 1
        if isinstance(outcome, Rejection):
            bad += 1
            report(f"{where}: {outcome.reason}: {outcome.detail}")
        elif unknown:
            warn(f"{where}: warning: {outcome.type} does not know {', '.join(unknown)}: nobody will read it")
    return count, bad


#: How many bytes may be on their way at once: kafka-python's own buffer has no bound.
_MAX_IN_FLIGHT_BYTES: Final = 16 * 1024 * 1024
#: How long a record may take to be acknowledged, everything tried.
_DELIVERY_TIMEOUT_MS: Final = 2 * REQUEST_TIMEOUT_MS
#: How long to wait for that verdict, and then for those of the records sent just after.
ACK_TIMEOUT_S: Final = _DELIVERY_TIMEOUT_MS / 1000 + 5
_FLUSH_TIMEOUT_S: Final = 5


class PublishError(MilepostError):
    """Events were not sent, or not all; the message is one line."""


class ContentMode(StrEnum):
    """How a CloudEvent travels in a Kafka record."""

    STRUCTURED = "structured"
    BINARY = "binary"


class _OutgoingRecord(NamedTuple):
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


class _RoutingAttributes(Struct):
    partitionkey: Any = None
    subject: Any = None


_decode_routing = msgspec.json.Decoder(_RoutingAttributes).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def publish_validated(
    settings: Settings,
    read_events: Callable[[], Iterator[EventLine]],
    content_mode: ContentMode,
    now_ms: int,
    warn: LineSink,
) -> int:
    """Check all events and then, if none is bad, send them; return how many. Raises `PublishError`.

    They are read twice, so that a file of any size is sent whole or not at all without being held in memory.
    """
    count, bad = validate_and_report(settings, read_events(), now_ms, warn, warn)
    if bad:
        raise PublishError(f"{bad} of {count} events are not valid: nothing was sent")
    # A file may have grown since: only what was checked is sent.
    return publish_events(settings, islice(read_events(), count), content_mode)


def publish_events(settings: Settings, event_lines: Iterable[EventLine], content_mode: ContentMode) -> int:
    """Send events and wait until the broker has acknowledged all; return how many. Raises `PublishError`."""
    require_topic(settings, settings.events_topic)
    with kafka_errors(settings) as options:
        sending = _BoundedSender(create_reliable_producer(options), settings.events_topic)
    try:
        with kafka_errors(settings):
            for place in event_lines:
                sending.send(place, content_mode)
            sending.wait_for_acks(0)
    except (KafkaUnreachableError, _UnsendableError) as error:
        raise PublishError(
            f"{sending.location}: {error}; sending stopped there,"
            f" {sending.flush_and_count()} events were acknowledged by {settings.events_topic}"
        ) from error
    finally:
        sending.close()
    return sending.acknowledged


class _UnsendableError(Exception):
    """There is no record that carries what stands at a place; the message says why."""


class _AbandonableProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """A producer that can be thrown away: the library's complains at exit of records it could not send."""

    def __del__(self) -> None:
        """Leave it to `close`."""


def create_reliable_producer(options: dict[str, Any], **overrides: Any) -> KafkaProducer:  # noqa: ANN401 - kafka-python's options
    """Return a producer whose records are there once they are acknowledged; the caller closes it."""
    chosen = {
        "acks": "all",
        "delivery_timeout_ms": _DELIVERY_TIMEOUT_MS,
        "max_block_ms": REQUEST_TIMEOUT_MS,
        # More than the default of 16 KiB, so that a long file goes in fewer requests.
        "batch_size": 256 * 1024,
        "linger_ms": 5,
        "allow_auto_create_topics": False,
    }
    return create_client(_AbandonableProducer, **options, **(chosen | overrides))


class _BoundedSender:
    """Counts what was acknowledged, and keeps what is on its way within bounds."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self.acknowledged = 0
        #: The place in hand.
        self.location = ""
        self._producer = producer
        self._topic = topic
        self._in_flight: deque[tuple[str, FutureRecordMetadata, int]] = deque()
        self._in_flight_bytes = 0

    def send(self, event_line: EventLine, content_mode: ContentMode) -> None:
        """Hand an event to the producer; raises `_UnsendableError`, and what Kafka raises for earlier ones."""
        self.location = event_line.location
        record = _encode_record(event_line, content_mode)
        future = self._producer.send(self._topic, key=record.key, headers=record.headers, value=record.value)
        self._in_flight.append((event_line.location, future, len(record.value)))
        self._in_flight_bytes += len(record.value)
        self.wait_for_acks(_MAX_IN_FLIGHT_BYTES)

    def wait_for_acks(self, max_in_flight_bytes: int) -> None:
        """Wait for acknowledgements, the oldest first, until so many bytes are on their way."""
        while self._in_flight and (self._in_flight_bytes > max_in_flight_bytes or not max_in_flight_bytes):
            where, future, size = self._in_flight.popleft()
            self._in_flight_bytes -= size
            try:
                future.get(timeout=ACK_TIMEOUT_S)
            except KafkaError:
                self.location = where
                raise
            self.acknowledged += 1

    def flush_and_count(self) -> int:
        """Return how many were acknowledged, after giving what is still on its way a last moment."""
        with suppress(KafkaError):
            self._producer.flush(timeout=_FLUSH_TIMEOUT_S)
        self.acknowledged += sum(future.succeeded() for _, future, _ in self._in_flight)
        self._in_flight.clear()
        return self.acknowledged

    def close(self) -> None:
        """Let go of the producer. What is on its way then will not arrive, and is accounted for."""
        with suppress(KafkaError):
            self._producer.close(timeout=1)


def _encode_record(event_line: EventLine, content_mode: ContentMode) -> _OutgoingRecord:
    if event_line.fault is not None:
        raise _UnsendableError(event_line.fault)
    key = _record_key(event_line.value)
    if content_mode is ContentMode.STRUCTURED:
        return _OutgoingRecord(key, list(STRUCTURED_HEADERS), event_line.value)
    try:
        return _OutgoingRecord(key, *_encode_binary(_decode_fields(event_line.value)))
    except (ValueError, RecursionError) as error:
        raise _UnsendableError(f"cannot be sent in binary mode: {error}") from None


def _record_key(value: bytes) -> bytes | None:
    """Return the programme an event is about, as far as it can be told: what is sent unchecked may be anything."""
    try:
        routed = _decode_routing(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(routed.partitionkey, str) and routed.partitionkey:
        return routed.partitionkey.encode()
    programme = routed.subject.partition("/")[0] if isinstance(routed.subject, str) else ""
    return programme.encode() or None


def _encode_binary(fields: dict[str, Raw]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return headers and value by the binary content mode of the CloudEvents Kafka binding."""
    data, coded = fields.pop("data", None), _attribute_text(fields.pop("data_base64", Raw(b"null")))
    content_type = _attribute_text(fields.pop("datacontenttype", Raw(b"null"))) or "application/json"
    headers = [("content-type", content_type.encode())]
    for name, raw in fields.items():
        if (text := _attribute_text(raw)) is not None:
            headers.append((f"ce_{name}", text.encode()))
    if coded is not None:
        return headers, b64decode(coded, validate=True)
    # Without data there would be no value, which means something else to Kafka.
    return headers, b"{}" if data is None or bytes(data) == b"null" else bytes(data)


def _attribute_text(raw: Raw) -> str | None:
    """Return an attribute as the text it is in a header; null means absent."""
    attribute = msgspec.json.decode(raw)
    if attribute is None or isinstance(attribute, str):
        return attribute
    return bytes(raw).decode()
