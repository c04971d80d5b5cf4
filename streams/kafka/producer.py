"""Sends records and waits for the broker's acknowledgement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from faust.types import AppT

OutgoingRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
#: Sends (key, value, headers) to a topic; returns when the broker has acknowledged all.
Produce = Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]]


def create_producer(app: AppT) -> Produce:
    """Return what sends with the application's own producer."""

    async def produce(topic: str, records: Sequence[OutgoingRecord]) -> None:
        acknowledgements = []
        for key, value, nullable in records:
            headers = cast(
                "list[tuple[str, bytes]]", nullable
            )  # Kafka's header values may be null, unlike Faust's type
            acknowledgements.append(
                await app.producer.send(topic, key, value, partition=None, timestamp=None, headers=headers)
            )
        await asyncio.gather(*acknowledgements)

    return produce
