"""A topic's log from the outside: read from where one likes up to an end that was looked at before, and no further."""

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
    """Give a consumer without a group: reading leaves no trace, and needs no right to any."""
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
    """Return the records from where a consumer stands up to the end of each partition, not included.

    Raises `KafkaTimeoutError` when the broker sends nothing more before that.
    """
    idle_ms = 0
    # The position, not the last record, tells the end: compaction and markers leave offsets without one.
    while any(consumer.position(partition) < end for partition, end in end_offsets.items()):
        fetched = consumer.poll(timeout_ms=_POLL_MS)
        for partition, records in fetched.items():
            yield from (record for record in records if record.offset < end_offsets[partition])
        idle_ms = 0 if fetched else idle_ms + _POLL_MS
        if idle_ms >= REQUEST_TIMEOUT_MS:
            raise KafkaTimeoutError(f"it sent nothing more of {topic} for {idle_ms // 1000} s")
