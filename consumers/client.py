"""Kafka clients of kafka-python, and one-line errors when Kafka cannot be reached."""

import errno
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

from kafka import KafkaAdminClient, errors
from kafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError

from consumers.compat import patch_kafka_python
from consumers.logins import login_options
from models.errors import MilepostError
from models.kafka_login import kafka_login, shown_user
from models.settings import Settings
from models.text import one_line
from models.tls import create_ssl_context

T = TypeVar("T")

#: How long kafka-python tries every bootstrap server again and again.
BOOTSTRAP_TIMEOUT_MS: Final = 3_000
#: How long one request to a connected broker may take.
REQUEST_TIMEOUT_MS: Final = 10_000

_LOGIN_ERRORS: Final = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
_UNREADABLE: Final = ("holds what cannot be read", "")
_OTHER_VERSION: Final = ("is of a version that this client cannot speak with", "")
#: What is not about reaching a broker, with the words around the reason.
_ANSWERS_IN_WORDS: Final[Mapping[type[KafkaError], tuple[str, str]]] = {
    errors.AuthorizationError: ("does not allow this", "; ask whoever runs it for the rights"),
    errors.UnsupportedCodecError: _UNREADABLE,
    errors.CorruptRecordError: _UNREADABLE,
    errors.UnsupportedVersionError: _OTHER_VERSION,
    errors.UnrecognizedBrokerVersion: _OTHER_VERSION,
}
_ANSWERS: Final = tuple(_ANSWERS_IN_WORDS)
_ERRNO_PATTERN = re.compile(r"(\d+) E[A-Z]+")


class KafkaUnreachableError(MilepostError):
    """Kafka does not answer, or refuses to."""


class TopicError(MilepostError):
    """A topic is missing or has the wrong shape."""


class _LastConnectError(logging.Handler):
    """Keeps the most specific reason why a connection failed: kafka-python 3 only logs it, and raises a timeout."""

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
    handler, logger = _LastConnectError(), logging.getLogger("kafka")
    previous = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield options
    except KafkaError as error:
        raise KafkaUnreachableError(_describe_error(settings, error, handler.last_error)) from error
    finally:
        logger.handlers, logger.propagate = previous


def _describe_error(settings: Settings, error: KafkaError, logged: Exception | None) -> str:
    """Return an error as one line, given the reason that kafka-python logged."""
    where = f"Kafka at {settings.kafka}"
    error = _name_refused_right(error)
    is_answer = _is_refusal(error) or isinstance(error, _ANSWERS)
    if not is_answer and isinstance(logged, KafkaError) and not isinstance(logged, KafkaTimeoutError):
        error = logged
    reason = _plain_message(error)
    for kind, (verb, advice) in _ANSWERS_IN_WORDS.items():
        if isinstance(error, kind):
            return f"{where} {verb}: {reason}{advice}"
    if isinstance(error, _LOGIN_ERRORS):
        return (
            f"{where} refuses the login of {shown_user(settings, '')!r}: {reason};"
            " check the settings kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism"
        )
    if isinstance(error, errors.IllegalSaslStateError):
        return f"{where} refuses: {reason}; is its security {settings.kafka_security_protocol}?"
    if _is_refusal(error):
        return f"{where} refuses: {reason}"
    if reason == os.strerror(errno.ECONNREFUSED):
        return f"{where} does not answer: {reason}; is it running? `milepost kafka` starts one"
    questions = f"is it running, and is its security {settings.kafka_security_protocol}?"
    if "SASL" in settings.kafka_security_protocol:
        # A broker may close the connection before its refusal of a login is read.
        questions += " Are kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism right?"
    return f"{where} does not answer: {reason}; {questions} `milepost kafka` starts a plain one"


def _name_refused_right(error: KafkaError) -> KafkaError:
    """Return an error of authorisation with a message that names what is refused; any other error as it is."""
    if isinstance(error, errors.TopicAuthorizationFailedError) and error.args:
        # kafka-python gives a name, a set of names, or the broker's text.
        names = [error.args[0]] if isinstance(error.args[0], str) else sorted(map(str, error.args[0]))
        if not any(" " in name for name in names):
            return errors.TopicAuthorizationFailedError(f"topic {', '.join(names)}")
    if "InitProducerId" in str(error) and errors.ClusterAuthorizationFailedError.__name__ in str(error):
        return errors.ClusterAuthorizationFailedError("this user may write to no topic")
    return error


def _is_refusal(error: KafkaError) -> bool:
    return isinstance(error, BrokerResponseError) and not error.retriable


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
    return f"topic {topic} is missing on {settings.kafka}: run `milepost init`"


def require_topic(settings: Settings, topic: str) -> None:
    """Raise `TopicError` when a topic is missing, before a client waits for it or creates it by asking for it."""
    with admin_client(settings) as admin:
        require_topics(settings, admin, [topic])
