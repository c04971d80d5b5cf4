"""Sending records and waiting until the broker has them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from faust.types import AppT

OutgoingRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
#: Sends (key, value, headers) to a topic; returns when all are acknowledged by the broker.
Produce = Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]]


def create_producer(app: AppT) -> Produce:
    """Return a sender that uses the application's own producer."""

    async def produce(topic: str, outgoing: Sequence[OutgoingRecord]) -> None:
        sending = []
        for key, value, headers in outgoing:
            given = cast("list[tuple[str, bytes]]", headers)  # Kafka's header values may be null; Faust's type forgot
            sending.append(await app.producer.send(topic, key, value, partition=None, timestamp=None, headers=given))
        await asyncio.gather(*sending)

    return produce
