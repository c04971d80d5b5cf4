"""Why an event has no envelope: what is found in a record that was written for another reader.

A missing attribute is what the decoder sees. The cause is nearly always a serializer's or a connector's setting.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Raw

from models.domain.json_values import MalformedError, decode_object

_REQUIRED: Final = ("specversion", "id", "source", "type", "subject", "time")
_BINDING_HEADER: Final = re.compile(rf"(?:ce|cloudevents)[-_:.]?(?P<name>{'|'.join(_REQUIRED)})", re.IGNORECASE)
#: How AMQP's encoding of a text begins.
_AMQP_TEXT: Final = (b"\xa1", b"\xb1")
_MAX_QUOTED: Final = 64

#: Members that show whose format a value is in, with what to do about it; the first whose members are all there counts.
_FORMATS: Final[Sequence[tuple[frozenset[str], str]]] = [
    (
        frozenset({"schema", "payload"}),
        "the value is Kafka Connect's envelope (schema, payload): set value.converter.schemas.enable=false",
    ),
    (
        frozenset({"before", "after", "op"}),
        "the value is a change event of Debezium (before, after, op): publish events, for example by its outbox router",
    ),
    (frozenset({"pubsubname"}), "the value is Dapr's own event: publish with the metadata rawPayload=true"),
    (
        frozenset({"eventType", "eventTime"}),
        "the value has the schema of Event Grid (eventType, eventTime): choose CloudEvents 1.0 there",
    ),
    (frozenset({"detail-type", "detail"}), "the value has the schema of EventBridge (detail-type, detail)"),
    (frozenset({"cloudEventsVersion"}), "the value is a CloudEvent of version 0.1: write version 1.0"),
]


def find_envelope_fault(headers: Sequence[tuple[str, bytes | None]], value: bytes) -> str | None:
    """Return the probable cause why a record has no valid envelope; None where nothing is recognised."""
    named = {name: content for name, content in headers if content is not None}
    if (fault := _find_header_fault(named)) is not None:
        return fault
    try:
        members = decode_object(value)
    except MalformedError:
        return None
    for names, fault in _FORMATS:
        if names <= members.keys():
            return fault
    return _find_mode_fault(named, members) or _find_spelling(members) or _find_inner_event(members)


def _find_header_fault(headers: Mapping[str, bytes]) -> str | None:
    for name, content in headers.items():
        match = _BINDING_HEADER.fullmatch(name)
        if match is None and name != "content-type":
            continue
        if content.startswith(_AMQP_TEXT):
            return f"the header {name} is encoded for AMQP: write plain UTF-8"
        if content.startswith(b'"'):
            return f"the header {name} is written as JSON, with quotation marks: write it without them"
        if match is not None and not name.startswith(("ce_", "ce-")):
            return f"there is a header {_quote(name)}: the Kafka binding calls it 'ce_{match['name'].lower()}'"
    return None


def _find_mode_fault(headers: Mapping[str, bytes], members: Mapping[str, Raw]) -> str | None:
    # Parameters, such as a charset, decide nothing.
    content_type = headers.get("content-type", b"").decode("utf-8", "replace").partition(";")[0].strip()
    is_structured = content_type.lower().startswith("application/cloudevents")
    has_attributes = any(name.startswith(("ce_", "ce-")) for name in headers)
    if content_type and not is_structured and not has_attributes:
        if "specversion" in members:
            place = "a whole event stands in the value: send it with content-type application/cloudevents+json"
        else:
            place = "and there are no ce_ headers"
        return f"the content-type is {_quote(content_type)}, so the attributes are expected in ce_ headers; {place}"
    if is_structured and has_attributes and "specversion" not in members:
        return (
            f"the content-type is {_quote(content_type)}, so the whole event is expected in the value, and there are"
            " ce_ headers: send them with content-type application/json"
        )
    return None


def _find_spelling(members: Mapping[str, Raw]) -> str | None:
    for name in members:
        attribute = name.lower().replace("_", "").replace("-", "")
        if attribute in _REQUIRED and attribute not in members:
            return f"the value has {_quote(name)}: the name is {attribute!r}"
    return None


def _find_inner_event(members: Mapping[str, Raw]) -> str | None:
    for name, content in members.items():
        if b"specversion" in bytes(content):
            return f"an event stands within {_quote(name)}: the value has to be the event itself"
    return None


def _quote(text: str) -> str:
    return repr(text[:_MAX_QUOTED])
