"""The loop by hand: confluent-kafka, 5,000 messages at a time, whatever database they go to."""

from collections.abc import Callable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.benchmarks.peers.job import Arguments, Progress, Row, row_of

_AT_ONCE: Final = 5000


def work_off(told: Arguments, write: Callable[[list[Row]], None]) -> None:
    """Read, have it written and committed, commit the offsets; until all is done."""
    progress = Progress(told.events)
    consumer = Consumer(
        {
            "bootstrap.servers": told.kafka,
            "group.id": f"by-hand-{told.topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    if told.partitions:
        consumer.assign([TopicPartition(told.topic, number, OFFSET_BEGINNING) for number in told.partitions])
    else:
        consumer.subscribe([told.topic])
    while True:
        messages = consumer.consume(_AT_ONCE, 0.3)
        if messages:
            progress.begin()
            write([row_of(value) for message in messages if (value := message.value()) is not None])
            consumer.commit(asynchronous=True)
            progress.done(len(messages))
