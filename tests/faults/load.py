"""A publisher that goes on whatever happens, and counts what the broker acknowledged: events, repeats and garbage."""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from models.settings import Settings
from tests.publisher import random_events, structured
from tests.reading import Event

PROGRAMMES: Final = 8
_PROJECTS: Final = 6
_GARBAGE: Final = (b"no event", b"[]", b'{"specversion": "1.0"}', b"\xff\xfe")
#: One record in so many is said again, and one is garbage.
_REPEATS, _SPOILS = 5, 40
#: How long a record may wait for the broker before it counts as not acknowledged.
_DELIVERY_MS: Final = 300_000
#: How many records may wait for it.
_WAITING: Final = 1_000_000
#: From how many of the last events one is taken to be said again.
_REMEMBERED: Final = 20_000

#: The source and the id of an event.
Name = tuple[str, str]


class Said(NamedTuple):
    """What the broker acknowledged."""

    #: Each event once, as JSON.
    values: dict[Name, bytes]
    #: How many records were garbage.
    garbage: int

    def events(self) -> Iterator[Event]:
        """Return the events."""
        return map(json.loads, self.values.values())


def shuffled(seed: int, count: int, projects: int = _PROJECTS) -> list[Event]:
    """Return so many events of the load's programmes, in a random order."""
    events = random_events(seed, count, programmes=PROGRAMMES, projects=projects, with_dependencies=True)
    random.Random(seed).shuffle(events)  # noqa: S311 - no secret
    return events


class _Sent(NamedTuple):
    """A record under way; an event, or garbage where it has no name."""

    name: Name | None
    value: bytes


class Load(threading.Thread):
    """Publishes events at a steady rate until it is stopped or has said them all."""

    def __init__(self, settings: Settings, seed: int, events: Iterable[Event], a_second: float) -> None:
        super().__init__(daemon=True)
        self._settings, self._rng, self._pause = settings, random.Random(seed), 1 / a_second  # noqa: S311 - no secret
        self._events = events
        self._stop_asked, self._going_on, self._resting = threading.Event(), threading.Event(), threading.Event()
        self._going_on.set()
        #: Records that the broker has not answered for yet.
        self._under_way = 0
        self._newest: deque[_Sent] = deque(maxlen=_REMEMBERED)
        self._failed: list[_Sent] = []
        self._said = Said({}, 0)
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Publish."""
        try:
            # In C: at thousands of events a second, one in Python would take half of the machine.
            producer = Producer(
                {
                    "bootstrap.servers": self._settings.kafka,
                    "acks": "all",
                    "linger.ms": 5,
                    "message.timeout.ms": _DELIVERY_MS,
                    "queue.buffering.max.messages": _WAITING,
                    # Partitions that are added, and a topic that is made anew, are to be found soon.
                    "topic.metadata.refresh.interval.ms": 1000,
                }
            )
            self._publish(producer)
            self._settle(producer)
            self._say_again(producer)
        except BaseException as error:  # noqa: BLE001 - told to whoever stops the load
            self.failure = error

    def _publish(self, producer: Producer) -> None:
        due = time.monotonic()
        for event in self._events:
            if not self._going_on.is_set():
                self._settle(producer)
                self._resting.set()
                self._going_on.wait()
                due = time.monotonic()
            self._newest.append(self._send(producer, (event["source"], event["id"]), structured(event)[1]))
            if self._rng.randrange(_REPEATS) == 0:
                again = self._newest[self._rng.randrange(len(self._newest))]
                self._send(producer, again.name, again.value)
            if self._rng.randrange(_SPOILS) == 0:
                self._send(producer, None, self._rng.choice(_GARBAGE))
            producer.poll(0)
            due += self._pause
            if self._stop_asked.wait(max(0.0, due - time.monotonic())):
                return

    def _send(self, producer: Producer, name: Name | None, value: bytes) -> _Sent:
        sent = _Sent(name, value)
        headers: list[tuple[str, str | bytes | None]] = []
        if name is not None:
            headers.append(("content-type", b"application/cloudevents+json"))

        def answered(error: KafkaError | None, _: Message) -> None:
            self._under_way -= 1
            if error is not None:
                self._failed.append(sent)
            elif name is None:
                self._said = self._said._replace(garbage=self._said.garbage + 1)
            else:
                self._said.values[name] = value

        key = bytes(str(self._rng.randrange(1000)), "ascii")
        self._under_way += 1
        producer.produce(self._settings.events_topic, value, key, headers=headers, on_delivery=answered)
        return sent

    def _settle(self, producer: Producer) -> None:
        """Return when the broker has answered for everything."""
        producer.flush(_DELIVERY_MS / 1000)

    def _say_again(self, producer: Producer) -> None:
        """Say what was not acknowledged until it is: whether the log has it is not known otherwise."""
        failed, self._failed = self._failed, []
        for sent in failed:
            if sent.name is not None:
                self._send(producer, sent.name, sent.value)
        self._settle(producer)

    def rest(self) -> None:
        """Publish nothing more until `go_on`; return when the broker has acknowledged what was."""
        self._resting.clear()
        self._going_on.clear()
        assert self._resting.wait(120), "the load does not come to rest"

    def go_on(self) -> None:
        """Publish again."""
        self._going_on.set()

    def stop(self) -> Said:
        """Stop; return what the broker acknowledged."""
        self._stop_asked.set()
        self._going_on.set()
        self.join(120)
        assert not self.is_alive()
        assert self.failure is None, self.failure
        assert not self._under_way
        assert not any(sent.name for sent in self._failed)
        return self._said
