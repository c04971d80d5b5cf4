"""A publisher that goes on whatever happens, and counts what the broker acknowledged: events, repeats and garbage."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer

from models.settings import Settings
from tests.publisher import random_events, structured
from tests.reading import Event

PROGRAMMES = 8
_GARBAGE = (b"no event", b"[]", b'{"specversion": "1.0"}', b"\xff\xfe")
#: One record in so many is said again, and one is garbage.
_REPEATS, _SPOILS = 5, 40


class Load(threading.Thread):
    """Publishes events in a random order at a steady rate until it is stopped or has said them all."""

    def __init__(self, settings: Settings, seed: int, count: int, a_second: float) -> None:
        super().__init__(daemon=True)
        self._settings, self._rng, self._pause = settings, random.Random(seed), 1 / a_second  # noqa: S311 - no secret
        self._events = random_events(seed, count, programmes=PROGRAMMES, projects=6, with_dependencies=True)
        self._rng.shuffle(self._events)
        self._stop_asked = threading.Event()
        self._sent: list[tuple[Event | None, Any]] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Publish."""
        try:
            producer = KafkaProducer(bootstrap_servers=self._settings.kafka, acks="all", linger_ms=5)
            try:
                self._publish(producer)
                producer.flush(60)
            finally:
                producer.close()
        except BaseException as error:  # noqa: BLE001 - told to whoever stops the load
            self.failure = error

    def _publish(self, producer: KafkaProducer) -> None:
        due = time.monotonic()
        for event in self._events:
            self._send(producer, event)
            if self._rng.randrange(_REPEATS) == 0:
                said = self._rng.choice(self._sent)[0]
                self._send(producer, said)
            if self._rng.randrange(_SPOILS) == 0:
                self._send(producer, None)
            due += self._pause
            if self._stop_asked.wait(max(0.0, due - time.monotonic())):
                return

    def _send(self, producer: KafkaProducer, event: Event | None) -> None:
        key = bytes(str(self._rng.randrange(1000)), "ascii")
        headers, value = ([], self._rng.choice(_GARBAGE)) if event is None else structured(event)
        future = producer.send(self._settings.events_topic, key=key, headers=headers, value=value)
        self._sent.append((event, future))

    def stop(self) -> tuple[Sequence[Event], int]:
        """Stop; return the acknowledged events, each once, and how many garbage records were."""
        self._stop_asked.set()
        self.join(120)
        assert not self.is_alive()
        assert self.failure is None, self.failure
        acknowledged = [event for event, future in self._sent if future.succeeded()]
        events = {(event["source"], event["id"]): event for event in acknowledged if event is not None}
        return list(events.values()), sum(event is None for event in acknowledged)
