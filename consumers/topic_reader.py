"""Reads a topic without a consumer group, up to end offsets that were read before, and no further."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError

from consumers.client import REQUEST_TIMEOUT_MS, create_client, kafka_errors
from models.settings import Settings

#: The first offset and the end offset by partition.
OffsetRanges = Mapping[int, tuple[int, int]]

_POLL_MS: Final = 500
# Without a group: it commits nothing, and needs no rights on a group.
_OPTIONS: Final = {
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "allow_auto_create_topics": False,
    # As the worker: what a transaction aborted was never said, and what is still open is not yet said.
    "isolation_level": "read_committed",
}


@contextmanager
def open_topic(settings: Settings, topic: str) -> Iterator[tuple[KafkaConsumer, OffsetRanges]]:
    """Give a consumer for `read_ranges`, and the offsets that the topic's partitions hold now."""
    with kafka_errors(settings) as options, closing(create_client(KafkaConsumer, **options, **_OPTIONS)) as consumer:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        yield consumer, {each.partition: (starts[each], ends[each]) for each in partitions}


def read_ranges(consumer: KafkaConsumer, topic: str, ranges: OffsetRanges) -> Iterator[ConsumerRecord]:
    """Return the records of each partition from its first offset up to its end offset, not included.

    Raises `KafkaTimeoutError` when the broker sends nothing more before that.
    """
    ends = {TopicPartition(topic, number): end for number, (_, end) in ranges.items()}
    consumer.assign(list(ends))
    for partition in ends:
        consumer.seek(partition, ranges[partition.partition][0])
    idle_ms = 0
    # The position tells the end, and of progress, not the last record: compaction, aborted transactions and markers
    # leave offsets without a record.
    positions: dict[TopicPartition, int] = {}
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        fetched = consumer.poll(timeout_ms=_POLL_MS)
        for partition, records in fetched.items():
            yield from (record for record in records if record.offset < ends[partition])
        previous, positions = positions, {partition: consumer.position(partition) for partition in ends}
        idle_ms = 0 if fetched or positions != previous else idle_ms + _POLL_MS
        if idle_ms >= REQUEST_TIMEOUT_MS:
            raise KafkaTimeoutError(f"it sent nothing more of {topic} for {idle_ms // 1000} s")
