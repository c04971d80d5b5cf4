r"""Work-arounds for what stops aiokafka's consumer: odd header names, and records that inflate without bound.

Kafka accepts record headers whose names are not UTF-8, and aiokafka never gets past them.

aiokafka reads a fetched batch with a compiled parser, which decodes names strictly; the batch is fetched again, raises
again, and the partition stalls. Here such a batch is read again by aiokafka's own parser in Python, with the bytes that
are not UTF-8 escaped (`\xff`). Every other batch is read as before.

And for batches that inflate to more than a worker can hold: aiokafka decompresses them whole. Here they are read by
`models.record_batch`. A fetch hands out a bounded number of bytes, whatever the records are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.default_records import _DefaultRecordBatchPy as PurePythonRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy as PurePythonMemoryRecords

from models.record_batch import LENGTH_STRUCT, BatchError, BatchRecord, exceeds, read_records

_CompiledMemoryRecords: Final = fetcher.MemoryRecords
#: How many bytes of values one fetch hands out, of all partitions together; its last record comes whole.
MAX_FETCH_BYTES: Final = 16 * 1024 * 1024


def patch_aiokafka() -> None:
    """Patch every aiokafka consumer of this process; may be called again."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _RereadableMemoryRecords, _LenientPartitionRecords
    fetcher.FetchResult = _BoundedFetchResult


def reset_bytes_left(assignment: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Let the next fetch from an assignment hand out `MAX_FETCH_BYTES` again."""
    if assignment is not None:
        assignment.bytes_left = MAX_FETCH_BYTES


async def fetch_from(
    consumer: AIOKafkaConsumer, partition: TopicPartition, timeout_ms: int, max_records: int
) -> Sequence[Any]:
    """Return the next records of a partition, of a consumer that is used for nothing else meanwhile."""
    reset_bytes_left(consumer._subscription.subscription.assignment)  # noqa: SLF001 - it has no other way
    fetched = await consumer.getmany(partition, timeout_ms=timeout_ms, max_records=max_records)
    records: Sequence[Any] = fetched.get(partition, ())
    return records


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
        self._next_start = 0
        self._records = _CompiledMemoryRecords(raw)
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        start = self._next_start
        self._next_start += LENGTH_STRUCT.size + LENGTH_STRUCT.unpack_from(self.raw, start)[1]
        batch = self._records.next_batch()
        self.started_batches += 1
        raw = memoryview(self.raw)[start : self._next_start]
        return _InflatingBatch(batch, raw) if exceeds(raw) else batch


class _InflatingBatch:
    """A batch that is too large to be decompressed whole: its records are read one by one."""

    def __init__(self, batch: Any, raw: memoryview) -> None:  # noqa: ANN401 - aiokafka has no types
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the compiled batch knows of its header
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[BatchRecord]:
        try:
            yield from read_records(self._raw)
        except BatchError as error:
            raise CorruptRecordException(str(error)) from error


class _BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka has no types
    """What was fetched of a partition, handed out up to a number of bytes as well as of records."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return the next records; no more once those of all partitions have `MAX_FETCH_BYTES`."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records: list[Any] = []
        bytes_left = getattr(self._assignment, "bytes_left", MAX_FETCH_BYTES)
        if bytes_left <= 0:
            return records
        for record in self._partition_records:
            records.append(record)
            bytes_left -= record.serialized_value_size
            if len(records) == max_records or bytes_left <= 0:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        self._assignment.bytes_left = bytes_left
        return records


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
        if raw_batch is not None and exceeds(raw_batch):
            return _InflatingBatch(batch, raw_batch)
        return _LenientRecordBatch(raw_batch) if isinstance(batch, DefaultRecordBatch) else batch


class _LenientRecordBatch(PurePythonRecordBatch):  # type: ignore[misc]  # aiokafka has no types
    _buffer: Any

    def __iter__(self) -> "_LenientRecordBatch":
        super().__iter__()  # decompresses
        self._buffer = _LenientBytes(self._buffer)
        return self
