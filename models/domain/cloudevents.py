"""Bytes and headers to an event or a rejection, and back: the CloudEvents 1.0 Kafka protocol binding.

`decode` never raises, whatever the bytes: the reasons are the contract's, section 3, in this order: too large,
malformed, envelope, type, data. What depends on more than the record (the broker's clock, the allowed sources)
is judged in `models.domain.events`.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct, ValidationError, defstruct
from msgspec.structs import astuple, fields

from models.domain.events import (
    DATA_TYPES,
    MAX_VALUE_BYTES,
    UNKNOWN_TYPE,
    Event,
    EventData,
    MilestoneReported,
    Oddity,
    ProgrammeRegistered,
    Rejection,
    RejectionReason,
    parse_subject,
)
from models.domain.timestamps import Instant, parse_instant

Headers = Sequence[tuple[str, bytes | None]]

_STRUCTURED_CONTENT_TYPE: Final = b"application/cloudevents+json"
#: The headers of every record in structured mode.
STRUCTURED_HEADERS: Final = (("content-type", _STRUCTURED_CONTENT_TYPE),)
#: A fixed bound rather than the interpreter's own, so that every worker decides alike.
MAX_JSON_DEPTH: Final = 64

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_ATTRIBUTE_LENGTH: Final = 255
_MAX_DETAIL_LENGTH: Final = 300
# A string that does not end is one token to the end: looking for its end from every quote in it takes minutes.
_JSON_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
#: The attributes that Milepost reads.
ATTRIBUTE_NAMES: Final = (
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "recordedtime",
    "correlationid",
    "causationid",
)


class _Attributes(Struct):
    """The attributes Milepost reads but the type; all optional, to say what is missing."""

    specversion: str | None = None
    id: str | None = None
    source: str | None = None
    subject: str | None = None
    time: str | None = None
    recordedtime: str | None = None
    correlationid: str | None = None
    causationid: str | None = None


class _Envelope(_Attributes):
    """An envelope of any type, and the data as it came."""

    type: str | None = None
    data: Raw = Raw()
    data_base64: str | None = None


#: What a report carries, and nothing beside it.
_StrictReportData: Any = defstruct(
    "_PlainData",
    [(field.name, field.type, field.default) for field in fields(MilestoneReported)],
    forbid_unknown_fields=True,
)


class _StrictReport(_Attributes, kw_only=True):
    """The envelope of a report together with what it carries: of nothing that is to be judged or told more closely."""

    type: Literal["milepost.milestone.reported.v1"]
    data: _StrictReportData
    data_base64: None = None


_decode_strict_report = msgspec.json.Decoder(_StrictReport).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_json_string = msgspec.json.Decoder(str).decode
_decode_json_object = msgspec.json.Decoder(dict[str, Raw]).decode
_data_decoders = {name: msgspec.json.Decoder(data).decode for name, data in DATA_TYPES.items()}
_known_fields = {name: frozenset(data.__struct_fields__) for name, data in DATA_TYPES.items()}


class _RejectedError(Exception):
    """Carries a rejection out of the steps below; never leaves this module."""

    def __init__(self, reason: RejectionReason, detail: str, envelope: _Envelope | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        #: As far as it could be opened.
        self.envelope = envelope


def decode(headers: Headers, value: bytes | None) -> Event | Rejection:
    """Return the event that a Kafka record carries, in either content mode, or why it carries none."""
    if value is not None and (event := _decode_fast_path(headers, value)) is not None:
        return event
    envelope = _Envelope()
    try:
        envelope, oddities = _parse_envelope(headers, value)
        return _build_event(envelope, oddities)
    except _RejectedError as rejected:
        envelope = rejected.envelope or envelope
        known = envelope.type if envelope.type in DATA_TYPES else UNKNOWN_TYPE
        source = None if envelope.source is None else envelope.source[:_MAX_ATTRIBUTE_LENGTH]
        return Rejection(rejected.reason, _sanitise(str(rejected)), source, known or UNKNOWN_TYPE)


def _decode_fast_path(headers: Headers, value: bytes) -> Event | None:
    """Return the event of a record that is as nearly all are: a report in structured mode, with nothing odd about it.

    It is read in one pass, where any other takes three. None says only that this one has to be looked at closely.
    """
    if dict(headers).get("content-type") != _STRUCTURED_CONTENT_TYPE or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        _check_encoding_and_depth(value)
        return _build_event(_decode_strict_report(value))
    except (_RejectedError, msgspec.DecodeError):
        return None


def decode_data(event_type: str, headers: Headers, value: bytes) -> EventData:
    """Return the data of an event that was accepted before; raises `ValueError` where there are none."""
    try:
        return _data_decoders[event_type](_extract_data(_parse_envelope(headers, value)[0]))
    except (_RejectedError, msgspec.DecodeError) as rejected:
        raise ValueError(f"an event that was accepted is none: {rejected}") from None


def _sanitise(detail: str) -> str:
    """Return a detail as it may stand in a log line and a header: what it quotes may be anything."""
    return _CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", detail[:_MAX_DETAIL_LENGTH])


def _parse_envelope(headers: Headers, value: bytes | None) -> tuple[_Envelope, tuple[Oddity, ...]]:
    """Return the envelope of a record."""
    if value is None:
        raise _RejectedError(RejectionReason.MALFORMED, "the value is null")
    if len(value) > MAX_VALUE_BYTES:
        raise _RejectedError(RejectionReason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    named = dict(headers)
    content_type = (named.get("content-type") or b"").decode("utf-8", "replace").strip().lower()
    if content_type.startswith("application/cloudevents"):
        return _parse_structured_mode(value), ()
    prefix = _detect_header_prefix(named)
    if not content_type and (prefix is None or _has_specversion(value)):
        return _parse_structured_mode(value), ()
    _check_json_object(value)
    envelope = _parse_binary_mode(named, prefix or "ce_")
    envelope.data = Raw(value)
    return envelope, (Oddity.HEADER_PREFIX,) if prefix == "ce-" else ()


def _detect_header_prefix(header_values: Mapping[str, bytes | None]) -> str | None:
    if "ce_specversion" in header_values or "ce_id" in header_values:
        return "ce_"
    # Some publishers' libraries wrote the HTTP binding's prefix into Kafka headers.
    return "ce-" if any(name.startswith("ce-") for name in header_values) else None


def _has_specversion(value: bytes) -> bool:
    if b'"specversion"' not in value:
        return False
    try:
        return "specversion" in _decode_json_object(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _parse_structured_mode(value: bytes) -> _Envelope:
    _check_encoding_and_depth(value)
    try:
        return _decode_envelope(value)
    except ValidationError as error:
        _check_json_object(value)  # what is no JSON further on is malformed first
        fields, envelope = _decode_json_object(value), _Envelope()
        for name in ("source", "type"):
            with suppress(msgspec.DecodeError, KeyError):
                setattr(envelope, name, _decode_json_string(fields[name]))
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, str(error), envelope) from None
    except msgspec.DecodeError as error:
        raise _RejectedError(RejectionReason.MALFORMED, str(error)) from None


def _parse_binary_mode(header_values: Mapping[str, bytes | None], prefix: str) -> _Envelope:
    envelope = _Envelope()
    for name in ATTRIBUTE_NAMES:
        raw = header_values.get(prefix + name)
        if raw is None:
            continue
        try:
            setattr(envelope, name, raw.decode("utf-8"))
        except UnicodeDecodeError:
            detail = f"header {prefix}{name} is not UTF-8"
            raise _RejectedError(RejectionReason.INVALID_ENVELOPE, detail, envelope) from None
    return envelope


def _check_encoding_and_depth(value: bytes) -> None:
    """Reject what is not UTF-8 or nests too deep, before a decoder recurses into it."""
    if not value.isascii():
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _RejectedError(RejectionReason.MALFORMED, f"not UTF-8 at byte {error.start}") from None
    # An object in another, and no array: told faster than by counting, as nearly all are.
    if b"[" not in value and value.find(b"{", value.find(b"{", 1) + 1) < 0:
        return
    # Counting is enough for every honest event; only a suspect is scanned.
    if value.count(b"[") + value.count(b"{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for token in _JSON_TOKENS.finditer(value):
        match value[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                if depth > MAX_JSON_DEPTH:
                    raise _RejectedError(RejectionReason.MALFORMED, f"nested deeper than {MAX_JSON_DEPTH} levels")
            case 0x5D | 0x7D:
                depth -= 1


def _check_json_object(value: bytes) -> None:
    """Reject what is no JSON object."""
    _check_encoding_and_depth(value)
    try:
        _decode_json_object(value)
    except ValidationError as error:
        raise _RejectedError(RejectionReason.MALFORMED, f"not a JSON object: {error}") from None
    except msgspec.DecodeError as error:
        raise _RejectedError(RejectionReason.MALFORMED, str(error)) from None


def _build_event(envelope: _Envelope | _StrictReport, oddities: tuple[Oddity, ...] = ()) -> Event:
    """Turn an open envelope into an event."""
    if envelope.specversion != "1.0":
        raise _RejectedError(
            RejectionReason.INVALID_ENVELOPE, f'specversion is {_quote(envelope.specversion)}, not "1.0"'
        )
    source, event_id = _check_attribute(envelope.source, "source"), _check_attribute(envelope.id, "id")
    time = _parse_time_attribute(envelope.time, "time")
    if time is None:
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, "time is missing")
    recorded = _parse_time_attribute(envelope.recordedtime, "recordedtime")
    if not envelope.type:
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, "type is missing")
    if envelope.type not in DATA_TYPES:
        raise _RejectedError(RejectionReason.UNSUPPORTED_TYPE, f"type {_quote(envelope.type)} is not known")
    programme, project = _parse_subject_attribute(envelope)
    data: EventData
    if isinstance(envelope, _StrictReport):
        data, unknown = MilestoneReported(*astuple(envelope.data)), False
    else:
        data, unknown = _parse_data(envelope.type, _extract_data(envelope))
    event = Event(
        source=source,
        id=event_id,
        programme=programme,
        project=project,
        time=time,
        recorded_time=recorded,
        correlationid=envelope.correlationid,
        causationid=envelope.causationid,
        data=data,
        oddities=(*oddities, Oddity.UNKNOWN_FIELD) if unknown else oddities,
    )
    if (fault := data.find_error(event.instant)) is not None:
        raise _RejectedError(RejectionReason.INVALID_DATA, fault)
    return event


def _check_attribute(text: str | None, attribute: str) -> str:
    if not text:
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, f"{attribute} is missing")
    if len(text) > _MAX_ATTRIBUTE_LENGTH:
        raise _RejectedError(
            RejectionReason.INVALID_ENVELOPE,
            f"{attribute} has {len(text)} characters, allowed are {_MAX_ATTRIBUTE_LENGTH}",
        )
    # Whatever is printable is no control character, and asking for it is faster.
    if not text.isprintable() and _CONTROL_CHARACTERS.search(text):
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, f"{attribute} holds a control character: {_quote(text)}")
    return text


def _parse_time_attribute(text: str | None, attribute: str) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, f"{attribute}: {error}") from None


def _parse_subject_attribute(envelope: _Envelope | _StrictReport) -> tuple[str, str]:
    parts = None if envelope.subject is None else parse_subject(envelope.subject)
    if parts is None:
        raise _RejectedError(
            RejectionReason.INVALID_ENVELOPE, f"subject {_quote(envelope.subject)} is not <programme>/<project>"
        )
    if bool(parts[1]) == (envelope.type == ProgrammeRegistered.TYPE):
        wanted = "<programme>/<project>" if not parts[1] else "<programme> alone"
        raise _RejectedError(
            RejectionReason.INVALID_ENVELOPE,
            f"subject {_quote(envelope.subject)} of a {envelope.type} is not {wanted}",
        )
    return parts


def _extract_data(envelope: _Envelope) -> bytes:
    raw = bytes(envelope.data)
    if envelope.data_base64 is not None:
        if raw:
            raise _RejectedError(RejectionReason.INVALID_ENVELOPE, "both data and data_base64 are there")
        try:
            raw = b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise _RejectedError(RejectionReason.INVALID_ENVELOPE, "data_base64 is not base64") from None
        _check_json_object(raw)
    # CloudEvents makes data optional; for types whose every field is, nothing and {} say the same.
    return b"{}" if raw in {b"", b"null"} else raw


def _parse_data(event_type: str, raw: bytes) -> tuple[EventData, bool]:
    """Return data, and whether there are fields beside them that nobody knows."""
    try:
        data = _data_decoders[event_type](raw)
    except msgspec.DecodeError as error:
        # The text is JSON by now, so whatever fails, fails the data's rules.
        raise _RejectedError(RejectionReason.INVALID_DATA, str(error)) from None
    return data, not _known_fields[event_type].issuperset(_decode_json_object(raw))


def _quote(text: str | None) -> str:
    return "missing" if text is None else repr(text[:64])


def _context_attributes(event: Event) -> dict[str, str]:
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": f"{event.time}Z",
        "partitionkey": event.programme,
    }
    if event.recorded_time is not None:
        attributes["recordedtime"] = f"{event.recorded_time}Z"
    if event.correlationid is not None:
        attributes["correlationid"] = event.correlationid
    if event.causationid is not None:
        attributes["causationid"] = event.causationid
    return attributes


def _without_nulls(data: EventData) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(data)
    return {name: field for name, field in fields.items() if field is not None}


def encode_structured(event: Event) -> tuple[Headers, bytes]:
    """Return headers and value of a record that carries an event in structured mode."""
    document = {**_context_attributes(event), "datacontenttype": "application/json", "data": _without_nulls(event.data)}
    return STRUCTURED_HEADERS, msgspec.json.encode(document)
