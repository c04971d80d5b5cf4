"""The loop by hand: confluent-kafka, 5,000 messages at a time, whatever database they go to."""

from collections.abc import Callable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.benchmarks.peers.job import PeerArguments, PeerProgress, PeerRow, decode_row

_CONSUME_BATCH: Final = 5000


def consume_all(arguments: PeerArguments, write: Callable[[list[PeerRow]], None]) -> None:
    """Read, have it written and committed, commit the offsets; until all is done."""
    progress = PeerProgress(arguments.events)
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.kafka,
            "group.id": f"by-hand-{arguments.topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    if arguments.partitions:
        consumer.assign([TopicPartition(arguments.topic, number, OFFSET_BEGINNING) for number in arguments.partitions])
    else:
        consumer.subscribe([arguments.topic])
    while True:
        messages = consumer.consume(_CONSUME_BATCH, 0.3)
        if messages:
            progress.start_clock()
            write([decode_row(value) for message in messages if (value := message.value()) is not None])
            consumer.commit(asynchronous=True)
            progress.add_committed(len(messages))
