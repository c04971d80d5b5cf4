"""The lines of some milestones of a programme, compressed together.

A worker keeps the lines of every milestone that it exposes, and reads them once for each scrape. As text they would be
most of its memory, 2 kB for each milestone; some dozens compressed together, family by family, take a tenth of that.

A new chunk is rendered at once. Of one that changes, only the positions of the changed milestones are noted, and the
next scrape renders them: under a steady flow, a milestone changes many times between two scrapes.
"""

from array import array
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Final, NamedTuple

import lz4.block

from streams.metrics.milestones import MILESTONE_FAMILIES, MilestoneMetrics, render_milestone

#: A chunk has half as many milestones to as many, on average. In larger ones a change costs more, and smaller ones are
#: compressed less.
CHUNK_SIZE: Final = 64
#: Where a larger part of a chunk than one in so many is outdated, rendering all of it is faster than replacing lines.
_RENDER_ALL_DIVISOR: Final = 4
_INTEGER_BYTES: Final = array("I").itemsize


class _Rendered(NamedTuple):
    """The lines of a chunk, some of them as they were before."""

    #: Of each family in the order of `MILESTONE_FAMILIES`: the sizes of the milestones' lines, and the lines; empty
    #: where no milestone has any.
    compressed_families: tuple[bytes, ...]
    #: The positions of the milestones that changed since, as bits.
    outdated: int


class MilestoneChunk:
    """Some milestones and their lines, which are rendered when somebody reads them."""

    __slots__ = ("_rendered", "milestones")

    def __init__(self, milestones: tuple[MilestoneMetrics, ...], rendered: _Rendered) -> None:
        self.milestones = milestones
        # Replaced as a whole: a scrape may read it in another thread.
        self._rendered = rendered

    @property
    def compressed_families(self) -> tuple[bytes, ...]:
        """The compressed lines of each family in the order of `MILESTONE_FAMILIES`."""
        families, outdated = self._rendered
        if outdated:
            families = _render_outdated(self.milestones, families, outdated)
            self._rendered = _Rendered(families, 0)
        return families

    def family_lines(self, family_index: int) -> bytes:
        """Return the lines of a family, given its index in `MILESTONE_FAMILIES`."""
        if not (compressed := self.compressed_families[family_index]):
            return b""
        content: bytes = lz4.block.decompress(compressed)
        return content[len(self.milestones) * _INTEGER_BYTES :]

    def with_changes(self, milestones: Sequence[MilestoneMetrics]) -> "MilestoneChunk":
        """Return the chunk with other values of the same milestones."""
        compressed_families, outdated = self._rendered
        for position, (new, old) in enumerate(zip(milestones, self.milestones, strict=True)):
            if new is not old:
                outdated |= 1 << position
        return MilestoneChunk(tuple(milestones), _Rendered(compressed_families, outdated))


_EMPTY_CHUNK: Final = MilestoneChunk((), _Rendered((b"",) * len(MILESTONE_FAMILIES), 0))


def _compress(sizes: "array[int]", lines: bytes) -> bytes:
    compressed: bytes = lz4.block.compress(sizes.tobytes() + lines) if lines else b""
    return compressed


def _replace_lines(compressed: bytes, count: int, replacements: Mapping[int, bytes]) -> bytes:
    """Return a family of a chunk with other lines at some positions."""
    if compressed:
        content, header = lz4.block.decompress(compressed), count * _INTEGER_BYTES
        sizes, lines = array("I", content[:header]), content[header:]
    else:
        sizes, lines = array("I", bytes(count * _INTEGER_BYTES)), b""
    is_same = True
    for position, replacement in replacements.items():
        start = sum(sizes[:position])
        end = start + sizes[position]
        if lines[start:end] != replacement:
            lines, is_same = lines[:start] + replacement + lines[end:], False
            sizes[position] = len(replacement)
    return compressed if is_same else _compress(sizes, lines)


def _render_outdated(
    milestones: Sequence[MilestoneMetrics], compressed_families: Sequence[bytes], outdated: int
) -> tuple[bytes, ...]:
    """Return the families of a chunk with the lines of the outdated milestones as they are now."""
    if outdated.bit_count() * _RENDER_ALL_DIVISOR >= len(milestones):
        return _render_families(milestones)
    positions = [position for position in range(len(milestones)) if outdated >> position & 1]
    lines_by_family = zip(*(render_milestone(milestones[position]) for position in positions), strict=True)
    return tuple(
        _replace_lines(compressed, len(milestones), dict(zip(positions, lines, strict=True)))
        for compressed, lines in zip(compressed_families, lines_by_family, strict=True)
    )


def _render_chunk(milestones: Sequence[MilestoneMetrics]) -> MilestoneChunk:
    if not milestones:
        return _EMPTY_CHUNK
    return MilestoneChunk(tuple(milestones), _Rendered(_render_families(milestones), 0))


def _render_families(milestones: Sequence[MilestoneMetrics]) -> tuple[bytes, ...]:
    lines_by_family = zip(*map(render_milestone, milestones), strict=True)
    return tuple(_compress(array("I", map(len, lines)), b"".join(lines)) for lines in lines_by_family)


def _update_chunk(previous: MilestoneChunk, milestones: Sequence[MilestoneMetrics]) -> MilestoneChunk:
    """Return a chunk: the previous one if nothing changed, and a new one if it has other milestones."""
    if len(milestones) == len(previous.milestones) and all(map(is_, milestones, previous.milestones)):
        return previous
    if list(map(_name, milestones)) != list(map(_name, previous.milestones)):
        return _render_chunk(milestones)
    return previous.with_changes(milestones)


def _name(metrics: MilestoneMetrics) -> tuple[str, ...]:
    return metrics.status[1:3]


def render_chunks(
    milestones: Sequence[MilestoneMetrics], previous: Sequence[MilestoneChunk] = ()
) -> tuple[MilestoneChunk, ...]:
    """Return the chunks of a programme's milestones; those with nothing new are the previous ones.

    A milestone's name says in which chunk it is, so that a newcomer moves no other.
    """
    if not milestones:
        return ()
    count = len(previous)
    # A power of two; with another one, every chunk is rendered anew.
    is_fitting = count // 4 * CHUNK_SIZE < len(milestones) <= 2 * count * CHUNK_SIZE
    if not is_fitting:
        count = 1 << (len(milestones) // CHUNK_SIZE).bit_length()
    chunks: list[list[MilestoneMetrics]] = [[] for _ in range(count)]
    for metrics in milestones:
        chunks[hash(_name(metrics)) % count].append(metrics)
    if is_fitting:
        return tuple(map(_update_chunk, previous, chunks))
    return tuple(map(_render_chunk, chunks))
