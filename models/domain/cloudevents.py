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
    Data,
    Event,
    MilestoneReported,
    Oddity,
    ProgrammeRegistered,
    Reason,
    Rejection,
    read_subject,
)
from models.domain.timestamps import Instant, parse_instant

Headers = Sequence[tuple[str, bytes | None]]

STRUCTURED: Final = "application/cloudevents+json"
_STRUCTURED: Final = STRUCTURED.encode()
#: A fixed bound rather than the interpreter's own, so that every worker decides alike.
MAX_DEPTH: Final = 64

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_NAME: Final = 255
_MAX_DETAIL: Final = 300
# A string that does not end is one token to the end: looking for its end from every quote in it takes minutes.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_ATTRIBUTES: Final = (
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
_PlainData: Any = defstruct(
    "_PlainData",
    [(field.name, field.type, field.default) for field in fields(MilestoneReported)],
    forbid_unknown_fields=True,
)


class _PlainReport(_Attributes, kw_only=True):
    """The envelope of a report together with what it carries: of nothing that is to be judged or told more closely."""

    type: Literal["milepost.milestone.reported.v1"]
    data: _PlainData
    data_base64: None = None


_decode_plain = msgspec.json.Decoder(_PlainReport).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_data = {name: msgspec.json.Decoder(data).decode for name, data in DATA_TYPES.items()}
_field_names = {name: frozenset(data.__struct_fields__) for name, data in DATA_TYPES.items()}


class _RejectedError(Exception):
    """Carries a rejection out of the steps below; never leaves this module."""

    def __init__(self, reason: Reason, detail: str, envelope: _Envelope | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        #: As far as it could be opened.
        self.envelope = envelope


def decode(headers: Headers, value: bytes | None) -> Event | Rejection:
    """Return the event that a Kafka record carries, in either content mode, or why it carries none."""
    if value is not None and (event := _read_plain(headers, value)) is not None:
        return event
    envelope = _Envelope()
    try:
        envelope, oddities = _open(headers, value)
        return _read(envelope, oddities)
    except _RejectedError as rejected:
        envelope = rejected.envelope or envelope
        known = envelope.type if envelope.type in DATA_TYPES else UNKNOWN_TYPE
        source = None if envelope.source is None else envelope.source[:_MAX_NAME]
        return Rejection(rejected.reason, _told(str(rejected)), source, known or UNKNOWN_TYPE)


def _read_plain(headers: Headers, value: bytes) -> Event | None:
    """Return the event of a record that is as nearly all are: a report in structured mode, with nothing odd about it.

    It is read in one pass, where any other takes three. None says only that this one has to be looked at closely.
    """
    if dict(headers).get("content-type") != _STRUCTURED or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        _check_text(value)
        return _read(_decode_plain(value))
    except (_RejectedError, msgspec.DecodeError):
        return None


def decode_data(event_type: str, headers: Headers, value: bytes) -> Data:
    """Return the data of an event that was accepted before; raises `ValueError` where there are none."""
    try:
        return _decode_data[event_type](_raw_data(_open(headers, value)[0]))
    except (_RejectedError, msgspec.DecodeError) as rejected:
        raise ValueError(f"an event that was accepted is none: {rejected}") from None


def _told(detail: str) -> str:
    """Return a detail as it may stand in a log line and a header: what it quotes may be anything."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", detail[:_MAX_DETAIL])


def _open(headers: Headers, value: bytes | None) -> tuple[_Envelope, tuple[Oddity, ...]]:
    """Return the envelope of a record."""
    if value is None:
        raise _RejectedError(Reason.MALFORMED, "the value is null")
    if len(value) > MAX_VALUE_BYTES:
        raise _RejectedError(Reason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    named = dict(headers)
    content_type = (named.get("content-type") or b"").decode("utf-8", "replace").strip().lower()
    if content_type.startswith("application/cloudevents"):
        return _open_structured(value), ()
    prefix = _binary_prefix(named)
    if not content_type and (prefix is None or _names_specversion(value)):
        return _open_structured(value), ()
    _check_object(value)
    envelope = _open_binary(named, prefix or "ce_")
    envelope.data = Raw(value)
    return envelope, (Oddity.HEADER_PREFIX,) if prefix == "ce-" else ()


def _binary_prefix(named: Mapping[str, bytes | None]) -> str | None:
    if "ce_specversion" in named or "ce_id" in named:
        return "ce_"
    # Some publishers' libraries wrote the HTTP binding's prefix into Kafka headers.
    return "ce-" if any(name.startswith("ce-") for name in named) else None


def _names_specversion(value: bytes) -> bool:
    if b'"specversion"' not in value:
        return False
    try:
        return "specversion" in _decode_fields(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _open_structured(value: bytes) -> _Envelope:
    _check_text(value)
    try:
        return _decode_envelope(value)
    except ValidationError as error:
        _check_object(value)  # what is no JSON further on is malformed first
        fields, envelope = _decode_fields(value), _Envelope()
        for name in ("source", "type"):
            with suppress(msgspec.DecodeError, KeyError):
                setattr(envelope, name, _decode_text(fields[name]))
        raise _RejectedError(Reason.INVALID_ENVELOPE, str(error), envelope) from None
    except msgspec.DecodeError as error:
        raise _RejectedError(Reason.MALFORMED, str(error)) from None


def _open_binary(named: Mapping[str, bytes | None], prefix: str) -> _Envelope:
    envelope = _Envelope()
    for name in _ATTRIBUTES:
        raw = named.get(prefix + name)
        if raw is None:
            continue
        try:
            setattr(envelope, name, raw.decode("utf-8"))
        except UnicodeDecodeError:
            detail = f"header {prefix}{name} is not UTF-8"
            raise _RejectedError(Reason.INVALID_ENVELOPE, detail, envelope) from None
    return envelope


def _check_text(value: bytes) -> None:
    """Reject what is not UTF-8 or nests too deep, before a decoder recurses into it."""
    if not value.isascii():
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _RejectedError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from None
    # An object in another, and no array: told faster than by counting, as nearly all are.
    if b"[" not in value and value.find(b"{", value.find(b"{", 1) + 1) < 0:
        return
    # Counting is enough for every honest event; only a suspect is scanned.
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(value):
        match value[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                if depth > MAX_DEPTH:
                    raise _RejectedError(Reason.MALFORMED, f"nested deeper than {MAX_DEPTH} levels")
            case 0x5D | 0x7D:
                depth -= 1


def _check_object(value: bytes) -> None:
    """Reject what is no JSON object."""
    _check_text(value)
    try:
        _decode_fields(value)
    except ValidationError as error:
        raise _RejectedError(Reason.MALFORMED, f"not a JSON object: {error}") from None
    except msgspec.DecodeError as error:
        raise _RejectedError(Reason.MALFORMED, str(error)) from None


def _read(envelope: _Envelope | _PlainReport, oddities: tuple[Oddity, ...] = ()) -> Event:
    """Turn an open envelope into an event."""
    if envelope.specversion != "1.0":
        raise _RejectedError(Reason.INVALID_ENVELOPE, f'specversion is {_shown(envelope.specversion)}, not "1.0"')
    source, event_id = _name(envelope.source, "source"), _name(envelope.id, "id")
    time = _instant(envelope.time, "time")
    if time is None:
        raise _RejectedError(Reason.INVALID_ENVELOPE, "time is missing")
    recorded = _instant(envelope.recordedtime, "recordedtime")
    if not envelope.type:
        raise _RejectedError(Reason.INVALID_ENVELOPE, "type is missing")
    if envelope.type not in DATA_TYPES:
        raise _RejectedError(Reason.UNSUPPORTED_TYPE, f"type {_shown(envelope.type)} is not known")
    programme, project = _subject(envelope)
    data: Data
    if isinstance(envelope, _PlainReport):
        data, unknown = MilestoneReported(*astuple(envelope.data)), False
    else:
        data, unknown = _read_data(envelope.type, _raw_data(envelope))
    event = Event(
        source=source,
        id=event_id,
        programme=programme,
        project=project,
        time=time,
        recorded=recorded,
        correlationid=envelope.correlationid,
        causationid=envelope.causationid,
        data=data,
        oddities=(*oddities, Oddity.UNKNOWN_FIELD) if unknown else oddities,
    )
    if (fault := data.fault(event.instant)) is not None:
        raise _RejectedError(Reason.INVALID_DATA, fault)
    return event


def _name(text: str | None, attribute: str) -> str:
    if not text:
        raise _RejectedError(Reason.INVALID_ENVELOPE, f"{attribute} is missing")
    if len(text) > _MAX_NAME:
        raise _RejectedError(
            Reason.INVALID_ENVELOPE, f"{attribute} has {len(text)} characters, allowed are {_MAX_NAME}"
        )
    # Whatever is printable is no control character, and asking for it is faster.
    if not text.isprintable() and _CONTROL.search(text):
        raise _RejectedError(Reason.INVALID_ENVELOPE, f"{attribute} holds a control character: {_shown(text)}")
    return text


def _instant(text: str | None, attribute: str) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise _RejectedError(Reason.INVALID_ENVELOPE, f"{attribute}: {error}") from None


def _subject(envelope: _Envelope | _PlainReport) -> tuple[str, str]:
    parts = None if envelope.subject is None else read_subject(envelope.subject)
    if parts is None:
        raise _RejectedError(
            Reason.INVALID_ENVELOPE, f"subject {_shown(envelope.subject)} is not <programme>/<project>"
        )
    if bool(parts[1]) == (envelope.type == ProgrammeRegistered.TYPE):
        wanted = "<programme>/<project>" if not parts[1] else "<programme> alone"
        raise _RejectedError(
            Reason.INVALID_ENVELOPE,
            f"subject {_shown(envelope.subject)} of a {envelope.type} is not {wanted}",
        )
    return parts


def _raw_data(envelope: _Envelope) -> bytes:
    raw = bytes(envelope.data)
    if envelope.data_base64 is not None:
        if raw:
            raise _RejectedError(Reason.INVALID_ENVELOPE, "both data and data_base64 are there")
        try:
            raw = b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise _RejectedError(Reason.INVALID_ENVELOPE, "data_base64 is not base64") from None
        _check_object(raw)
    # CloudEvents makes data optional; for types whose every field is, nothing and {} say the same.
    return b"{}" if raw in {b"", b"null"} else raw


def _read_data(event_type: str, raw: bytes) -> tuple[Data, bool]:
    """Return data, and whether there are fields beside them that nobody knows."""
    try:
        data = _decode_data[event_type](raw)
    except msgspec.DecodeError as error:
        # The text is JSON by now, so whatever fails, fails the data's rules.
        raise _RejectedError(Reason.INVALID_DATA, str(error)) from None
    return data, not _field_names[event_type].issuperset(_decode_fields(raw))


def _shown(text: str | None) -> str:
    return "missing" if text is None else repr(text[:64])


def _attributes(event: Event) -> dict[str, str]:
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": f"{event.time}Z",
        "partitionkey": event.programme,
    }
    if event.recorded is not None:
        attributes["recordedtime"] = f"{event.recorded}Z"
    if event.correlationid is not None:
        attributes["correlationid"] = event.correlationid
    if event.causationid is not None:
        attributes["causationid"] = event.causationid
    return attributes


def _present(data: Data) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(data)
    return {name: field for name, field in fields.items() if field is not None}


def encode_structured(event: Event) -> tuple[Headers, bytes]:
    """Return headers and value of a record that carries an event in structured mode."""
    document = {**_attributes(event), "datacontenttype": "application/json", "data": _present(event.data)}
    return [("content-type", STRUCTURED.encode())], msgspec.json.encode(document)


def encode_binary(event: Event) -> tuple[Headers, bytes]:
    """Return headers and value of a record that carries an event in binary mode."""
    headers = [(f"ce_{name}", text.encode()) for name, text in _attributes(event).items()]
    return [("content-type", b"application/json"), *headers], msgspec.json.encode(_present(event.data))
