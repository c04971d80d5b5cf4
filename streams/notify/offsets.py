"""Which changes of a partition are delivered, and how a consumer group remembers that.

Milestones do not wait for one another, so what is delivered may lie after what is not. The committed offset is that of
the first change that is not delivered; the metadata beside it lists the others that are not, each with the time since
when it fails, up to an offset from which on nothing is. Whoever takes over the partition repeats only what is open.
(The same idea as in Confluent's Parallel Consumer.) Where the list is too long for the broker, more is repeated:
delivery is at least once.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice, pairwise, repeat
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

#: `offset.metadata.max.bytes` of a broker is 4,096 unless somebody changed it.
MAX_METADATA_BYTES: Final = 4000
#: More open offsets than this never fit: an offset takes at least two bytes.
_MAX_LISTED: Final = MAX_METADATA_BYTES // 2


class GroupNotes(Struct, frozen=True, omit_defaults=True):
    """What a target's group remembers beside its offsets."""

    #: The fingerprint of the entry that a target had when it switched itself off; empty while it is on.
    off: str = ""
    #: When the newest digest that was sent was due, in seconds since the epoch.
    digest: int | None = None


class _Metadata(Struct, frozen=True, omit_defaults=True):
    """Numbers are differences, to be short."""

    #: From the committed offset to the first of which nothing is known.
    end: int = 0
    #: From the committed offset to the first that is open (which is the committed one), and from each to the next.
    open: list[Annotated[int, Meta(ge=0)]] = []
    #: For each of them, for how many seconds before `at` it has failed, and one more; 0 where it has not.
    failing: list[Annotated[int, Meta(ge=0)]] = []
    at: int = 0
    notes: GroupNotes = GroupNotes()


_decode_metadata: Final = msgspec.json.Decoder(_Metadata).decode


@dataclass(slots=True)
class OffsetTracker:
    """The changes of one partition that were read and not delivered."""

    #: The offset after the last one that was read.
    next_offset: int
    #: Offsets that are not delivered, in order, with the time since when each fails (epoch; 0: it does not).
    open: dict[int, float] = field(default_factory=dict)
    #: What was delivered after `next_offset`, before this process: from there up to `_known_until`, all but these.
    _reopened: dict[int, float] = field(default_factory=dict)
    _known_until: int = 0

    def begin(self, offset: int) -> bool:
        """Note that the record at an offset was read; return whether it is to be delivered."""
        if offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        while self._reopened and (oldest := next(iter(self._reopened))) < offset:
            # The log has it no more.
            del self._reopened[oldest]
        if offset < self._known_until and offset not in self._reopened:
            return False
        self.open[offset] = self._reopened.pop(offset, 0.0)
        return True

    def fail(self, offset: int, since: float) -> None:
        """Note since when an open offset fails."""
        if offset in self.open:
            self.open[offset] = since

    def finish(self, offset: int) -> None:
        """Note that nothing more is to be done for an offset."""
        self.open.pop(offset, None)

    def pending(self) -> dict[int, float]:
        """Return what is open, in order; also what was before this process, and is not read again yet."""
        return self.open | self._reopened

    def encode(self, notes: GroupNotes, max_bytes: int = MAX_METADATA_BYTES) -> tuple[int, str]:
        """Return the offset to commit, and the metadata beside it."""
        pending = self.pending()
        committed = next(iter(pending), max(self.next_offset, self._known_until))
        listed = list(pending.items())[:_MAX_LISTED]
        while True:
            text = self._encode(committed, listed, is_whole=len(listed) == len(pending), notes=notes)
            if len(text) <= max_bytes or not listed:
                return committed, text
            listed = listed[: len(listed) * max_bytes // (len(text) + 1)]

    def _encode(self, committed: int, listed: list[tuple[int, float]], *, is_whole: bool, notes: GroupNotes) -> str:
        known = max(self.next_offset, self._known_until) if is_whole else 0
        end = known or (listed[-1][0] + 1 if listed else committed)
        steps = [offset - before for before, offset in pairwise([committed, *(offset for offset, _ in listed)])]
        newest = round(max((since for _, since in listed), default=0))
        failing = [newest - round(since) + 1 if since else 0 for _, since in listed] if newest else []
        return msgspec.json.encode(_Metadata(end - committed, steps, failing, newest, notes)).decode()


def decode_offsets(committed: int, text: str) -> tuple[OffsetTracker, GroupNotes]:
    """Return where a group stands, by a committed offset and the metadata beside it; what is not ours says nothing."""
    metadata = _Metadata()
    with suppress(msgspec.DecodeError):
        metadata = _decode_metadata(text or "{}")
    offsets = islice(accumulate(metadata.open, initial=committed), 1, None)
    since = (metadata.at - ago + 1.0 if ago else 0.0 for ago in chain(metadata.failing, repeat(0)))
    reopened = dict(zip(offsets, since, strict=False))
    return OffsetTracker(committed, {}, reopened, committed + metadata.end), metadata.notes
