"""How kafka-python reaches Kafka, and what is said when it does not."""

import errno
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)

from consumers.compat import patch_kafka_python
from models.errors import MilepostError
from models.settings import CONFIG_FILE, Settings, SettingsError
from models.text import one_line

T = TypeVar("T")

#: How long to try to reach a broker at all: kafka-python tries every bootstrap server again and again until then.
BOOTSTRAP_TIMEOUT_MS: Final = 3_000
#: How long one request may take, of a broker that was reached.
REQUEST_TIMEOUT_MS: Final = 10_000

_LOGIN_ERRORS: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
_CONNECTION_REFUSED: Final = os.strerror(errno.ECONNREFUSED)
_ERRNO_PATTERN = re.compile(r"(\d+) E[A-Z]+")


class KafkaUnreachableError(MilepostError):
    """Kafka does not answer, or not to us; the message is one line: where, why, what to do."""


class TopicError(MilepostError):
    """A topic is not as it has to be; the message is one line: which, where, what to do."""


class _LastConnectError(logging.Handler):
    """Takes what kafka-python logs, shows nothing of it, and keeps the last reason why a connection failed.

    `KafkaTimeoutError: Unable to bootstrap` is all that kafka-python 3 raises for a broker that cannot be reached; the
    reason (refused, unknown host, a certificate) goes to its log alone.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last_error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's error, unless one that says more is kept."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for argument in arguments:
            # A broker hangs up on the attempts that follow a refused login: what it said first is the reason.
            if isinstance(argument, Exception) and _specificity(argument) >= _specificity(self.last_error):
                self.last_error = argument


def _specificity(error: Exception | None) -> int:
    """Return how much an error says of why a connection failed."""
    if error is None or isinstance(error, KafkaTimeoutError):
        return 0
    if isinstance(error, _LOGIN_ERRORS):
        return 4
    if isinstance(error, RequestTimedOutError):
        # The last attempt is cut short by our own deadline.
        return 1
    return 2 if _plain_message(error) == "socket disconnected" else 3


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments by which every kafka-python client reaches Kafka; raises `SettingsError`."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka.split(",")],
        "security_protocol": settings.kafka_security,
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "client_id": "milepost",
        # Left alone the pauses double up to half a minute, and few attempts fit into the time there is.
        "reconnect_backoff_max_ms": 500,
    }
    if "SASL" in settings.kafka_security:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = _require_setting(settings, "kafka_username", settings.kafka_username)
        password = settings.kafka_password.get_secret_value() if settings.kafka_password else None
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

    The library's own deadline does not cover a TLS handshake that is never answered. What hangs there is left
    behind, in a thread that ends with the program.
    """
    patch_kafka_python()
    made: Future[T] = Future()

    def construct() -> None:
        try:
            made.set_result(client_class(**options))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the client is wanted
            made.set_exception(error)

    threading.Thread(target=construct, daemon=True).start()
    seconds = BOOTSTRAP_TIMEOUT_MS / 1000 + 1
    try:
        return made.result(seconds)
    except TimeoutError:
        raise KafkaTimeoutError(f"nothing within {seconds:.0f} s") from None


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[dict[str, Any]]:
    """Give the keyword arguments for a client; what Kafka fails at inside becomes one `KafkaUnreachableError`."""
    options = connection_options(settings)
    last_words = _LastConnectError()
    logger = logging.getLogger("kafka")
    kept = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [last_words], False
    try:
        yield options
    except KafkaError as error:
        raise KafkaUnreachableError(_describe_error(settings, error, last_words.last_error)) from error
    finally:
        logger.handlers, logger.propagate = kept


def _describe_error(settings: Settings, error: KafkaError, logged_error: Exception | None) -> str:
    """Return what to tell people of an error, given the reason that kafka-python logged."""
    where = f"Kafka at {settings.kafka}"
    if isinstance(error, AuthorizationError):
        return f"{where} does not allow this: {_plain_message(error)}; ask whoever runs it for the rights"
    if not (isinstance(error, BrokerResponseError) and not error.retriable):
        error = (
            logged_error
            if isinstance(logged_error, KafkaError) and not isinstance(logged_error, KafkaTimeoutError)
            else error
        )
    reason = _plain_message(error)
    if isinstance(error, _LOGIN_ERRORS):
        return (
            f"{where} refuses the login of {settings.kafka_username!r}: {reason};"
            " check the settings kafka_username, kafka_password and kafka_sasl_mechanism"
        )
    if isinstance(error, IllegalSaslStateError):
        return f"{where} refuses: {reason}; is its security {settings.kafka_security}?"
    if isinstance(error, BrokerResponseError) and not error.retriable:
        return f"{where} refuses: {reason}"
    if reason == _CONNECTION_REFUSED:
        return f"{where} does not answer: {reason}; is it running? `milepost kafka` starts one"
    doubts = f"is it running, and is its security {settings.kafka_security}?"
    if "SASL" in settings.kafka_security:
        # A broker may hang up before its refusal of a login is read.
        doubts = f"{doubts} Are kafka_username, kafka_password and kafka_sasl_mechanism right?"
    return f"{where} does not answer: {reason}; {doubts} `milepost kafka` starts a plain one"


def _plain_message(error: Exception) -> str:
    """Return what an error says, on one line, without the names of classes."""
    if isinstance(error, KafkaError):
        text = " ".join(str(part) for part in error.args if part is not None)
        # The library prefixes what the broker said with the name of its own class.
        text = text.removeprefix(f"{type(error).__name__}: ")
        text = text or getattr(error, "description", None) or type(error).__name__
    else:
        text = str(error) or type(error).__name__
    # Some carry a broker's whole answer.
    text = one_line(text).rstrip(".")
    if isinstance(error, KafkaConnectionError) and (found := _ERRNO_PATTERN.fullmatch(text)):
        return os.strerror(int(found[1]))
    return text


def count_partitions(admin: KafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each of these topics that is there."""
    counts = {}
    for topic in admin.describe_topics(list(topics)):
        error = for_code(topic["error_code"])
        if error.errno == 0:
            counts[topic["name"]] = len(topic["partitions"])
        elif issubclass(error, AuthorizationError):
            raise error(f"topic {topic['name']} may not be described")
    return counts


def topic_id_of(admin: KafkaAdminClient, topic: str) -> str | None:
    """Return the id by which a broker tells a topic from one of the same name before it; None before Kafka 2.8."""
    [found] = admin.describe_topics([topic])
    topic_id = found.get("topic_id")
    return str(topic_id) if topic_id else None


def require_topic(settings: Settings, topic: str) -> None:
    """Raise `TopicError` when a topic is not there, before a client waits for it or makes it by asking."""
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        if topic not in count_partitions(admin, [topic]):
            raise missing_topic_error(settings, topic)


def missing_topic_error(settings: Settings, topic: str) -> TopicError:
    """Return the error that says that a topic is not there."""
    return TopicError(f"topic {topic} is missing on {settings.kafka}: run `milepost init`")
