"""Reads a compressed record batch of Kafka (format 2) in bounded memory: contract, section 3.

A batch of some kilobytes may inflate to gigabytes. Kafka's clients inflate a batch whole; `exceeds` tells which
batches they must not, and `read_records` reads those a record at a time. It keeps the first 64 KiB of what is too large
to be accepted. Publishers' batches are far below the limits, and are read by the clients as ever.

Message sets of formats 0 and 1 are from before Kafka 0.11. Kafka 4 takes none from publishers, but still returns those
that an older Kafka left on its disks (KIP-724). One that inflates beyond the limit is refused, as a corrupt batch is.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import cramjam
import lz4.frame
import zstandard

from models.domain.dead_letters import HEADER_OVERHEAD_BYTES, KEPT_BYTES, MAX_HEADER_BYTES, OversizeValue
from models.domain.events import MAX_VALUE_BYTES

#: A batch that inflates to no more than this is inflated whole.
MAX_WHOLE_BYTES: Final = 16 * 1024 * 1024
#: How much is inflated at once.
_CHUNK_BYTES: Final = 256 * 1024
#: The largest block of snappy, which cannot be inflated in parts. (Its publishers write 32 KiB.)
_MAX_SNAPPY_BLOCK_BYTES: Final = 64 * 1024 * 1024

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
#: How many times its size a compressed payload may have at most, where the format bounds that.
#: (zstd: the densest block has four bytes, for 128 KiB.)
_MAX_RATIOS: Final = {GZIP: 1032, SNAPPY: 22, LZ4: 256, ZSTD: 32768}
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16

# Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and maximum timestamp, producer id
# and epoch, base sequence, record count.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
#: The base offset of a batch of any format, and the number of bytes that follow.
LENGTH_STRUCT: Final = struct.Struct(">qi")
_MAGIC_POSITION: Final = 16
#: Of a message of format 0 or 1: where its attributes are, how many bytes its timestamp has, and the length of a field.
_OLD_ATTRIBUTES_POSITION, _OLD_TIMESTAMP_BYTES = 17, (0, 8)
_OLD_LENGTH: Final = struct.Struct(">i")
_CODEC_MASK, _LOG_APPEND_TIME_MASK = 0x07, 0x08


class BatchError(ValueError):
    """A batch is not what its header says."""


class BatchRecord(NamedTuple):
    """A record as Kafka's clients know it."""

    offset: int
    #: Milliseconds since the epoch.
    timestamp: int
    #: 1: the time of the broker; 0: of the publisher.
    timestamp_type: int
    key: bytes | None
    #: An `OversizeValue` where a part of the record was left out.
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    #: Of older formats.
    checksum: None = None


def exceeds(batch: memoryview | bytes, limit: int = MAX_WHOLE_BYTES) -> bool:
    """Return whether the records of a batch are compressed, and inflate to more than so many bytes.

    A payload that cannot be inflated does not; whoever reads the batch says what is wrong.
    """
    if _is_old(batch):
        codec, payload = _read_old_message(memoryview(batch))
    elif len(batch) < _HEADER.size:
        return False
    else:
        codec, payload = _HEADER.unpack_from(batch)[5] & _CODEC_MASK, memoryview(batch)[_HEADER.size :]
    if not codec or len(payload) * _MAX_RATIOS.get(codec, limit) <= limit:
        return False
    total = 0
    try:
        return any((total := total + len(chunk)) > limit for chunk in _inflate(codec, payload))
    except BatchError:
        return False


def read_records(batch: memoryview | bytes) -> Iterator[BatchRecord]:
    """Yield the records of a compressed batch; raises `BatchError` for one that cannot be read."""
    if _is_old(batch):
        raise BatchError(
            f"a message set of format {batch[_MAGIC_POSITION]}, from before Kafka 0.11, inflates beyond"
            f" {MAX_WHOLE_BYTES} bytes, and only the present format is read in parts"
        )
    (base_offset, _, _, _, _, attributes, _, first_timestamp, max_timestamp, _, _, _, record_count) = (
        _HEADER.unpack_from(batch)
    )
    is_appended = bool(attributes & _LOG_APPEND_TIME_MASK)
    reader = _Reader(_inflate(attributes & _CODEC_MASK, memoryview(batch)[_HEADER.size :]))
    for _ in range(record_count):
        size = reader.read_varint()
        end = reader.position + size
        reader.read(1)  # attributes, which no version of Kafka uses
        timestamp_delta, offset_delta = reader.read_varint(), reader.read_varint()
        key = reader.read_field(KEPT_BYTES)
        value, headers = _read_value_and_headers(reader, size, end)
        if reader.position != end:
            raise BatchError(f"a record of {size} bytes ends elsewhere")
        timestamp = max_timestamp if is_appended else first_timestamp + timestamp_delta
        yield BatchRecord(base_offset + offset_delta, timestamp, int(is_appended), key, value, headers)


def _is_old(batch: memoryview | bytes) -> bool:
    return len(batch) > _OLD_ATTRIBUTES_POSITION and batch[_MAGIC_POSITION] < 2  # noqa: PLR2004 - the present format


def _read_old_message(message: memoryview) -> tuple[int, memoryview]:
    """Return the codec of a message of format 0 or 1 and its value, which is a message set where there is a codec."""
    codec = message[_OLD_ATTRIBUTES_POSITION] & _CODEC_MASK
    at = _OLD_ATTRIBUTES_POSITION + 1 + _OLD_TIMESTAMP_BYTES[message[_MAGIC_POSITION]]
    try:
        [key_size] = _OLD_LENGTH.unpack_from(message, at)
        return codec, message[at + 2 * _OLD_LENGTH.size + max(0, key_size) :]
    except struct.error:
        return 0, message[:0]


def _read_value_and_headers(
    reader: "_Reader", size: int, end: int
) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Return the value and the headers of a record of so many bytes, of each no more than is kept."""
    value_size = reader.read_varint()
    kept = value_size if value_size <= MAX_VALUE_BYTES else KEPT_BYTES
    value: bytes | None = reader.read_start(value_size, kept) if value_size >= 0 else None
    if value_size > kept:
        value = OversizeValue.of(value or b"", value_size)
    headers: list[tuple[str, bytes | None]] = []
    left = MAX_HEADER_BYTES
    for _ in range(reader.read_varint()):
        name, content = reader.read_field(left) or b"", reader.read_field(left)
        left -= len(name) + len(content or b"") + HEADER_OVERHEAD_BYTES
        if left <= 0:
            reader.read_start(end - reader.position, 0)
            return OversizeValue.of(value or b"", max(size, value_size)), headers
        headers.append((name.decode("utf-8", "backslashreplace"), content))
    return value, headers


class _Reader:
    """Reads bytes, and Kafka's variable-length numbers, of what arrives in chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._chunk, self._at = chunks, b"", 0
        #: How many bytes were read.
        self.position = 0

    def read(self, count: int) -> bytes:
        """Return so many bytes."""
        return self.read_start(count, count)

    def read_start(self, count: int, kept: int) -> bytes:
        """Read so many bytes, and return the first of them."""
        if count < 0:
            raise BatchError(f"{count} bytes are said to follow")
        parts = []
        self.position += count
        while count:
            if self._at == len(self._chunk):
                self._chunk, self._at = next(self._chunks, b""), 0
                if not self._chunk:
                    raise BatchError("its records end too early")
            part = self._chunk[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            if kept > 0:
                parts.append(part[:kept])
                kept -= len(part)
        return b"".join(parts)

    def read_varint(self) -> int:
        """Return a number of at most 64 bits, in zigzag encoding."""
        number = shift = 0
        while True:
            [byte] = self.read(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte has no such bit
                return (number >> 1) ^ -(number & 1)
            shift += 7
            if shift > 63:  # noqa: PLR2004 - of 64 bits
                raise BatchError("a number has more than 64 bits")

    def read_field(self, kept: int) -> bytes | None:
        """Read bytes behind their length, and return the first of them; None for a length of -1."""
        size = self.read_varint()
        return None if size == -1 else self.read_start(size, min(size, kept))


def _inflate(codec: int, payload: memoryview) -> Iterator[bytes]:
    """Yield what a payload inflates to, in chunks that are never empty; raises `BatchError`."""
    inflaters = {GZIP: _inflate_gzip, SNAPPY: _inflate_snappy, LZ4: _inflate_lz4, ZSTD: _inflate_zstd}
    if codec not in inflaters:
        raise BatchError(f"codec {codec} is unknown")
    try:
        yield from filter(None, inflaters[codec](payload))
    except (zlib.error, zstandard.ZstdError, cramjam.DecompressionError, RuntimeError, EOFError) as error:
        raise BatchError(f"its records cannot be decompressed ({error})") from error


def _inflate_gzip(payload: memoryview) -> Iterator[bytes]:
    rest: bytes | memoryview = payload
    while rest:  # a member of gzip may follow another
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while not decompressor.eof:
            chunk = decompressor.decompress(rest, _CHUNK_BYTES)
            if not chunk and not decompressor.unconsumed_tail and not decompressor.eof:
                raise EOFError("it ends too early")
            rest = decompressor.unconsumed_tail
            yield chunk
        rest = decompressor.unused_data


def _inflate_zstd(payload: memoryview) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk


def _inflate_lz4(payload: memoryview) -> Iterator[bytes]:
    decompressor, rest = lz4.frame.LZ4FrameDecompressor(), bytes(payload)
    while not decompressor.eof:
        chunk = decompressor.decompress(rest, _CHUNK_BYTES)
        rest = b""
        if not chunk and decompressor.needs_input:
            raise EOFError("it ends too early")
        yield chunk


def _inflate_snappy(payload: memoryview) -> Iterator[bytes]:
    if bytes(payload[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        yield _inflate_snappy_block(payload)
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        yield _inflate_snappy_block(payload[at + 4 : at + 4 + size])
        at += 4 + size


def _inflate_snappy_block(block: memoryview) -> bytes:
    # A block begins with its inflated size.
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no such bit
            break
    if size > _MAX_SNAPPY_BLOCK_BYTES:
        raise BatchError(f"a block of snappy inflates to {size} bytes, allowed are {_MAX_SNAPPY_BLOCK_BYTES}")
    return bytes(cramjam.snappy.decompress_raw(block))
