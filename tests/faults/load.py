"""A publisher that goes on whatever happens, and counts what the broker acknowledged: events, repeats and garbage."""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from models.settings import Settings
from tests.helpers.event_generators import random_events, structured_record
from tests.helpers.oracle import JsonEvent

PROGRAMMES: Final = 8
_PROJECTS: Final = 6
_MALFORMED_VALUES: Final = (b"no event", b"[]", b'{"specversion": "1.0"}', b"\xff\xfe")
#: One record in so many is said again, and one is garbage.
_DUPLICATE_EVERY, _MALFORMED_EVERY = 5, 40
#: How long a record may wait for the broker before it counts as not acknowledged.
_DELIVERY_TIMEOUT_MS: Final = 300_000
#: How many records may wait for it.
_MAX_QUEUED: Final = 1_000_000
#: From how many of the last events one is taken to be said again.
_RECENT_EVENTS: Final = 20_000

#: The source and the id of an event.
#: Programmes of which events are stamped with the present.
_TOLD_TODAY: Final = frozenset(f"programme-{number}" for number in range(0, PROGRAMMES, 2))

SourceAndId = tuple[str, str]


class AcknowledgedRecords(NamedTuple):
    """What the broker acknowledged."""

    #: Each event once, as JSON.
    values: dict[SourceAndId, bytes]
    #: How many records were garbage.
    malformed: int

    def events(self) -> Iterator[JsonEvent]:
        """Return the events."""
        return map(json.loads, self.values.values())


def shuffled_events(seed: int, count: int, projects: int = _PROJECTS) -> list[JsonEvent]:
    """Return so many events of the load's programmes, in a random order.

    One programme in two is told what happens today: its changes are published at once. The other loads a past, whose
    changes wait for its end.
    """
    events = random_events(seed, count, programmes=PROGRAMMES, projects=projects, with_dependencies=True)
    rng, now = random.Random(seed), datetime.now(UTC)  # noqa: S311 - no secret
    for event in events:
        if event["partitionkey"] in _TOLD_TODAY:
            stamped = "recordedtime" if "recordedtime" in event else "time"
            event[stamped] = (now - timedelta(seconds=rng.randrange(24 * 60 * 60))).strftime("%Y-%m-%dT%H:%M:%SZ")
    rng.shuffle(events)
    return events


class _SentRecord(NamedTuple):
    """A record under way; an event, or garbage where it has no name."""

    event_id: SourceAndId | None
    value: bytes
    #: None for a random one each time.
    key: str | None


class LoadGenerator(threading.Thread):
    """Publishes events at a steady rate until it is stopped or has said them all.

    With random keys, or keyed by programme as publishers are to do.
    """

    def __init__(
        self, settings: Settings, seed: int, events: Iterable[JsonEvent], rate: float, *, is_keyed: bool = False
    ) -> None:
        super().__init__(daemon=True)
        self._settings, self._rng, self._interval = settings, random.Random(seed), 1 / rate  # noqa: S311 - no secret
        self._events, self._is_keyed = events, is_keyed
        self._stop_requested, self._may_publish, self._is_paused = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        self._may_publish.set()
        #: Records that the broker has not answered for yet.
        self._in_flight = 0
        self._recent: deque[_SentRecord] = deque(maxlen=_RECENT_EVENTS)
        self._failed: list[_SentRecord] = []
        self._acknowledged = AcknowledgedRecords({}, 0)
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
                    "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
                    "queue.buffering.max.messages": _MAX_QUEUED,
                    # Partitions that are added, and a topic that is made anew, are to be found soon.
                    "topic.metadata.refresh.interval.ms": 1000,
                }
            )
            self._publish(producer)
            self._flush(producer)
            self._resend_failed(producer)
        except BaseException as error:  # noqa: BLE001 - told to whoever stops the load
            self.failure = error

    def _publish(self, producer: Producer) -> None:
        due = time.monotonic()
        for event in self._events:
            if not self._may_publish.is_set():
                self._flush(producer)
                self._is_paused.set()
                self._may_publish.wait()
                due = time.monotonic()
            key = event["subject"].partition("/")[0] if self._is_keyed else None
            self._recent.append(self._send(producer, (event["source"], event["id"]), structured_record(event)[1], key))
            if self._rng.randrange(_DUPLICATE_EVERY) == 0:
                again = self._recent[self._rng.randrange(len(self._recent))]
                self._send(producer, again.event_id, again.value, again.key)
            if self._rng.randrange(_MALFORMED_EVERY) == 0:
                self._send(producer, None, self._rng.choice(_MALFORMED_VALUES), None)
            producer.poll(0)
            due += self._interval
            if self._stop_requested.wait(max(0.0, due - time.monotonic())):
                return

    def _send(self, producer: Producer, event_id: SourceAndId | None, value: bytes, key: str | None) -> _SentRecord:
        sent = _SentRecord(event_id, value, key)
        headers: list[tuple[str, str | bytes | None]] = []
        if event_id is not None:
            headers.append(("content-type", b"application/cloudevents+json"))

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            self._in_flight -= 1
            if error is not None:
                self._failed.append(sent)
            elif event_id is None:
                self._acknowledged = self._acknowledged._replace(malformed=self._acknowledged.malformed + 1)
            else:
                self._acknowledged.values[event_id] = value

        key = str(self._rng.randrange(1000)) if key is None else key
        self._in_flight += 1
        producer.produce(self._settings.events_topic, value, key, headers=headers, on_delivery=on_delivery)
        return sent

    def _flush(self, producer: Producer) -> None:
        """Return when the broker has answered for everything."""
        producer.flush(_DELIVERY_TIMEOUT_MS / 1000)

    def _resend_failed(self, producer: Producer) -> None:
        """Say what was not acknowledged until it is: whether the log has it is not known otherwise."""
        failed, self._failed = self._failed, []
        for sent in failed:
            if sent.event_id is not None:
                self._send(producer, sent.event_id, sent.value, sent.key)
        self._flush(producer)

    def pause(self) -> None:
        """Publish nothing more until `go_on`; return when the broker has acknowledged what was."""
        self._is_paused.clear()
        self._may_publish.clear()
        assert self._is_paused.wait(120), "the load does not come to rest"

    def resume(self) -> None:
        """Publish again."""
        self._may_publish.set()

    def stop(self) -> AcknowledgedRecords:
        """Stop; return what the broker acknowledged."""
        self._stop_requested.set()
        self._may_publish.set()
        self.join(120)
        assert not self.is_alive()
        assert self.failure is None, self.failure
        assert not self._in_flight
        assert not any(sent.event_id for sent in self._failed)
        return self._acknowledged
