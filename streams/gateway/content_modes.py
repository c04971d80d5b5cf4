"""HTTP requests to Kafka records: the CloudEvents HTTP protocol binding, in all three content modes.

Nothing is checked here but what the mode itself demands; whether a record is an event is for `models.domain`.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import RejectionReason
from streams.gateway.json_arrays import split_array

STRUCTURED_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
MAX_REQUEST_BYTES: Final = 1024 * 1024
#: More events than this cannot all be valid: the smallest valid one has 126 bytes.
MAX_BATCH_EVENTS: Final = MAX_REQUEST_BYTES // 126
_JSON_TYPE: Final = re.compile(r"application/json|[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9!#$&^_.-]+\+json")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_ATTRIBUTE_PREFIX: Final = "ce-"
_ESCAPED: Final = re.compile(r"\\(.)")


class ContentMode(StrEnum):
    """How CloudEvents travel in an HTTP request."""

    STRUCTURED = "structured"
    BATCH = "batch"
    BINARY = "binary"


class Record(NamedTuple):
    """Headers and value of a Kafka record."""

    headers: Sequence[tuple[str, bytes]]
    value: bytes


class UnsupportedMediaError(Exception):
    """A media type that the gateway does not read; the message is one sentence."""


class UnreadableEventError(Exception):
    """What stands in the place of an event cannot be made a record."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


HttpHeaders = Sequence[tuple[str, str]]


def content_mode(content_types: Sequence[str], headers: HttpHeaders) -> ContentMode:
    """Return how a request carries its events; raises `UnsupportedMediaError`."""
    content_type = content_types[0] if content_types else ""
    media_type = content_type.partition(";")[0].strip().lower()
    charset = _CHARSET.search(content_type)
    if len(content_types) > 1:
        raise UnsupportedMediaError("A request has one Content-Type.")
    if charset is not None and charset[1].lower() not in _CHARSETS:
        raise UnsupportedMediaError("Events are JSON in UTF-8.")
    if media_type == STRUCTURED_TYPE:
        return ContentMode.STRUCTURED
    if media_type == BATCH_TYPE:
        return ContentMode.BATCH
    if media_type.startswith("application/cloudevents"):
        raise UnsupportedMediaError(f"Of CloudEvents, {STRUCTURED_TYPE} and {BATCH_TYPE} are read.")
    if not any(name.lower().startswith(_ATTRIBUTE_PREFIX) for name, _ in headers):
        raise UnsupportedMediaError(
            f"An event comes as {STRUCTURED_TYPE}, several as {BATCH_TYPE}, or one with its attributes in headers ce-…."
        )
    if media_type and not _JSON_TYPE.fullmatch(media_type):
        raise UnsupportedMediaError("With headers ce-…, the body is application/json.")
    return ContentMode.BINARY


def read_structured(body: bytes) -> Record:
    """Return the record of an event in structured mode; raises `UnreadableEventError`."""
    if body.lstrip()[:1] == b"[":
        raise UnreadableEventError(
            RejectionReason.MALFORMED, f"the value is an array: several events are sent as {BATCH_TYPE}"
        )
    return Record(STRUCTURED_HEADERS, body)


def read_batch(body: bytes) -> list[Record]:
    """Return the records of a batch; raises `NotAnArrayError`."""
    return [Record(STRUCTURED_HEADERS, element) for element in split_array(body, MAX_BATCH_EVENTS)]


def read_binary(content_type: str, headers: HttpHeaders, body: bytes) -> Record:
    """Return the record of an event in binary mode; raises `UnreadableEventError`."""
    # Without a content type, a value that happens to have `specversion` would be read in structured mode.
    found: dict[str, bytes] = {"content-type": (content_type or "application/json").encode("utf-8", "surrogateescape")}
    for name, text in headers:
        lower = name.lower()
        if lower.startswith(_ATTRIBUTE_PREFIX):
            attribute = f"ce_{lower.removeprefix(_ATTRIBUTE_PREFIX)}"
            if attribute in found:
                detail = f"the header {lower[:64]} stands there twice"
                raise UnreadableEventError(RejectionReason.INVALID_ENVELOPE, detail)
            found[attribute] = _decode_header(text)
    # An event without data, and data that is null, mean no fields; a null value would be a tombstone to Kafka.
    value = b"{}" if body.strip() in {b"", b"null"} else body
    return Record(list(found.items()), value)


def _decode_header(text: str) -> bytes:
    """Return the value of an attribute: the binding, section 3.1.3.2."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = _ESCAPED.sub(r"\1", text[1:-1])
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
