"""The lines of some milestones of a programme, compressed together.

A worker keeps the lines of every milestone that it exposes, and reads them once for each scrape. As text they would be
most of its memory, 2 kB for each milestone; some dozens compressed together, family by family, take a tenth of that.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import lz4.block

from streams.metrics.milestones import MILESTONE_FAMILIES, MilestoneMetrics, render_milestone

#: A chunk has half as many milestones to as many, on average. In larger ones a change costs more, and smaller ones are
#: compressed less.
CHUNK_SIZE: Final = 64
_INTEGER_BYTES: Final = array("I").itemsize


class MilestoneChunk(NamedTuple):
    """Some milestones and their lines."""

    milestones: tuple[MilestoneMetrics, ...]
    #: Of each family in the order of `MILESTONE_FAMILIES`: the sizes of the milestones' lines, and the lines; empty
    #: where no milestone has any.
    compressed_families: tuple[bytes, ...]

    def family_lines(self, family_index: int) -> bytes:
        """Return the lines of a family, given its index in `MILESTONE_FAMILIES`."""
        if not (compressed := self.compressed_families[family_index]):
            return b""
        content: bytes = lz4.block.decompress(compressed)
        return content[len(self.milestones) * _INTEGER_BYTES :]


_EMPTY_CHUNK: Final = MilestoneChunk((), (b"",) * len(MILESTONE_FAMILIES))


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


def _render_chunk(milestones: Sequence[MilestoneMetrics]) -> MilestoneChunk:
    if not milestones:
        return _EMPTY_CHUNK
    lines_by_family = zip(*map(render_milestone, milestones), strict=True)
    compressed = (_compress(array("I", map(len, lines)), b"".join(lines)) for lines in lines_by_family)
    return MilestoneChunk(tuple(milestones), tuple(compressed))


def _update_chunk(previous: MilestoneChunk, milestones: Sequence[MilestoneMetrics]) -> MilestoneChunk:
    """Return a chunk, rendering only the milestones that changed; all of them if there is another one."""
    if list(map(_name, milestones)) != list(map(_name, previous.milestones)):
        return _render_chunk(milestones)
    pairs = zip(milestones, previous.milestones, strict=True)
    changed = [position for position, (new, old) in enumerate(pairs) if new is not old]
    if not changed:
        return previous
    lines_by_family = zip(*(render_milestone(milestones[position]) for position in changed), strict=True)
    compressed = (
        _replace_lines(old, len(milestones), dict(zip(changed, lines, strict=True)))
        for old, lines in zip(previous.compressed_families, lines_by_family, strict=True)
    )
    return MilestoneChunk(tuple(milestones), tuple(compressed))


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
