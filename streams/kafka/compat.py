r"""A work-around for record headers whose names are not UTF-8: Kafka accepts them, and aiokafka never gets past them.

aiokafka reads a fetched batch with a compiled parser, which decodes names strictly; the batch is fetched again, raises
again, and the partition stalls. Here such a batch is read again by aiokafka's own parser in Python, with the bytes that
are not UTF-8 escaped (`\xff`). Every other batch is read as before.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.default_records import _DefaultRecordBatchPy as PurePythonRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy as PurePythonMemoryRecords

_CompiledMemoryRecords: Final = fetcher.MemoryRecords


def allow_non_utf8_header_names() -> None:
    """Patch every aiokafka consumer of this process; may be called again."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _RereadableMemoryRecords, _LenientPartitionRecords


class _LenientBytes(bytearray):
    """Bytes whose slices decode to text that spells out what is not UTF-8, for a parser that decodes strictly."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - a number or a slice, as bytearray's
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _RereadableMemoryRecords:
    """The fetched bytes of a partition, for the compiled parser, and kept to be read again."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.started_batches = 0
        self._records = _CompiledMemoryRecords(raw)
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        batch = self._records.next_batch()
        self.started_batches += 1
        return batch


class _LenientPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of a partition; from the first unreadable batch on, the lenient parser reads them."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException):
            # A record that is really corrupt raises once more. Batches that were read to their end are skipped: each
            # would set the offset back to its own end, and the records behind it would be returned again. Records
            # returned from the last started batch lie before that offset.
            lenient = _LenientMemoryRecords(self._records.raw)
            for _ in range(self._records.started_batches - 1):
                lenient.next_batch()
            self._records = lenient
            yield from super()._unpack_records()


class _LenientMemoryRecords(PurePythonMemoryRecords):  # type: ignore[misc]  # aiokafka has no types
    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        # Formats older than 2 have no headers.
        raw_batch = self._next_slice
        batch = super().next_batch()
        return _LenientRecordBatch(raw_batch) if isinstance(batch, DefaultRecordBatch) else batch


class _LenientRecordBatch(PurePythonRecordBatch):  # type: ignore[misc]  # aiokafka has no types
    _buffer: Any

    def __iter__(self) -> "_LenientRecordBatch":
        super().__iter__()  # decompresses
        self._buffer = _LenientBytes(self._buffer)
        return self
