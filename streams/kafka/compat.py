r"""Records whose headers have names that are no UTF-8: Kafka takes them, aiokafka raises at them, for ever.

aiokafka reads a fetched batch with a compiled parser, which decodes names strictly; what raises is fetched and raises
again, and the partition stands still. Here such a batch is read again by aiokafka's own parser in Python, with names
spelled out (`\xff`) where they are no UTF-8. Every other batch is read as before.
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
    """Let every aiokafka consumer of this process read names that are no UTF-8; may be called again."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _RereadableMemoryRecords, _LenientPartitionRecords


class _LenientBytes(bytearray):
    """Bytes whose slices decode to text that spells out what is not UTF-8, for a parser that decodes strictly."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - a number or a slice, as bytearray's
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _RereadableMemoryRecords:
    """What was fetched of a partition, for the compiled parser, with its bytes kept to be read again."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        #: How many batches were begun.
        self.started_batches = 0
        self._records = _CompiledMemoryRecords(raw)
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        """Return the next batch."""
        batch = self._records.next_batch()
        self.started_batches += 1
        return batch


class _LenientPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of a partition; from the batch on that holds one that cannot be read, the patient parser reads."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (UnicodeDecodeError, CorruptRecordException):
            # What is corrupt indeed raises once more. Batches that were read to their end are passed over here: each
            # sets the offset to go on from to its own end, and what follows would be handed out again. What was
            # handed out of the last one begun lies before that offset.
            patient = _LenientMemoryRecords(self._records.raw)
            for _ in range(self._records.started_batches - 1):
                patient.next_batch()
            self._records = patient
            yield from super()._unpack_records()


class _LenientMemoryRecords(PurePythonMemoryRecords):  # type: ignore[misc]  # aiokafka has no types
    """Batches in which the names of headers may be any bytes."""

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        """Return the next batch; formats older than 2 have no headers."""
        following = self._next_slice
        batch = super().next_batch()
        return _LenientRecordBatch(following) if isinstance(batch, DefaultRecordBatch) else batch


class _LenientRecordBatch(PurePythonRecordBatch):  # type: ignore[misc]  # aiokafka has no types
    """A batch that decodes names patiently."""

    _buffer: Any

    def __iter__(self) -> "_LenientRecordBatch":
        """Begin with the records, decompressed."""
        super().__iter__()
        self._buffer = _LenientBytes(self._buffer)
        return self
