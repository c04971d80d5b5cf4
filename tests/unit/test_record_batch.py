"""Batches that inflate to more than can be held: both Kafka clients read each record once, in bounded memory."""

import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
import lz4.frame
import pytest
import zstandard
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BuilderInPython
from aiokafka.record.legacy_records import _LegacyRecordBatchBuilderPy as LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords

from consumers.compat import patch_kafka_python
from models.domain.cloudevents import decode
from models.domain.dead_letters import KEPT_BYTES, dead_letter_content, parse_dead_letter
from models.domain.events import MAX_VALUE_BYTES, Rejection, RejectionReason
from models.record_batch import MAX_WHOLE_BYTES, BatchError, BatchRecord, exceeds, read_records
from streams.kafka.compat import MAX_FETCH_BYTES, patch_aiokafka, reset_bytes_left

MIB = 1024 * 1024
Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(data) + compressor.flush()


def _zstd_without_size(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(data) + compressor.flush()


def _xerial(data: bytes) -> bytes:
    blocks = (bytes(cramjam.snappy.compress_raw(data[at : at + 32768])) for at in range(0, len(data), 32768))
    framed = b"".join(len(block).to_bytes(4, "big") + block for block in blocks)
    return b"\x82SNAPPY\x00" + (1).to_bytes(4, "big") * 2 + framed


CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, _gzip),
    "snappy": (2, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "snappy of Java": (2, _xerial),
    "lz4": (3, lz4.frame.compress),
    "zstd": (4, zstandard.compress),
    "zstd without size": (4, _zstd_without_size),
}
#: Of a batch, before its records.
BATCH_HEADER_BYTES = 61


def batch_of(records: list[Record], codec: str = "zstd", base: int = 7) -> bytes:
    """Return a batch as a broker keeps it."""
    builder = BuilderInPython(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 40,
    )
    for number, (key, value, headers) in enumerate(records):
        assert builder.append(number, timestamp=1000 + number, key=key, value=value, headers=headers)
    plain = bytes(builder.build())
    number, compress = CODECS[codec]
    body = plain[21:22] + bytes([plain[22] | number]) + plain[23:61] + compress(plain[61:])
    checked = plain[12:17] + crc32c(body).to_bytes(4, "big") + body
    return base.to_bytes(8, "big") + len(checked).to_bytes(4, "big") + checked


def read_by_aiokafka(batch: bytes, start: int = 0) -> Iterator[Any]:
    patch_aiokafka()
    options: dict[str, Any] = {"key_deserializer": None, "value_deserializer": None, "check_crcs": True}
    return iter(
        fetcher.PartitionRecords(
            TopicPartition("t", 0),
            fetcher.MemoryRecords(batch),
            aborted_transactions=None,
            fetch_offset=start,
            isolation_level=fetcher.READ_COMMITTED,
            **options,
        )
    )


def read_by_kafka_python(batch: bytes) -> Iterator[Any]:
    patch_kafka_python()
    records = MemoryRecords(batch)
    while (read := records.next_batch()) is not None:
        assert read.validate_crc()
        yield from read


READERS = pytest.mark.parametrize("read", [read_by_aiokafka, read_by_kafka_python])


@pytest.mark.parametrize("blocks", [128, 129])
def test_the_densest_batch_of_zstd_is_inflated_to_be_measured(blocks: int) -> None:
    # Blocks of one repeated byte, each as large as any may be: RFC 8878, section 3.1.1.2.
    block = (MIB // 8 << 3 | 0b010).to_bytes(3, "little") + b" "
    last = (MIB // 8 << 3 | 0b011).to_bytes(3, "little") + b" "
    frame = b"\x28\xb5\x2f\xfd\x00\x38" + block * (blocks - 1) + last
    assert len(zstandard.ZstdDecompressor().stream_reader(frame).read()) == blocks * MIB // 8
    batch = batch_of([(None, b"{}", [])])[:BATCH_HEADER_BYTES] + frame
    assert exceeds(batch) is (blocks * MIB // 8 > MAX_WHOLE_BYTES)


@READERS
@pytest.mark.parametrize("codec", CODECS)
def test_a_record_of_17_mebibytes_is_its_beginning_and_its_size(codec: str, read: Any) -> None:  # noqa: ANN401 - a reader
    good = (b"k", b"{}", [("a", b"1"), ("b", None)])
    batch = batch_of([good, (None, b" " * (17 * MIB), [("ce_id", b"1")]), good], codec)
    before, large, behind = read(batch)
    assert [before.offset, large.offset, behind.offset] == [7, 8, 9]
    assert [bytes(before.value), list(before.headers), behind.timestamp] == [b"{}", good[2], 1002]
    assert len(large.value) == 17 * MIB
    assert large.value[:] == b" " * KEPT_BYTES
    rejection = decode(large.headers, large.value)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.detail) == (
        RejectionReason.TOO_LARGE,
        f"{17 * MIB} bytes, allowed are {MAX_VALUE_BYTES}",
    )


@READERS
def test_a_batch_that_inflates_a_thousandfold_is_read_in_bounded_memory(read: Any) -> None:  # noqa: ANN401 - a reader
    batch = batch_of([(None, b"x" * 250_000, [])] * 400)  # 100 MB
    tracemalloc.start()
    try:
        sizes = [len(record.value) for record in read(batch)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [250_000] * 400
    assert peak < 4 * MIB


@READERS
def test_headers_without_end_are_cut_and_the_record_is_too_large(read: Any) -> None:  # noqa: ANN401 - a reader
    headers: list[tuple[str, bytes | None]] = [(f"h{number}", b"x" * 2000) for number in range(10_000)]
    [record] = read(batch_of([(b"k" * MIB, b"{}", headers)]))
    assert len(record.key) == KEPT_BYTES
    assert len(record.headers) < 150
    assert len(record.value) > 20_000_000
    assert decode(record.headers, record.value).reason is RejectionReason.TOO_LARGE  # type: ignore[union-attr]


def test_empty_headers_count_too() -> None:
    [record] = read_records(batch_of([(None, b"{}", [("", None)] * 2_000_000)]))
    assert len(record.headers) <= 16_384
    assert len(record.value or b"") > MAX_VALUE_BYTES


def test_reading_goes_on_within_a_batch() -> None:
    batch = batch_of([(None, b"x" * 250_000, [])] * 100)
    assert [record.offset for record in read_by_aiokafka(batch, start=90)] == list(range(90, 107))


@READERS
def test_a_large_batch_that_ends_too_early_is_corrupt(read: Any) -> None:  # noqa: ANN401 - a reader
    plain = batch_of([(None, b"x" * (40 * MIB), [])], "zstd")
    body = plain[21:-20]
    checked = plain[12:17] + crc32c(body).to_bytes(4, "big") + body
    batch = plain[:8] + len(checked).to_bytes(4, "big") + checked
    with pytest.raises(Exception, match=r"end too early|cannot be decompressed|corrupt|zstd") as caught:
        list(read(batch))
    assert type(caught.value).__name__ in {CorruptRecordException.__name__, "CorruptRecordError"}


def old_message_set(magic: int, value: bytes) -> bytes:
    """Return a message as a Kafka before 0.11 kept it."""
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=1, batch_size=1 << 40)
    builder.append(0, timestamp=1000 if magic else None, key=b"k", value=value)
    return bytes(builder.build())


@READERS
@pytest.mark.parametrize("magic", [0, 1])
def test_a_message_set_from_before_kafka_0_11_is_read_when_it_can_be_held(magic: int, read: Any) -> None:  # noqa: ANN401 - a reader
    [record] = read(old_message_set(magic, b"{}" * 1000))
    assert record.value == b"{}" * 1000


@READERS
@pytest.mark.parametrize("magic", [0, 1])
def test_a_message_set_from_before_kafka_0_11_that_cannot_be_held_is_refused_with_its_reason(
    magic: int,
    read: Any,  # noqa: ANN401 - a reader
) -> None:
    batch = old_message_set(magic, b" " * (17 * MIB))
    tracemalloc.start()
    with pytest.raises(Exception, match=f"format {magic}, from before Kafka 0.11, inflates beyond") as caught:
        list(read(batch))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert type(caught.value).__name__ in {CorruptRecordException.__name__, "CorruptRecordError"}
    assert peak < 4 * MIB


@pytest.mark.parametrize("codec", CODECS)
def test_a_publishers_batch_is_read_whole(codec: str) -> None:
    assert not exceeds(batch_of([(None, b"{}" * 500, [])] * 1000, codec))


def test_bytes_that_are_no_batch_do_not_exceed_and_raise() -> None:
    assert not exceeds(b"")
    assert not exceeds(b"\x00" * 61)
    with pytest.raises(BatchError):
        list(read_records(b"\x00" * 57 + b"\x00\x00\x00\x01"))


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=50),
            st.none() | st.binary(max_size=200),
            st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(sorted(CODECS)),
)
def test_records_within_the_limits_are_read_as_they_are(records: list[Record], codec: str) -> None:
    expected = [
        BatchRecord(7 + at, 1000 + at, 0, key, value, headers) for at, (key, value, headers) in enumerate(records)
    ]
    assert list(read_records(batch_of(records, codec))) == expected


class _Assignment:
    active = True
    bytes_left: int

    def state_value(self, _: object) -> "_Assignment":
        return self

    paused, position = False, 0

    def consumed_to(self, position: int) -> None:
        self.position = position


def test_a_fetch_hands_out_a_bounded_number_of_bytes() -> None:
    assignment = _Assignment()
    records = read_by_aiokafka(batch_of([(None, b"x" * 250_000, [])] * 200, base=0))
    result: Any = fetcher.FetchResult(
        TopicPartition("t", 0), assignment=assignment, partition_records=records, backoff=0
    )
    fetched = []
    while result.has_more():
        reset_bytes_left(assignment)
        fetched.append(len(result.getall(4000)))
    assert sum(fetched) == 200
    assert max(fetched) * 250_000 <= MAX_FETCH_BYTES + 250_000
    assert MAX_WHOLE_BYTES >= MAX_FETCH_BYTES


def test_a_dead_letter_has_the_beginning_and_says_the_size() -> None:
    own = [("milepost-reason", b"the publisher's"), ("x", None)]
    rejection = Rejection(RejectionReason.TOO_LARGE, "too large", "urn:a")
    value, headers = dead_letter_content("t", 3, 9, own, b"y" * 300_000, rejection)
    letter = parse_dead_letter(b"t:3:9", value, headers)
    assert letter is not None
    assert letter.value == b"y" * KEPT_BYTES
    assert (letter.truncated, letter.reason, letter.source) == (300_000, "too-large", "urn:a")
    assert letter.headers == tuple(own)


def test_a_dead_letter_of_headers_without_end_is_bounded() -> None:
    many: list[tuple[str, bytes | None]] = [("h", b"x" * 1000)] * 5000
    value, headers = dead_letter_content("t", 3, 9, many, b"{}", Rejection(RejectionReason.INVALID_ENVELOPE, "no id"))
    letter = parse_dead_letter(b"t:3:9", value, headers)
    assert letter is not None
    assert letter.value == b"{}"
    assert letter.truncated == 2 + 5000 * 1017
    assert len(letter.headers) < 300


def test_a_record_within_the_limits_is_kept_whole() -> None:
    value, headers = dead_letter_content(
        "t", 3, 9, [("a", b"b")], b"y" * MAX_VALUE_BYTES, Rejection(RejectionReason.MALFORMED, "no JSON")
    )
    letter = parse_dead_letter(b"t:3:9", value, headers)
    assert letter is not None
    assert (letter.value, letter.headers, letter.truncated) == (b"y" * MAX_VALUE_BYTES, (("a", b"b"),), None)
