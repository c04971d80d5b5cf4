"""The dead-letter record format, written and read: contract, section 3.

The key is `<topic>:<partition>:<offset>` of the rejected record. The value and the headers are those of that record,
with Milepost's own headers added. A null value without them is a tombstone.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from models.domain.envelope import Headers
from models.domain.events import MAX_VALUE_BYTES, Rejection

#: How much of a record's value is kept, when the whole is too large to be an event.
KEPT_BYTES: Final = 64 * 1024
#: How many bytes of a record's headers are kept. An event's are a few hundred.
MAX_HEADER_BYTES: Final = 256 * 1024
#: What a header counts beside its name and value, so that many empty ones are bounded too.
HEADER_OVERHEAD_BYTES: Final = 16
#: How many characters of an attribute are read from a rejected event: more than an accepted one may have.
_MAX_SHOWN: Final = 1000

_PREFIX: Final = "milepost-"
_NAMES: Final = ("reason", "detail", "topic", "partition", "offset", "source", "truncated")
#: The headers that Milepost adds, the reason first, behind the rejected record's own.
MILEPOST_HEADERS: Final = frozenset(_PREFIX + name for name in _NAMES)
_REASON_HEADER: Final = _PREFIX + "reason"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was rejected, and why."""

    key: str
    reason: str
    detail: str
    #: Where the record came from; any writer to the dead-letters topic can claim anything here.
    topic: str
    partition: int | None
    offset: int | None
    source: str | None  # of CloudEvents, when it could be read
    value: bytes | None  # the original; null is one of the reasons for a rejection
    headers: tuple[tuple[str, bytes | None], ...]  # the original ones
    #: How many bytes the record had, when the value or the headers are only the first of them.
    truncated: int | None = None
    #: When it was rejected, in milliseconds since the epoch, if that is known.
    rejected_ms: int | None = None

    @property
    def key_bytes(self) -> bytes:
        """The record key of this letter, and of the tombstone that removes it."""
        return self.key.encode("utf-8", "surrogateescape")


def dead_letter_key(topic: str, partition: int, offset: int) -> bytes:
    """Return the key of a rejected record: a repeated rejection replaces the earlier one in the compacted topic."""
    return f"{topic}:{partition}:{offset}".encode()


class OversizeValue(bytes):
    """The first bytes of a value that is too large to be held in memory; `len()` tells the size of the whole."""

    size: int

    @classmethod
    def of(cls, start: bytes, size: int) -> "OversizeValue":
        """Return the start of a value of so many bytes."""
        value = cls(start)
        value.size = size
        return value

    def __len__(self) -> int:
        """Return the size of the whole value."""
        return self.size


def dead_letter_content(  # noqa: PLR0913 - the fields of a record, and why it was rejected
    topic: str, partition: int, offset: int, headers: Headers, value: bytes | None, rejection: Rejection
) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Return the value of a dead letter, and its headers: the original ones and Milepost's.

    Both are bounded, so that a broker with its default settings takes every dead letter: of a value that is too large
    to be an event there are the first 64 KiB, and of headers those that fit into 256 KiB.
    """
    kept_headers = _bound_headers(headers)
    added = {
        "reason": rejection.reason.value,
        "detail": rejection.detail,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
    }
    if rejection.source:
        added["source"] = rejection.source
    size = 0 if value is None else len(value)
    if value is not None and size > MAX_VALUE_BYTES:
        value = bytes(value[:KEPT_BYTES])
        added["truncated"] = str(size)
    elif len(kept_headers) < len(headers):
        added["truncated"] = str(size + sum(map(_header_bytes, headers)))
    return value, [*kept_headers, *((_PREFIX + name, text.encode("utf-8", "replace")) for name, text in added.items())]


def _bound_headers(headers: Headers) -> Headers:
    """Return the first headers, as many as may be kept."""
    left = MAX_HEADER_BYTES
    for index, header in enumerate(headers):
        left -= _header_bytes(header)
        if left < 0:
            return headers[:index]
    return headers


def _header_bytes(header: tuple[str, bytes | None]) -> int:
    """Return about how many bytes a header takes in a record, its lengths included."""
    name, content = header
    return len(name.encode("utf-8", "surrogatepass")) + len(content or b"") + HEADER_OVERHEAD_BYTES


def parse_dead_letter(
    key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int | None = None
) -> DeadLetter | None:
    """Return the dead letter that a record holds, or None for a tombstone."""
    # Milepost's headers are the last ones, the reason first. A publisher's own of the same names stand before them.
    names = [name for name, _ in headers]
    start = max((index for index, name in enumerate(names) if name == _REASON_HEADER), default=len(names))
    if not MILEPOST_HEADERS.issuperset(names[start:]):
        start = len(names)
    added = {
        name.removeprefix(_PREFIX): (content or b"").decode("utf-8", "backslashreplace")
        for name, content in headers[start:]
    }
    # A null value alone does not make a tombstone: a rejected record may have had one.
    if value is None and not added:
        return None
    return DeadLetter(
        # A key that Milepost did not write may be any bytes, and `key_bytes` has to return them.
        key=(key or b"").decode("utf-8", "surrogateescape"),
        reason=added.get("reason", "unknown"),
        detail=added.get("detail", ""),
        topic=added.get("topic", ""),
        partition=_parse_number(added.get("partition")),
        offset=_parse_number(added.get("offset")),
        source=added.get("source"),
        value=value,
        headers=tuple(headers[:start]),
        truncated=_parse_number(added.get("truncated")),
        rejected_ms=timestamp_ms,
    )


class _Attributes(Struct):
    """What a rejected event says of itself, whatever it is."""

    source: Raw = Raw()
    id: Raw = Raw()
    type: Raw = Raw()
    subject: Raw = Raw()


class EventAttributes(NamedTuple):
    """What can be read of a rejected event; None for what cannot."""

    source: str | None = None
    id: str | None = None
    type: str | None = None
    subject: str | None = None


_decode_attributes: Final = msgspec.json.Decoder(_Attributes).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def read_event_attributes(dead_letter: DeadLetter) -> EventAttributes:
    """Return what a dead letter's record says of its event, in either content mode, as far as that can be read."""
    headers = {name: content for name, content in dead_letter.headers if name.startswith(("ce_", "ce-"))}
    texts = {name[3:]: content.decode("utf-8", "replace") for name, content in headers.items() if content is not None}
    if dead_letter.value is not None and not texts.keys() & {"id", "type", "specversion"}:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            texts = _decode_texts(_decode_attributes(dead_letter.value))
    if dead_letter.source is not None:
        texts["source"] = dead_letter.source
    return EventAttributes(*(texts[name][:_MAX_SHOWN] if name in texts else None for name in EventAttributes._fields))


def _decode_texts(attributes: _Attributes) -> dict[str, str]:
    texts = {}
    for name in EventAttributes._fields:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            texts[name] = _decode_text(getattr(attributes, name))
    return texts


def _parse_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
