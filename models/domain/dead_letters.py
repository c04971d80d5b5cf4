"""The rejected: what the dead-letters topic holds now."""

from dataclasses import dataclass
from typing import Final

#: The headers that Milepost adds: contract, section 3. All others are the rejected record's own, whatever their names.
MILEPOST_HEADERS: Final = frozenset(
    f"milepost-{name}" for name in ("reason", "detail", "topic", "partition", "offset", "source")
)
_REASON_HEADER: Final = "milepost-reason"


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
