"""Decompression for kafka-python, which knows Kafka's codecs and brings the library of none but gzip.

The worker's Kafka client decompresses with cramjam; here kafka-python is given the same, so that both read the same
logs. (Of the libraries for which kafka-python looks, its zstd reads no batch of more than 1 MiB that does not say its
size, as Java's publishers write.)
"""

from types import SimpleNamespace
from typing import Final

import cramjam
from kafka import codec
from kafka.record import default_records, legacy_records

_DECODERS: Final = {
    "lz4_decode": lambda data: bytes(cramjam.lz4.decompress(data)),
    "zstd_decode": lambda data: bytes(cramjam.zstd.decompress(data)),
}


def install_codecs() -> None:
    """Let every kafka-python consumer of this process read snappy, lz4 and zstd; may be called again."""
    # Its own frames around snappy's blocks stay in use. Of the others, it only asks whether there are libraries.
    codec.snappy = SimpleNamespace(decompress=lambda data: bytes(cramjam.snappy.decompress_raw(data)))
    codec.lz4 = codec.zstd = cramjam
    for module in (codec, default_records, legacy_records):
        for name, decode in _DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decode)
