"""The dead-letter record format, written and read: contract, section 3.

The key is `<topic>:<partition>:<offset>` of the rejected record. The value and the headers are those of that record,
with Milepost's own headers added. A null value without them is a tombstone.
"""

from dataclasses import dataclass
from typing import Final

from models.domain.cloudevents import Headers
from models.domain.events import Rejection

_PREFIX: Final = "milepost-"
_NAMES: Final = ("reason", "detail", "topic", "partition", "offset", "source")
#: The headers that Milepost adds. All others are the rejected record's own, whatever their names.
MILEPOST_HEADERS: Final = frozenset(_PREFIX + name for name in _NAMES)


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
        "reason": rejection.reason.value,
        "detail": rejection.detail,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
    }
    if rejection.source:
        added["source"] = rejection.source
    # A replayed dead letter that is rejected again may carry these headers already: the new ones replace them.
    original = [(name, value) for name, value in headers if name not in MILEPOST_HEADERS]
    return [*original, *((_PREFIX + name, text.encode("utf-8", "replace")) for name, text in added.items())]


def parse_dead_letter(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    """Return the dead letter that a record holds, or None for a tombstone."""
    added = {
        name.removeprefix(_PREFIX): (content or b"").decode("utf-8", "backslashreplace")
        for name, content in headers
        if name in MILEPOST_HEADERS
    }
    # A null value alone does not make a tombstone: a rejected record may have had one.
    if value is None and "reason" not in added:
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
        headers=tuple((name, content) for name, content in headers if name not in MILEPOST_HEADERS),
    )


def _parse_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
