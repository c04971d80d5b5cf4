"""Publishing while something is timed: one event at a time, or so many a second."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from models.settings import Settings
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import JsonEvent


class PacedPublisher:
    """Publishes events under the name of their programme."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    def publish(self, event: JsonEvent) -> None:
        """Publish an event now; return when the broker has it."""
        self._send(event)
        self._producer.flush()

    def publish_steadily(self, events: Iterable[JsonEvent], rate: float) -> float:
        """Publish events, each when its time has come; return how many a second it came to."""
        began, count = time.monotonic(), 0
        for count, event in enumerate(events, start=1):
            time.sleep(max(0.0, began + (count - 1) / rate - time.monotonic()))
            self._send(event)
        took = time.monotonic() - began
        self._producer.flush()
        return count / (took + 1 / rate)

    def _send(self, event: JsonEvent) -> None:
        headers, value = structured_record(event)
        key = event["subject"].split("/")[0].encode()
        self._producer.produce(self._topic, value, key, headers=list[tuple[str, str | bytes | None]](headers))
        self._producer.poll(0)


@contextmanager
def running_publisher(settings: Settings) -> Iterator[PacedPublisher]:
    """Give a publisher that holds nothing back, and takes little of the machine itself."""
    producer = Producer({"bootstrap.servers": settings.kafka, "acks": "all", "linger.ms": 0})
    yield PacedPublisher(producer, settings.events_topic)
    assert producer.flush(60) == 0
