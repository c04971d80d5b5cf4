"""Why Kafka cannot be reached, or refuses, in one line: of the things that kafka-python says, the one that helps."""

import errno
import logging
import os
import re
from collections.abc import Mapping
from typing import Final

from kafka import errors
from kafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError

from models.errors import TOO_FEW_REPLICAS, MilepostError
from models.kafka_login import shown_user
from models.settings import Settings
from models.text import one_line

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
_REPLICA_ERRORS: Final = (errors.NotEnoughReplicasError, errors.NotEnoughReplicasAfterAppendError)
_ANSWERS: Final = (*_ANSWERS_IN_WORDS, *_REPLICA_ERRORS)
#: How a message begins, before its arguments are filled in, that names the class of an error as its last but one.
_PRODUCE_ERROR: Final = "%s: Got error produce response"
_ERRNO_PATTERN: Final = re.compile(r"(\d+) E[A-Z]+")
#: What OpenSSL says of a handshake that failed, and what that means. The first that is found counts.
_TLS_FAULTS: Final = (
    (
        r"unable to get local issuer|self.signed certificate",
        "its certificate is signed by no authority in {authorities}",
    ),
    (r"certificate has expired", "its certificate has expired"),
    (r"not yet valid", "its certificate is not valid yet, by the clock of this machine"),
    (
        r"hostname mismatch|ip address mismatch",
        "its certificate is for other names: use one of them",
    ),
    (r"certificate verify failed: ([^(]*)", "its certificate is not good: {detail}{strict}"),
    (r"certificate.required", "it asks for a certificate: set kafka_ssl_certfile and kafka_ssl_keyfile"),
    (
        r"alert (?:certificate|bad certificate|unknown ca|unsupported certificate)|unknown.ca|certificate.unknown",
        "it does not take the certificate in kafka_ssl_certfile ({certificate}): expired, or of another authority?",
    ),
    (r"wrong.version.number|eof occurred|record layer", "it does not speak TLS there; is its security {protocol}?"),
)
#: What a client without TLS takes the length of an answer for, when that is an alert of TLS.
_TLS_ALERT_LENGTHS: Final = range(0x15 << 24, 0x16 << 24)
_FRAME_LENGTH: Final = re.compile(r"Invalid frame length: (\d+)")


class LastConnectError(logging.Handler):
    """Keeps the most specific reason why a connection failed: kafka-python 3 only logs it, and raises a timeout."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last_error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Note the error that a record has."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        if str(record.msg).startswith(_PRODUCE_ERROR):
            # A record that is sent again until its time is up fails as a timeout, which hides the broker's answer.
            arguments = tuple(kind(None) for kind in _REPLICA_ERRORS if kind.__name__ in arguments)
        for argument in arguments:
            # A broker closes the connections that follow a refused login: the first error has the reason.
            if isinstance(argument, Exception) and _specificity(argument) >= _specificity(self.last_error):
                self.last_error = argument


def _specificity(error: Exception | None) -> int:
    """Return how much an error says about why a connection failed."""
    if error is None or isinstance(error, KafkaTimeoutError):
        return 0
    if isinstance(error, (*_LOGIN_ERRORS, MilepostError)):
        return 4
    if isinstance(error, errors.RequestTimedOutError):
        # Our own deadline cuts the last attempt short.
        return 1
    return 2 if _plain_message(error) == "socket disconnected" else 3


def describe_error(settings: Settings, error: KafkaError, logged: Exception | None) -> str:
    """Return an error as one line, given the reason that kafka-python logged."""
    where = f"Kafka at {settings.kafka}"
    error = _name_refused_right(error)
    is_answer = _is_refusal(error) or isinstance(error, _ANSWERS)
    if not is_answer:
        if isinstance(logged, MilepostError):
            return f"{where} cannot be logged in to: {logged}"
        if isinstance(logged, KafkaError) and not isinstance(logged, KafkaTimeoutError):
            error = logged
    reason = _plain_message(error)
    answer = _describe_answer(settings, error, reason)
    return f"{where} {_describe_silence(settings, reason) if answer is None else answer}"


def _describe_answer(settings: Settings, error: KafkaError, reason: str) -> str | None:
    """Return what a broker answered; None when that is not about the request."""
    for kind, (verb, advice) in _ANSWERS_IN_WORDS.items():
        if isinstance(error, kind):
            return f"{verb}: {reason}{advice}"
    if isinstance(error, _REPLICA_ERRORS):
        return f"takes no records: {TOO_FEW_REPLICAS}"
    if isinstance(error, _LOGIN_ERRORS):
        return f"refuses the login of {shown_user(settings, '')!r}: {reason}; {_login_advice(settings)}"
    if isinstance(error, errors.IllegalSaslStateError):
        return f"refuses: {reason}; is its security {settings.kafka_security_protocol}?"
    return f"refuses: {reason}" if _is_refusal(error) else None


def _describe_silence(settings: Settings, reason: str) -> str:
    """Return why there is no answer."""
    protocol = settings.kafka_security_protocol
    if (fault := _tls_fault(settings, reason)) is not None:
        return f"cannot be reached over TLS: {fault}"
    if reason == os.strerror(errno.ECONNREFUSED):
        return f"does not answer: {reason}; is it running? `milepost kafka` starts one"
    match = _FRAME_LENGTH.match(reason)
    if match and int(match[1]) in _TLS_ALERT_LENGTHS:
        return f"speaks TLS, and the setting kafka_security_protocol is {protocol}"
    questions = f"is it running, and is its security {protocol}?"
    if "SASL" in protocol:
        # A broker may close the connection before its refusal of a login is read.
        questions += " Are kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism right?"
    return f"does not answer: {reason}; {questions} `milepost kafka` starts a plain one"


def _login_advice(settings: Settings) -> str:
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        return "check the settings kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism"
    source = "kafka_oauth_token_file" if settings.kafka_oauth_token_file else "kafka_oauth_token_endpoint"
    return f"it takes no token of {source}: check the token's issuer, audience and expiry"


def _tls_fault(settings: Settings, reason: str) -> str | None:
    """Return what is wrong with the certificates, or with TLS itself; None for another reason."""
    if not settings.kafka_security_protocol.endswith("SSL") or "SSL" not in reason:
        return None
    for pattern, meaning in _TLS_FAULTS:
        if match := re.search(pattern, reason, re.IGNORECASE):
            return meaning.format(
                authorities=f"kafka_ssl_cafile ({settings.kafka_ssl_cafile or 'not set: those of this system'})",
                certificate=settings.kafka_ssl_certfile or "not set",
                detail=match[1].strip() if match.re.groups else "",
                strict=" (kafka_ssl_strict is true)" if settings.kafka_ssl_strict else "",
                protocol=settings.kafka_security_protocol,
            )
    return reason


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
