r"""Work-arounds for what stops aiokafka's consumer: odd header names, records that inflate without bound, its own stop.

Kafka accepts record headers whose names are not UTF-8, and aiokafka never gets past them.

aiokafka reads a fetched batch with a compiled parser, which decodes names strictly; the batch is fetched again, raises
again, and the partition stalls. Here such a batch is read again by aiokafka's own parser in Python, with the bytes that
are not UTF-8 escaped (`\xff`). Every other batch is read as before.

And for batches that inflate to more than a worker can hold: aiokafka decompresses them whole. Here they are read by
`models.record_batch`. A fetch hands out a bounded number of bytes, whatever the records are.

And for batches that are damaged: aiokafka raises in the midst of a fetch, and what it took of other partitions by then
is gone, as if it had been read. Here the partition is paused, and the others go on.

And for its `stop`: a fetch that rests after an error of Kafka is cancelled and then awaited, which raises
`CancelledError` in whoever stops the consumer. That would look like the end of the task that was to try again.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.default_records import _DefaultRecordBatchPy as PurePythonRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy as PurePythonMemoryRecords

from models.record_batch import LENGTH_STRUCT, BatchError, BatchRecord, exceeds, read_records
from streams.kafka.stop_timeouts import cancel_until_done

_CompiledMemoryRecords: Final = fetcher.MemoryRecords
_close_fetcher: Final = fetcher.Fetcher.close
#: How many bytes of values one fetch hands out, of all partitions together; its last record comes whole.
MAX_FETCH_BYTES: Final = 16 * 1024 * 1024
#: After so long a batch that could not be read is fetched again: a broker may have got it from a replica.
_UNREADABLE_RETRY_SECONDS: Final = 5.0


class UnreadableBatchError(CorruptRecordException):  # type: ignore[misc]  # aiokafka has no types
    """The broker's copy of a batch cannot be read."""


class UnreadableBatch(NamedTuple):
    """A batch that could not be read, and when it is fetched again."""

    offset: int
    error: UnreadableBatchError
    retry_at: float


def patch_aiokafka() -> None:
    """Patch every aiokafka consumer of this process; may be called again."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _RereadableMemoryRecords, _LenientPartitionRecords
    fetcher.FetchResult = _BoundedFetchResult
    fetcher.Fetcher.close = _end_fetches_and_close


def reset_bytes_left(assignment: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Let the next fetch from an assignment hand out `MAX_FETCH_BYTES` again."""
    if assignment is not None:
        assignment.bytes_left = MAX_FETCH_BYTES


def set_unreadable_aside(assignment: Any, partitions: Iterable[Any]) -> Mapping[Any, UnreadableBatch]:  # noqa: ANN401 - aiokafka has no types
    """Have batches that cannot be read pause their partitions; return those that are known by now.

    Partitions whose time has come are fetched again. A consumer for which this is not called raises instead.
    """
    if assignment is None:
        return {}
    if not hasattr(assignment, "unreadable"):
        assignment.unreadable = {}
    unreadable: dict[Any, UnreadableBatch] = assignment.unreadable
    now, wanted = time.monotonic(), set(partitions)
    for tp, batch in unreadable.items():
        if batch.retry_at <= now and tp in wanted and (state := assignment.state_value(tp)) is not None:
            state.resume()
            unreadable[tp] = batch._replace(retry_at=now + _UNREADABLE_RETRY_SECONDS)
    return {tp: batch for tp, batch in unreadable.items() if tp in wanted}


async def fetch_from(
    consumer: AIOKafkaConsumer, partition: TopicPartition, timeout_ms: int, max_records: int
) -> Sequence[Any]:
    """Return the next records of a partition, of a consumer that is used for nothing else meanwhile."""
    reset_bytes_left(consumer._subscription.subscription.assignment)  # noqa: SLF001 - it has no other way
    fetched = await consumer.getmany(partition, timeout_ms=timeout_ms, max_records=max_records)
    records: Sequence[Any] = fetched.get(partition, ())
    return records


async def _end_fetches_and_close(self: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    # The task that starts fetches comes first: then there are no new ones.
    await cancel_until_done([self._fetch_task])
    await cancel_until_done(self._pending_tasks)
    self._pending_tasks.clear()
    await _close_fetcher(self)


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
        unreadable = getattr(self._assignment, "unreadable", None)
        try:
            for record in self._partition_records:
                records.append(record)
                bytes_left -= record.serialized_value_size
                if len(records) == max_records or bytes_left <= 0:
                    self._update_position()
                    break
            else:
                self._update_position()
                self._partition_records = None
        except Exception as error:
            # Damaged bytes make the parsers raise all sorts of errors.
            if unreadable is None:
                raise
            self._set_aside(unreadable, error, has_records=bool(records))
        else:
            if unreadable and records:
                unreadable.pop(self._topic_partition, None)
        self._assignment.bytes_left = bytes_left
        return records

    def _set_aside(self, unreadable: dict[Any, UnreadableBatch], error: Exception, *, has_records: bool) -> None:
        """Go on behind the records that were read; where there are none, pause the partition."""
        self._update_position()
        offset, self._partition_records = self._partition_records.next_fetch_offset, None
        if has_records:
            return
        tp = self._topic_partition
        reason = UnreadableBatchError(
            f"the broker's copy of the batch is damaged ({type(error).__name__}: {error}); restore it from a replica,"
            " or have it passed over: see MilepostRetrying in the runbook"
        )
        unreadable[tp] = UnreadableBatch(offset, reason, time.monotonic() + _UNREADABLE_RETRY_SECONDS)
        self._assignment.state_value(tp).pause()


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
