"""Kafka clients of kafka-python."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient, errors
from kafka.errors import KafkaError, KafkaTimeoutError

from consumers.compat import patch_kafka_python
from consumers.connect_errors import LastConnectError, describe_error
from consumers.logins import login_options
from models.errors import MilepostError
from models.kafka_login import kafka_login
from models.settings import Settings
from models.tls import create_ssl_context

T = TypeVar("T")

#: How long kafka-python tries every bootstrap server again and again.
BOOTSTRAP_TIMEOUT_MS: Final = 3_000
#: How long one request to a connected broker may take.
REQUEST_TIMEOUT_MS: Final = 10_000


class KafkaUnreachableError(MilepostError):
    """Kafka does not answer, or refuses to."""


class TopicError(MilepostError):
    """A topic is missing or has the wrong shape."""


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments with which every kafka-python client connects; raises `SettingsError`."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka.split(",")],
        "security_protocol": settings.kafka_security_protocol,
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "client_id": "milepost",
        # By default the backoff doubles up to half a minute, and few attempts fit into the deadline.
        "reconnect_backoff_max_ms": 500,
    }
    if (login := kafka_login(settings)) is not None:
        options |= login_options(login)
    if (context := create_ssl_context(settings)) is not None:
        options["ssl_context"] = context
    return options


def create_client(client_class: Callable[..., T], **options: Any) -> T:  # noqa: ANN401 - kafka-python's options
    """Construct a kafka-python client, which connects; raises `KafkaTimeoutError` when that takes too long.

    The library's own deadline does not cover a TLS handshake that is never answered. A client that hangs there is left
    behind, in a thread that ends with the program.
    """
    patch_kafka_python()
    client: Future[T] = Future()

    def construct() -> None:
        try:
            client.set_result(client_class(**options))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it again
            client.set_exception(error)

    threading.Thread(target=construct, daemon=True).start()
    seconds = BOOTSTRAP_TIMEOUT_MS / 1000 + 1
    try:
        return client.result(seconds)
    except TimeoutError:
        raise KafkaTimeoutError(f"nothing within {seconds:.0f} s") from None


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[dict[str, Any]]:
    """Give the keyword arguments for a client; an error of Kafka inside becomes one `KafkaUnreachableError`."""
    options = connection_options(settings)
    handler, logger = LastConnectError(), logging.getLogger("kafka")
    previous = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield options
    except KafkaError as error:
        raise KafkaUnreachableError(describe_error(settings, error, handler.last_error)) from error
    finally:
        logger.handlers, logger.propagate = previous


def count_partitions(admin: KafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each of these topics that exists."""
    counts = {}
    for topic in admin.describe_topics(list(topics)):
        error = errors.for_code(topic["error_code"])
        if error.errno == 0:
            counts[topic["name"]] = len(topic["partitions"])
        elif issubclass(error, errors.AuthorizationError):
            raise error(f"topic {topic['name']} may not be described")
    return counts


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    """Give a client that administers topics; an error of Kafka inside becomes one `KafkaUnreachableError`."""
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        yield admin


def require_topics(settings: Settings, admin: KafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each of these topics; raises `TopicError` when one is missing."""
    counts = count_partitions(admin, topics)
    for topic in topics:
        if topic not in counts:
            raise TopicError(missing_topic(settings, topic))
    return counts


def missing_topic(settings: Settings, topic: str) -> str:
    """Return the line that says that a topic is missing."""
    remedy = "have it made (MILEPOST_TOPICS is managed)" if settings.topics == "managed" else "run `milepost init`"
    return f"topic {topic} is missing on {settings.kafka}: {remedy}"


def require_topic(settings: Settings, topic: str) -> None:
    """Raise `TopicError` when a topic is missing, before a client waits for it or creates it by asking for it."""
    with admin_client(settings) as admin:
        require_topics(settings, admin, [topic])
