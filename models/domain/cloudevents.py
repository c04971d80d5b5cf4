"""Kafka records to events and back: the CloudEvents 1.0 Kafka protocol binding.

`decode` never raises, whatever the bytes. It checks in this order, with the reasons of the contract, section 3: too
large, malformed, envelope, type, data. `models.domain.events.check_acceptable` checks what depends on more than the
record: the broker's clock and the allowed sources.
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct, ValidationError
from msgspec.structs import astuple, replace

from models.domain import events
from models.domain.attribute_faults import MAX_ATTRIBUTE_LENGTH, find_attribute_faults, join_faults, quote
from models.domain.data_decoding import decode_data_fields
from models.domain.data_faults import find_data_faults
from models.domain.envelope_faults import find_envelope_fault
from models.domain.events import DATA_TYPES, MAX_VALUE_BYTES, Event, EventData, Oddity, Rejection, RejectionReason
from models.domain.json_values import (
    MalformedError,
    check_encoding_and_depth,
    decode_object,
    explain_decode_error,
    find_repeated_name,
)
from models.domain.timestamps import Instant, parse_instant
from models.domain.unknown_fields import find_unknown_fields

Headers = Sequence[tuple[str, bytes | None]]

_STRUCTURED_CONTENT_TYPE: Final = b"application/cloudevents+json"
#: The headers of every record in structured mode.
STRUCTURED_HEADERS: Final = (("content-type", _STRUCTURED_CONTENT_TYPE),)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_DETAIL_LENGTH: Final = 600
#: Why an event may be rejected that another reader's format made of a valid one.
_ENVELOPE_REASONS: Final = {RejectionReason.INVALID_ENVELOPE, RejectionReason.UNSUPPORTED_TYPE}


class _Attributes(Struct):
    """The attributes that Milepost reads, except the type; all optional, so that an error names what is missing."""

    specversion: str | None = None
    id: str | None = None
    source: str | None = None
    subject: str | None = None
    time: str | None = None
    recordedtime: str | None = None
    correlationid: str | None = None
    causationid: str | None = None


#: The attributes that Milepost reads.
ATTRIBUTE_NAMES: Final = (*_Attributes.__struct_fields__[:3], "type", *_Attributes.__struct_fields__[3:])


class _Envelope(_Attributes):
    """An envelope of any type, with undecoded data."""

    type: str | None = None
    data: Raw = Raw()
    data_base64: str | None = None


class _StrictMoney(events.Money, frozen=True, forbid_unknown_fields=True):
    pass


class _StrictReportData(events.MilestoneReported, frozen=True, forbid_unknown_fields=True):
    amount: _StrictMoney | None = None


class _StrictReport(_Attributes, kw_only=True):
    """A report without unknown fields or base64, decoded together with its data."""

    type: Literal["milepost.milestone.reported.v1"]
    data: _StrictReportData
    data_base64: None = None
    # Not read: with them, the quotation marks of nearly every report can be counted.
    datacontenttype: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None


_decode_strict_report = msgspec.json.Decoder(_StrictReport).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_json_string = msgspec.json.Decoder(str).decode


class _RejectedError(Exception):
    """Carries a rejection, and the envelope as far as it was decoded, out of the steps below to `decode`."""

    def __init__(
        self,
        reason: RejectionReason,
        detail: str,
        envelope: _Envelope | None = None,
        members: Mapping[str, Raw] | None = None,
    ) -> None:
        super().__init__(detail)
        #: The members are those of an event in structured mode of which some have a wrong type.
        self.reason, self.envelope, self.members = reason, envelope, members


def _invalid_envelope(detail: str, envelope: _Envelope | None = None) -> _RejectedError:
    return _RejectedError(RejectionReason.INVALID_ENVELOPE, detail, envelope)


def decode(headers: Headers, value: bytes | None) -> Event | Rejection:
    """Return the event in a Kafka record, in either content mode, or the reason why there is none."""
    if value is not None and (event := _decode_fast_path(headers, value)) is not None:
        return event
    envelope = _Envelope()
    try:
        envelope, oddities = _parse_envelope(headers, value)
        if value is not None and find_repeated_name(value) is not None:
            oddities = (*oddities, Oddity.REPEATED_NAME)
        return _build_event(envelope, oddities)
    except MalformedError as error:
        return _reject(RejectionReason.MALFORMED, str(error), envelope)
    except _RejectedError as rejected:
        envelope, detail = rejected.envelope or envelope, str(rejected)
        if rejected.reason in _ENVELOPE_REASONS and (cause := find_envelope_fault(headers, value or b"")) is not None:
            detail = f"{detail}: {cause}"
        elif faults := [*dict.fromkeys(_find_faults(envelope, rejected))]:
            detail = join_faults(faults, _MAX_DETAIL_LENGTH)
        return _reject(rejected.reason, detail, envelope)


def _find_faults(envelope: _Envelope, rejected: _RejectedError) -> Iterator[str]:
    """Yield all faults of an event; none where the decoder's own words are the best."""
    if rejected.reason is RejectionReason.TOO_LARGE or (rejected.envelope and rejected.members is None):
        return
    members = rejected.members or {}
    attributes = {name: getattr(envelope, name) for name in ATTRIBUTE_NAMES}
    for name in (*ATTRIBUTE_NAMES, "data_base64"):
        if name in members:
            # Of a number, only that it is one is said: it may have any number of digits.
            attributes[name] = json.loads(bytes(members[name]), parse_int=len)
    yield from find_attribute_faults(attributes)
    if envelope.type not in DATA_TYPES:
        return
    envelope.data = members.get("data", envelope.data)
    try:
        raw = _extract_data(envelope)
        faults = find_data_faults(envelope.type, raw)
        yield from faults
        if not faults and (instant := envelope.recordedtime or envelope.time):
            fault = decode_data_fields(envelope.type, raw).find_error(parse_instant(instant))
            yield from () if fault is None else (fault,)
    except (_RejectedError, MalformedError) as error:
        yield str(error)
    except (msgspec.DecodeError, ValueError):
        # The decoder's own words about the data are left; a wrong time was named before.
        return


def _reject(reason: RejectionReason, detail: str, envelope: _Envelope) -> Rejection:
    event_type = envelope.type if envelope.type in DATA_TYPES else None
    source = None if envelope.source is None else envelope.source[:MAX_ATTRIBUTE_LENGTH]
    # A detail may quote anything, and becomes a log line and a header.
    detail = _CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", detail[:_MAX_DETAIL_LENGTH])
    return Rejection(reason, detail, source, event_type or events.UNKNOWN_TYPE)


def _decode_fast_path(headers: Headers, value: bytes) -> Event | None:
    """Return the event of a plain report in structured mode (nearly all) in one pass instead of three; else None."""
    if dict(headers).get("content-type") != _STRUCTURED_CONTENT_TYPE or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        check_encoding_and_depth(value)
        report = _decode_strict_report(value)
        is_repeated = value.count(b'"') > _count_quotation_marks(report) and find_repeated_name(value) is not None
        return _build_event(report, (Oddity.REPEATED_NAME,) if is_repeated else ())
    except (_RejectedError, MalformedError, msgspec.DecodeError):
        return None


def _count_quotation_marks(report: _StrictReport) -> int:
    """Return how many quotation marks a report has at least; a name that stands twice, but not it alone, adds some."""
    attributes, fields = astuple(report), astuple(report.data)
    marks = 4 * (len(attributes) - attributes.count(None) + len(fields) - fields.count(None)) - 2
    return marks if report.data.amount is None else marks + 4


def decode_data(event_type: str, headers: Headers, value: bytes) -> EventData:
    """Return the data of an event that was accepted earlier; raises `ValueError` when it cannot be decoded."""
    try:
        return decode_data_fields(event_type, _extract_data(_parse_envelope(headers, value)[0]))
    except (_RejectedError, MalformedError, msgspec.DecodeError) as rejected:
        raise ValueError(f"an accepted event cannot be decoded: {rejected}") from None


def _parse_envelope(headers: Headers, value: bytes | None) -> tuple[_Envelope, tuple[Oddity, ...]]:
    if value is None:
        raise MalformedError("the value is null: Kafka takes it for a deletion, and no event is deleted")
    if len(value) > MAX_VALUE_BYTES:
        raise _RejectedError(RejectionReason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    named = dict(headers)
    content_type = (named.get("content-type") or b"").decode("utf-8", "replace").strip().lower()
    if content_type.startswith("application/cloudevents"):
        return _parse_structured_mode(value), ()
    prefix = _detect_header_prefix(named)
    if not content_type and (prefix is None or _has_specversion(value)):
        return _parse_structured_mode(value), ()
    decode_object(value)
    envelope = _parse_binary_mode(named, prefix or "ce_")
    envelope.data = Raw(value)
    return envelope, (Oddity.HEADER_PREFIX,) if prefix == "ce-" else ()


def _detect_header_prefix(header_values: Mapping[str, bytes | None]) -> str | None:
    if "ce_specversion" in header_values or "ce_id" in header_values:
        return "ce_"
    # Some libraries write the prefix of the HTTP binding into Kafka headers.
    return "ce-" if any(name.startswith("ce-") for name in header_values) else None


def _has_specversion(value: bytes) -> bool:
    with suppress(MalformedError):
        return b'"specversion"' in value and "specversion" in decode_object(value)
    return False


def _parse_structured_mode(value: bytes) -> _Envelope:
    check_encoding_and_depth(value)
    try:
        return _decode_envelope(value)
    except ValidationError as error:
        # Malformed JSON behind the invalid field counts first.
        members, envelope = decode_object(value), _Envelope()
        for name in ("source", "type"):
            with suppress(msgspec.DecodeError, KeyError):
                setattr(envelope, name, _decode_json_string(members[name]))
        raise _RejectedError(RejectionReason.INVALID_ENVELOPE, str(error), envelope, members) from None
    except msgspec.DecodeError as error:
        raise MalformedError(explain_decode_error(value, error)) from None


def _parse_binary_mode(header_values: Mapping[str, bytes | None], prefix: str) -> _Envelope:
    envelope = _Envelope()
    for name in ATTRIBUTE_NAMES:
        if (raw := header_values.get(prefix + name)) is None:
            continue
        try:
            setattr(envelope, name, raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise _invalid_envelope(f"header {prefix}{name} is not UTF-8", envelope) from None
    return envelope


def _build_event(envelope: _Envelope | _StrictReport, oddities: tuple[Oddity, ...] = ()) -> Event:
    if envelope.specversion != "1.0":
        raise _invalid_envelope(f'specversion is {quote(envelope.specversion)}, not "1.0"')
    source, event_id = _check_attribute(envelope.source, "source"), _check_attribute(envelope.id, "id")
    time = _parse_time_attribute(envelope.time, "time")
    if time is None:
        raise _invalid_envelope("time is missing")
    recorded = _parse_time_attribute(envelope.recordedtime, "recordedtime")
    if not envelope.type:
        raise _invalid_envelope("type is missing")
    if envelope.type not in DATA_TYPES:
        raise _RejectedError(RejectionReason.UNSUPPORTED_TYPE, f"type {quote(envelope.type)} is not known")
    programme, project = _parse_subject_attribute(envelope)
    data: EventData
    unknown: tuple[str, ...]
    if isinstance(envelope, _StrictReport):
        data, unknown = events.MilestoneReported(*astuple(envelope.data)), ()
        if data.amount is not None:
            data = replace(data, amount=events.Money(*astuple(data.amount)))
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
        unknown_fields=unknown,
    )
    if (fault := data.find_error(event.instant)) is not None:
        raise _RejectedError(RejectionReason.INVALID_DATA, fault)
    return event


def _check_attribute(text: str | None, attribute: str) -> str:
    if not text:
        raise _invalid_envelope(f"{attribute} is missing")
    if len(text) > MAX_ATTRIBUTE_LENGTH:
        raise _invalid_envelope(f"{attribute} has {len(text)} characters, allowed are {MAX_ATTRIBUTE_LENGTH}")
    # Printable text has no control characters, and this check is faster.
    if not text.isprintable() and _CONTROL_CHARACTERS.search(text):
        raise _invalid_envelope(f"{attribute} holds a control character: {quote(text)}")
    return text


def _parse_time_attribute(text: str | None, attribute: str) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise _invalid_envelope(f"{attribute}: {error}") from None


def _parse_subject_attribute(envelope: _Envelope | _StrictReport) -> tuple[str, str]:
    parts = None if envelope.subject is None else events.parse_subject(envelope.subject)
    if parts is None:
        raise _invalid_envelope(f"subject {quote(envelope.subject)} is not <programme>/<project>")
    if bool(parts[1]) == (envelope.type == events.ProgrammeRegistered.TYPE):
        expected = "<programme>/<project>" if not parts[1] else "<programme> alone"
        raise _invalid_envelope(f"subject {quote(envelope.subject)} of a {envelope.type} is not {expected}")
    return parts


def _extract_data(envelope: _Envelope) -> bytes:
    raw = bytes(envelope.data)
    if envelope.data_base64 is not None:
        if raw:
            raise _invalid_envelope("both data and data_base64 are there")
        try:
            raw = b64decode(envelope.data_base64, validate=True)
        except ValueError:
            raise _invalid_envelope("data_base64 is not base64") from None
        decode_object(raw)
    # CloudEvents makes data optional; for types with only optional fields, no data means the same as {}.
    return b"{}" if raw in {b"", b"null"} else raw


def _parse_data(event_type: str, raw: bytes) -> tuple[EventData, tuple[str, ...]]:
    """Return the data, and the unknown fields in them."""
    try:
        data = decode_data_fields(event_type, raw)
    except msgspec.DecodeError as error:
        # The JSON was checked before, so this is a fault of the data.
        raise _RejectedError(RejectionReason.INVALID_DATA, str(error)) from None
    return data, find_unknown_fields(event_type, _decode_fields(raw))


def encode_structured(event: Event) -> tuple[Headers, bytes]:
    """Return headers and value of a record that carries an event in structured mode."""
    document = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": f"{event.time}Z",
        "partitionkey": event.programme,
        "recordedtime": None if event.recorded_time is None else f"{event.recorded_time}Z",
        "correlationid": event.correlationid,
        "causationid": event.causationid,
        "datacontenttype": "application/json",
        "data": _without_nulls(msgspec.to_builtins(event.data)),
    }
    return STRUCTURED_HEADERS, msgspec.json.encode(_without_nulls(document))


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
