"""Publishing while something is timed: one event at a time, or so many a second."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kafka import KafkaProducer

from models.settings import Settings
from tests.publisher import structured
from tests.reading import Event


class Publisher:
    """Publishes events under the name of their programme."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    def publish(self, event: Event) -> None:
        """Publish an event now; return when the broker has it."""
        self._send(event)
        self._producer.flush()

    def publish_steadily(self, events: Iterable[Event], a_second: float) -> float:
        """Publish events, each when its time has come; return how many a second it came to."""
        began, count = time.monotonic(), 0
        for count, event in enumerate(events, start=1):
            time.sleep(max(0.0, began + (count - 1) / a_second - time.monotonic()))
            self._send(event)
        took = time.monotonic() - began
        self._producer.flush()
        return count / (took + 1 / a_second)

    def _send(self, event: Event) -> None:
        headers, value = structured(event)
        self._producer.send(self._topic, key=event["subject"].split("/")[0].encode(), headers=headers, value=value)


@contextmanager
def publisher(settings: Settings) -> Iterator[Publisher]:
    """Give a publisher that holds nothing back."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all", linger_ms=0)
    try:
        yield Publisher(producer, settings.events_topic)
    finally:
        producer.close()
