"""Kafka clients of kafka-python, and one-line errors when Kafka cannot be reached."""

import errno
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient, errors
from kafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError

from consumers.compat import patch_kafka_python
from models.errors import MilepostError
from models.settings import CONFIG_FILE, Settings, SettingsError
from models.text import one_line

T = TypeVar("T")

#: How long kafka-python tries every bootstrap server again and again.
BOOTSTRAP_TIMEOUT_MS: Final = 3_000
#: How long one request to a connected broker may take.
REQUEST_TIMEOUT_MS: Final = 10_000

_LOGIN_ERRORS: Final = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
_CONNECTION_REFUSED: Final = os.strerror(errno.ECONNREFUSED)
_ERRNO_PATTERN = re.compile(r"(\d+) E[A-Z]+")


class KafkaUnreachableError(MilepostError):
    """Kafka does not answer, or refuses to; the message is one line: where, why, what to do."""


class TopicError(MilepostError):
    """A topic is missing or has the wrong shape; the message is one line: which, where, what to do."""


class _LastConnectError(logging.Handler):
    """Takes kafka-python's log, prints nothing of it, and keeps the most specific reason why a connection failed.

    kafka-python 3 raises only `KafkaTimeoutError: Unable to bootstrap` for a broker that cannot be reached; the reason
    (refused, unknown host, a certificate) goes to its log alone.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last_error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            # A broker closes the connections that follow a refused login: the first error has the reason.
            if isinstance(argument, Exception) and _specificity(argument) >= _specificity(self.last_error):
                self.last_error = argument


def _specificity(error: Exception | None) -> int:
    """Return how much an error says about why a connection failed."""
    if error is None or isinstance(error, KafkaTimeoutError):
        return 0
    if isinstance(error, _LOGIN_ERRORS):
        return 4
    if isinstance(error, errors.RequestTimedOutError):
        # Our own deadline cuts the last attempt short.
        return 1
    return 2 if _plain_message(error) == "socket disconnected" else 3


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments with which every kafka-python client connects; raises `SettingsError`."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka.split(",")],
        "security_protocol": settings.kafka_security,
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "client_id": "milepost",
        # By default the backoff doubles up to half a minute, and few attempts fit into the deadline.
        "reconnect_backoff_max_ms": 500,
    }
    if "SASL" in settings.kafka_security:
        password = settings.kafka_password.get_secret_value() if settings.kafka_password else None
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = _require_setting(settings, "kafka_username", settings.kafka_username)
        options["sasl_plain_password"] = _require_setting(settings, "kafka_password", password)
    if "SSL" in settings.kafka_security:
        files = (("kafka_ca", "ssl_cafile"), ("kafka_certificate", "ssl_certfile"), ("kafka_key", "ssl_keyfile"))
        for name, option in files:
            if (path := getattr(settings, name)) is None:
                continue
            if not path.is_file():
                raise SettingsError(f"setting {name}: there is no file {path} ({_where_to_set(name)})")
            options[option] = str(path)
    return options


def _require_setting(settings: Settings, name: str, value: str | None) -> str:
    if not value:
        raise SettingsError(f"setting {name}: is needed for {settings.kafka_security} ({_where_to_set(name)})")
    return value


def _where_to_set(name: str) -> str:
    return f"MILEPOST_{name.upper()}, or {name} in {CONFIG_FILE}"


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
    handler, logger = _LastConnectError(), logging.getLogger("kafka")
    previous = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield options
    except KafkaError as error:
        raise KafkaUnreachableError(_describe_error(settings, error, handler.last_error)) from error
    finally:
        logger.handlers, logger.propagate = previous


def _describe_error(settings: Settings, error: KafkaError, logged_error: Exception | None) -> str:
    """Return an error as one line, given the reason that kafka-python logged."""
    where = f"Kafka at {settings.kafka}"
    if isinstance(error, errors.AuthorizationError):
        return f"{where} does not allow this: {_plain_message(error)}; ask whoever runs it for the rights"
    is_answer = isinstance(error, BrokerResponseError) and not error.retriable
    if not is_answer and isinstance(logged_error, KafkaError) and not isinstance(logged_error, KafkaTimeoutError):
        error = logged_error
    reason = _plain_message(error)
    if isinstance(error, _LOGIN_ERRORS):
        return (
            f"{where} refuses the login of {settings.kafka_username!r}: {reason};"
            " check the settings kafka_username, kafka_password and kafka_sasl_mechanism"
        )
    if isinstance(error, errors.IllegalSaslStateError):
        return f"{where} refuses: {reason}; is its security {settings.kafka_security}?"
    if isinstance(error, BrokerResponseError) and not error.retriable:
        return f"{where} refuses: {reason}"
    if reason == _CONNECTION_REFUSED:
        return f"{where} does not answer: {reason}; is it running? `milepost kafka` starts one"
    questions = f"is it running, and is its security {settings.kafka_security}?"
    if "SASL" in settings.kafka_security:
        # A broker may close the connection before its refusal of a login is read.
        questions = f"{questions} Are kafka_username, kafka_password and kafka_sasl_mechanism right?"
    return f"{where} does not answer: {reason}; {questions} `milepost kafka` starts a plain one"


def _plain_message(error: Exception) -> str:
    """Return the message of an error on one line, without names of classes."""
    text = str(error)
    if isinstance(error, KafkaError):
        # The library prefixes the broker's message with the name of its own class.
        text = " ".join(str(part) for part in error.args if part is not None).removeprefix(f"{type(error).__name__}: ")
        text = text or getattr(error, "description", None) or ""
    # Some carry a broker's whole answer.
    text = one_line(text or type(error).__name__).rstrip(".")
    if isinstance(error, errors.KafkaConnectionError) and (match := _ERRNO_PATTERN.fullmatch(text)):
        return os.strerror(int(match[1]))
    return text


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


def topic_id_of(admin: KafkaAdminClient, topic: str) -> str | None:
    """Return the id that distinguishes a topic from an earlier one of the same name; None before Kafka 2.8."""
    [description] = admin.describe_topics([topic])
    topic_id = description.get("topic_id")
    return str(topic_id) if topic_id else None


def require_topic(settings: Settings, topic: str) -> None:
    """Raise `TopicError` when a topic is missing, before a client waits for it or creates it by asking for it."""
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        if topic not in count_partitions(admin, [topic]):
            raise missing_topic_error(settings, topic)


def missing_topic_error(settings: Settings, topic: str) -> TopicError:
    """Return the error for a topic that is missing."""
    return TopicError(f"topic {topic} is missing on {settings.kafka}: run `milepost init`")
