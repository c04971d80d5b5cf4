"""The producer of kafka-python: a record counts as sent once all in-sync replicas have it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from consumers.client import REQUEST_TIMEOUT_MS, create_client, kafka_errors
from models.settings import Settings

#: How long a record may take to be acknowledged, retries included.
_DELIVERY_TIMEOUT_MS: Final = 2 * REQUEST_TIMEOUT_MS
#: How long to wait for that, and then for the records sent just after.
ACK_TIMEOUT_S: Final = _DELIVERY_TIMEOUT_MS / 1000 + 5


class _AbandonableProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """A producer that can be dropped: the library's own complains at exit of records it could not send."""

    def __del__(self) -> None:
        """Leave it to `open_producer`."""


@contextmanager
def open_producer(settings: Settings, **overrides: Any) -> Iterator[KafkaProducer]:  # noqa: ANN401 - kafka-python's options
    """Give a producer whose acknowledged records are durable; those still unacknowledged at the end are lost."""
    with kafka_errors(settings) as options:
        options |= {
            "acks": "all",
            "delivery_timeout_ms": _DELIVERY_TIMEOUT_MS,
            "max_block_ms": REQUEST_TIMEOUT_MS,
            # More than the default of 16 KiB, so that a long file goes in fewer requests.
            "batch_size": 256 * 1024,
            "linger_ms": 5,
            "allow_auto_create_topics": False,
        }
        producer = create_client(_AbandonableProducer, **(options | overrides))
        try:
            yield producer
        finally:
            with suppress(KafkaError):
                producer.close(timeout=1)
