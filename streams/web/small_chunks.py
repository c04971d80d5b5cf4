"""Bounds what it costs to read a request that comes in small pieces: chunks of a few bytes, or reads of a few bytes.

Every chunk and every read costs the event loop as much as some kilobytes in one piece. A crowd that sends single bytes
would take the whole of it.
"""

from typing import Final

from aiohttp import StreamReader, web

#: What the framing of a body's chunks may take, beyond a part of the body itself: so many bytes, and one for so many.
#: Clients that write a chunk for each token of JSON stay below it for events of usual sizes.
FREE_FRAMING_BYTES: Final = 2048
BODY_BYTES_A_FRAMING_BYTE: Final = 4
#: In what pieces a read is given to the parser, so that no more than that is parsed beyond what is allowed.
_LEAST_PIECE_BYTES: Final = 1024
#: A read that brings less is a small one. After so many of them in one request, the next is delayed: what arrives
#: meanwhile is one read.
SMALL_READ_BYTES: Final = 512
FREE_SMALL_READS: Final = 16
READ_DELAY_SECONDS: Final = 0.5


class SmallChunksError(web.RequestPayloadError):
    """The chunks of a body are too small."""


class PieceCounter:
    """Counts the pieces of one request."""

    __slots__ = ("_body", "_body_bytes_before", "_raw_bytes", "_small_reads")

    def __init__(self) -> None:
        self._body: StreamReader | None = None
        self._body_bytes_before = self._raw_bytes = self._small_reads = 0

    def begin_body(self, body: StreamReader) -> None:
        """Note that the head of a request is complete; what came together with it is not counted."""
        self._body, self._body_bytes_before, self._raw_bytes = body, body.total_bytes, 0

    def end_request(self) -> None:
        """Count small reads anew; of a body that nobody read, the rest may still arrive."""
        self._small_reads = 0

    @property
    def next_piece_bytes(self) -> int:
        """How much may be given to the parser before `has_small_chunks` is asked again."""
        return max(_LEAST_PIECE_BYTES, self._body_bytes // BODY_BYTES_A_FRAMING_BYTE)

    def count_parsed(self, size: int) -> None:
        """Note what the parser was given."""
        self._raw_bytes += size

    def has_small_chunks(self) -> bool:
        """Return whether the framing of the chunks takes more than is allowed; what was given has to be parsed."""
        framing_bytes = self._raw_bytes - self._body_bytes
        return (
            self._body is not None
            and not self._body.is_eof()
            and framing_bytes > FREE_FRAMING_BYTES + self._body_bytes // BODY_BYTES_A_FRAMING_BYTE
        )

    def is_read_small(self, size: int) -> bool:
        """Return whether the next read is to be delayed after one of so many bytes."""
        if size < SMALL_READ_BYTES:
            self._small_reads += 1
        return self._small_reads > FREE_SMALL_READS

    @property
    def _body_bytes(self) -> int:
        return 0 if self._body is None else self._body.total_bytes - self._body_bytes_before

    def refuse(self) -> None:
        """Have whoever reads the body meet the error."""
        if self._body is not None:
            self._body.set_exception(SmallChunksError("The chunks of the body are too small."))
