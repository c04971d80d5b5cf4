"""Decompression for kafka-python, which knows Kafka's codecs and brings the library of none but gzip.

The worker's Kafka client decompresses with cramjam; here kafka-python is given the same, so that both read the same
logs. (Of the libraries for which kafka-python looks, its zstd reads no batch of more than 1 MiB that does not say its
size, as Java's publishers write.)
"""

import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import cramjam
from kafka import codec
from kafka.errors import CorruptRecordError
from kafka.record import default_records, legacy_records

_Decompress = Callable[[bytes], Any]


def _decoder(name: str, decompress: _Decompress) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        try:
            return bytes(decompress(data))
        except (cramjam.DecompressionError, zlib.error, OSError, EOFError) as error:
            raise CorruptRecordError(f"a batch of records is said to be {name} and is not ({error})") from error

    return decode


_DECODERS: Final = {
    "gzip_decode": _decoder("gzip", codec.gzip_decode),
    "lz4_decode": _decoder("lz4", cramjam.lz4.decompress),
    "zstd_decode": _decoder("zstd", cramjam.zstd.decompress),
}
_SNAPPY: Final = SimpleNamespace(decompress=_decoder("snappy", cramjam.snappy.decompress_raw))


def install_codecs() -> None:
    """Let every kafka-python consumer of this process read snappy, lz4 and zstd; may be called again.

    A batch that cannot be decompressed raises `CorruptRecordError`.
    """
    # Its own frames around snappy's blocks stay in use. Of the others, it only asks whether there are libraries.
    codec.snappy, codec.lz4, codec.zstd = _SNAPPY, cramjam, cramjam
    for module in (codec, default_records, legacy_records):
        for name, decode in _DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decode)
