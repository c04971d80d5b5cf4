"""Reads a topic without a consumer group, up to end offsets that were read before, and no further."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError

from consumers.client import REQUEST_TIMEOUT_MS, create_client, kafka_errors
from models.settings import Settings

_POLL_MS: Final = 500


@contextmanager
def open_topic_consumer(settings: Settings) -> Iterator[KafkaConsumer]:
    """Give a consumer without a group: it commits nothing, and needs no rights on a group."""
    with kafka_errors(settings) as options:
        consumer = create_client(
            KafkaConsumer,
            **options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
        )
        with closing(consumer):
            yield consumer


def read_until(
    consumer: KafkaConsumer, topic: str, end_offsets: Mapping[TopicPartition, int]
) -> Iterator[ConsumerRecord]:
    """Return the records from a consumer's positions up to the end offset of each partition, not included.

    Raises `KafkaTimeoutError` when the broker sends nothing more before that.
    """
    idle_ms = 0
    # The position tells the end, not the last record: compaction and markers leave offsets without a record.
    while any(consumer.position(partition) < end for partition, end in end_offsets.items()):
        fetched = consumer.poll(timeout_ms=_POLL_MS)
        for partition, records in fetched.items():
            yield from (record for record in records if record.offset < end_offsets[partition])
        idle_ms = 0 if fetched else idle_ms + _POLL_MS
        if idle_ms >= REQUEST_TIMEOUT_MS:
            raise KafkaTimeoutError(f"it sent nothing more of {topic} for {idle_ms // 1000} s")
