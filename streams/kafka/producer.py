"""Sends records and waits for the broker's acknowledgement; no longer than a moment once the worker stops."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from faust.transport.drivers import aiokafka as driver
from faust.types import AppT

from streams.kafka.stop_timeouts import StopTimeouts, cancel_until_done

OutgoingRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
#: Sends (key, value, headers) to a topic; returns when the broker has acknowledged all.
Produce = Callable[[str, Sequence[OutgoingRecord]], Awaitable[None]]


class LimitedProducer(driver.Producer):
    """Faust's producer; its end does not wait for brokers that do not answer."""

    async def flush(self) -> None:
        """Do nothing: whoever sends waits for the acknowledgement."""

    async def on_stop(self) -> None:
        """Close the connections; what the brokers have not acknowledged by now is given up."""
        if self._producer is not None:
            # Its own `stop` waits until all that it has is answered.
            sending = self._producer._sender.sender_task  # noqa: SLF001 - it has no other way
            await cancel_until_done([] if sending is None else [sending])
        await super().on_stop()


def create_producer(app: AppT, stop_timeouts: StopTimeouts) -> Produce:
    """Return what sends with the application's own producer; raises `TimeoutError` when a stop has no more time."""

    async def produce(topic: str, records: Sequence[OutgoingRecord]) -> None:
        async with stop_timeouts.limit():
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
