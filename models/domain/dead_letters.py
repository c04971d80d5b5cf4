"""The dead-letter record format, written and read: contract, section 3.

The key is `<topic>:<partition>:<offset>` of the rejected record. The value and the headers are those of that record,
with Milepost's own headers added. A null value without them is a tombstone.
"""

from dataclasses import dataclass
from typing import Final

from models.domain.cloudevents import Headers
from models.domain.events import Rejection

_REASON: Final = "milepost-reason"
_DETAIL: Final = "milepost-detail"
_TOPIC: Final = "milepost-topic"
_PARTITION: Final = "milepost-partition"
_OFFSET: Final = "milepost-offset"
_SOURCE: Final = "milepost-source"
#: The headers that Milepost adds. All others are the rejected record's own, whatever their names.
MILEPOST_HEADERS: Final = frozenset((_REASON, _DETAIL, _TOPIC, _PARTITION, _OFFSET, _SOURCE))


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
    #: The CloudEvents source, when it could be read.
    source: str | None
    #: The original value; null is one of the reasons for a rejection.
    value: bytes | None
    #: The original headers.
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def key_bytes(self) -> bytes:
        """The record key of this letter, and of the tombstone that removes it."""
        return self.key.encode("utf-8", "surrogateescape")


def dead_letter_key(topic: str, partition: int, offset: int) -> bytes:
    """Return the key of a rejected record: a repeated rejection replaces the earlier one in the compacted topic."""
    return f"{topic}:{partition}:{offset}".encode()


def dead_letter_headers(
    topic: str, partition: int, offset: int, headers: Headers, rejection: Rejection
) -> list[tuple[str, bytes | None]]:
    """Return the original headers and Milepost's."""
    added = {
        _REASON: rejection.reason.value,
        _DETAIL: rejection.detail,
        _TOPIC: topic,
        _PARTITION: str(partition),
        _OFFSET: str(offset),
    }
    if rejection.source:
        added[_SOURCE] = rejection.source
    # A replayed dead letter that is rejected again may carry these headers already: the new ones replace them.
    original = [(name, value) for name, value in headers if name not in MILEPOST_HEADERS]
    return [*original, *((name, text.encode("utf-8", "replace")) for name, text in added.items())]


def parse_dead_letter(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    """Return the dead letter that a record holds, or None for a tombstone."""
    added: dict[str, str] = {}
    original: list[tuple[str, bytes | None]] = []
    for name, content in headers:
        if name in MILEPOST_HEADERS:
            added[name] = (content or b"").decode("utf-8", "backslashreplace")
        else:
            original.append((name, content))
    # A null value alone does not make a tombstone: a rejected record may have had one.
    if value is None and _REASON not in added:
        return None
    return DeadLetter(
        # A key that Milepost did not write may be any bytes, and `key_bytes` has to return them.
        key=(key or b"").decode("utf-8", "surrogateescape"),
        reason=added.get(_REASON, "unknown"),
        detail=added.get(_DETAIL, ""),
        topic=added.get(_TOPIC, ""),
        partition=_parse_number(added.get(_PARTITION)),
        offset=_parse_number(added.get(_OFFSET)),
        source=added.get(_SOURCE),
        value=value,
        headers=tuple(original),
    )


def _parse_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
