"""FastStream's batch subscriber on confluent-kafka, a thousand at a time."""

import asyncio
from typing import Final

from faststream import FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

from tests.benchmarks.peers.job import Arguments, Progress, prepared, write

_AT_ONCE: Final = 1000


def main() -> None:
    """Run the application until all is done."""
    told = Arguments.of_command_line()
    engine, progress = prepared(told.database), Progress(told.events)
    broker = KafkaBroker(told.kafka)

    @broker.subscriber(
        told.topic,
        group_id=f"faststream-{told.topic}",
        auto_offset_reset="earliest",
        batch=True,
        max_records=_AT_ONCE,
        decoder=_as_they_came,
    )
    async def work(values: list[bytes]) -> None:
        progress.begin()
        write(engine, values)
        progress.done(len(values))

    asyncio.run(FastStream(broker).run())


async def _as_they_came(message: KafkaMessage) -> object:
    return message.body


if __name__ == "__main__":
    main()
