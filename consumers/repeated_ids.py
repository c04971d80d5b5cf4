"""Finds an id that stands for two different events: a worker would reject the second as `conflicting-duplicate`."""

from hashlib import blake2b
from typing import Final

from models.domain.events import Event, Rejection, RejectionReason

#: Events whose ids are remembered, at most: about 130 bytes each. The ids of later ones are compared with these alone.
MAX_REMEMBERED: Final = 1_000_000


class RepeatedIds:
    """The ids of the events read so far."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        #: The digest of the content by that of source and id.
        self._contents: dict[int, int] = {}
        #: Whether there were more events than are remembered.
        self.is_full = False

    def check(self, event: Event) -> Event | Rejection:
        """Return the event, or why it is rejected when an earlier one of its source and id has other content."""
        key = _digest(f"{event.source}\0{event.id}".encode())
        content = int.from_bytes(event.digest()[:8], "big")
        if (earlier := self._contents.get(key)) is None:
            if len(self._contents) < self._limit:
                self._contents[key] = content
            else:
                self.is_full = True
        elif earlier != content:
            detail = f"an earlier event of source {event.source!r} with id {event.id!r} has other content"
            return Rejection(RejectionReason.CONFLICTING_DUPLICATE, detail, event.source, event.type)
        return event


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
