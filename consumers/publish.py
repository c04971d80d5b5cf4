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

from consumers.client import REQUEST_MS, KafkaUnreachableError, client, need_topic, reaching
from consumers.event_files import Written
from models.domain.cloudevents import STRUCTURED, decode
from models.domain.events import DATA_TYPES, AllowedSources, Event, Oddity, Reason, Rejection, admit
from models.errors import MilepostError
from models.settings import Settings

#: Takes a line for people.
Tell = Callable[[str], None]

STRUCTURED_HEADERS: Final = [("content-type", STRUCTURED.encode())]


class Checked(NamedTuple):
    """What came of checking one event."""

    where: str
    outcome: Event | Rejection
    #: Fields of `data` that nobody will read.
    unknown: Sequence[str] = ()


class _Carrying(Struct):
    data: dict[str, Raw] = {}


_decode_carrying = msgspec.json.Decoder(_Carrying).decode


def check(written: Iterable[Written], now_ms: int, allowed: AllowedSources) -> Iterator[Checked]:
    """Judge events as a worker would that reads them at this moment."""
    for place in written:
        if place.fault is not None:
            yield Checked(place.where, Rejection(Reason.MALFORMED, place.fault))
            continue
        outcome = decode(STRUCTURED_HEADERS, place.value)
        if isinstance(outcome, Event):
            outcome = admit(outcome, now_ms, allowed)
        unknown: Sequence[str] = ()
        if isinstance(outcome, Event) and Oddity.UNKNOWN_FIELD in outcome.oddities:
            unknown = _unknown_fields(outcome, place.value)
        yield Checked(place.where, outcome, unknown)


def _unknown_fields(event: Event, value: bytes) -> Sequence[str]:
    return sorted(_decode_carrying(value).data.keys() - set(DATA_TYPES[event.type].__struct_fields__)) or [
        "data_base64"
    ]


def check_all(settings: Settings, written: Iterable[Written], now_ms: int, tell: Tell, warn: Tell) -> tuple[int, int]:
    """Check events, telling the bad and warning of the odd; return how many there are and how many are bad."""
    count = bad = 0
    for where, outcome, unknown in check(written, now_ms, settings.allowed_sources):
        count += 1
        if isinstance(outcome, Rejection):
            bad += 1
            tell(f"{where}: {outcome.reason}: {outcome.detail}")
        elif unknown:
            warn(f"{where}: warning: {outcome.type} does not know {', '.join(unknown)}: nobody will read it")
    return count, bad


#: How many bytes may be on their way at once: kafka-python's own buffer has no bound.
_ON_THE_WAY: Final = 16 * 1024 * 1024
#: How long a record may take to be acknowledged, everything tried.
_DELIVERY_MS: Final = 2 * REQUEST_MS
#: How long to wait for that verdict, and then for those of the records sent just after.
PATIENCE_S: Final = _DELIVERY_MS / 1000 + 5
_LAST_S: Final = 5


class PublishError(MilepostError):
    """Events were not sent, or not all; the message is one line."""


class Mode(StrEnum):
    """How a CloudEvent travels in a Kafka record."""

    STRUCTURED = "structured"
    BINARY = "binary"


class _Record(NamedTuple):
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


class _Routed(Struct):
    partitionkey: Any = None
    subject: Any = None


_decode_routed = msgspec.json.Decoder(_Routed).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def publish_checked(
    settings: Settings, read: Callable[[], Iterator[Written]], mode: Mode, now_ms: int, warn: Tell
) -> int:
    """Check all events and then, if none is bad, send them; return how many. Raises `PublishError`.

    They are read twice, so that a file of any size is sent whole or not at all without being held in memory.
    """
    count, bad = check_all(settings, read(), now_ms, warn, warn)
    if bad:
        raise PublishError(f"{bad} of {count} events are not valid: nothing was sent")
    # A file may have grown since: only what was checked is sent.
    return publish(settings, islice(read(), count), mode)


def publish(settings: Settings, written: Iterable[Written], mode: Mode) -> int:
    """Send events and wait until the broker has acknowledged all; return how many. Raises `PublishError`."""
    need_topic(settings, settings.events_topic)
    with reaching(settings) as options:
        sending = _Sending(make_producer(options), settings.events_topic)
    try:
        with reaching(settings):
            for place in written:
                sending.send(place, mode)
            sending.settle(0)
    except (KafkaUnreachableError, _UnsendableError) as error:
        raise PublishError(
            f"{sending.where}: {error}; sending stopped there,"
            f" {sending.settled()} events were acknowledged by {settings.events_topic}"
        ) from error
    finally:
        sending.close()
    return sending.acknowledged


class _UnsendableError(Exception):
    """There is no record that carries what stands at a place; the message says why."""


class _Producer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """A producer that can be thrown away: the library's complains at exit of records it could not send."""

    def __del__(self) -> None:
        """Leave it to `close`."""


def make_producer(options: dict[str, Any], **more: Any) -> KafkaProducer:  # noqa: ANN401 - kafka-python's options
    """Return a producer whose records are there once they are acknowledged; the caller closes it."""
    chosen = {
        "acks": "all",
        "delivery_timeout_ms": _DELIVERY_MS,
        "max_block_ms": REQUEST_MS,
        # More than the default of 16 KiB, so that a long file goes in fewer requests.
        "batch_size": 256 * 1024,
        "linger_ms": 5,
        "allow_auto_create_topics": False,
    }
    return client(_Producer, **options, **(chosen | more))


class _Sending:
    """Counts what was acknowledged, and keeps what is on its way within bounds."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self.acknowledged = 0
        #: The place in hand.
        self.where = ""
        self._producer = producer
        self._topic = topic
        self._waiting: deque[tuple[str, FutureRecordMetadata, int]] = deque()
        self._bytes = 0

    def send(self, place: Written, mode: Mode) -> None:
        """Hand an event to the producer; raises `_UnsendableError`, and what Kafka raises for earlier ones."""
        self.where = place.where
        record = _record(place, mode)
        future = self._producer.send(self._topic, key=record.key, headers=record.headers, value=record.value)
        self._waiting.append((place.where, future, len(record.value)))
        self._bytes += len(record.value)
        self.settle(_ON_THE_WAY)

    def settle(self, allowed: int) -> None:
        """Wait for acknowledgements, the oldest first, until so many bytes are on their way."""
        while self._waiting and (self._bytes > allowed or not allowed):
            where, future, size = self._waiting.popleft()
            self._bytes -= size
            try:
                future.get(timeout=PATIENCE_S)
            except KafkaError:
                self.where = where
                raise
            self.acknowledged += 1

    def settled(self) -> int:
        """Return how many were acknowledged, after giving what is still on its way a last moment."""
        with suppress(KafkaError):
            self._producer.flush(timeout=_LAST_S)
        self.acknowledged += sum(future.succeeded() for _, future, _ in self._waiting)
        self._waiting.clear()
        return self.acknowledged

    def close(self) -> None:
        """Let go of the producer. What is on its way then will not arrive, and is accounted for."""
        with suppress(KafkaError):
            self._producer.close(timeout=1)


def _record(place: Written, mode: Mode) -> _Record:
    if place.fault is not None:
        raise _UnsendableError(place.fault)
    key = _key(place.value)
    if mode is Mode.STRUCTURED:
        return _Record(key, list(STRUCTURED_HEADERS), place.value)
    try:
        return _Record(key, *_binary(_decode_fields(place.value)))
    except (ValueError, RecursionError) as error:
        raise _UnsendableError(f"cannot be sent in binary mode: {error}") from None


def _key(value: bytes) -> bytes | None:
    """Return the programme an event is about, as far as it can be told: what is sent unchecked may be anything."""
    try:
        routed = _decode_routed(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(routed.partitionkey, str) and routed.partitionkey:
        return routed.partitionkey.encode()
    programme = routed.subject.partition("/")[0] if isinstance(routed.subject, str) else ""
    return programme.encode() or None


def _binary(fields: dict[str, Raw]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return headers and value by the binary content mode of the CloudEvents Kafka binding."""
    data, coded = fields.pop("data", None), _text(fields.pop("data_base64", Raw(b"null")))
    content_type = _text(fields.pop("datacontenttype", Raw(b"null"))) or "application/json"
    headers = [("content-type", content_type.encode())]
    for name, raw in fields.items():
        if (text := _text(raw)) is not None:
            headers.append((f"ce_{name}", text.encode()))
    if coded is not None:
        return headers, b64decode(coded, validate=True)
    # Without data there would be no value, which means something else to Kafka.
    return headers, b"{}" if data is None or bytes(data) == b"null" else bytes(data)


def _text(raw: Raw) -> str | None:
    """Return an attribute as the text it is in a header; null means absent."""
    attribute = msgspec.json.decode(raw)
    if attribute is None or isinstance(attribute, str):
        return attribute
    return bytes(raw).decode()
