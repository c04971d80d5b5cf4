"""FastStream's batch subscriber on confluent-kafka, a thousand at a time."""

import asyncio
from typing import Final

from faststream import FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

from tests.benchmarks.peers.job import PeerArguments, PeerProgress, create_job_tables, write_batch

_SUBSCRIBER_BATCH: Final = 1000


def main() -> None:
    """Run the application until all is done."""
    told = PeerArguments.from_command_line()
    engine, progress = create_job_tables(told.database), PeerProgress(told.events)
    broker = KafkaBroker(told.kafka)

    @broker.subscriber(
        told.topic,
        group_id=f"faststream-{told.topic}",
        auto_offset_reset="earliest",
        batch=True,
        max_records=_SUBSCRIBER_BATCH,
        decoder=_raw_body,
    )
    async def handle_batch(values: list[bytes]) -> None:
        progress.start_clock()
        write_batch(engine, values)
        progress.add_committed(len(values))

    asyncio.run(FastStream(broker).run())


async def _raw_body(message: KafkaMessage) -> object:
    return message.body


if __name__ == "__main__":
    main()
