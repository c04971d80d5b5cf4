"""Kafka records to events and back: the CloudEvents 1.0 Kafka protocol binding.

`decode` never raises, whatever the bytes. It checks in this order, with the reasons of the contract, section 3: too
large, malformed, envelope, type, data. `models.domain.events.check_acceptable` checks what depends on more than the
record: the broker's clock and the allowed sources.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from models.domain import events
from models.domain.attribute_faults import MAX_ATTRIBUTE_LENGTH, find_attribute_faults, join_faults, quote
from models.domain.data_decoding import decode_data_fields
from models.domain.data_faults import find_data_faults, find_misplaced_data
from models.domain.envelope import (
    ATTRIBUTE_NAMES,
    STRUCTURED_HEADERS,
    Envelope,
    Headers,
    RejectedError,
    extract_data,
    invalid_envelope,
    parse_envelope,
)
from models.domain.envelope_faults import find_envelope_fault
from models.domain.events import DATA_TYPES, Event, EventData, Oddity, Rejection, RejectionReason
from models.domain.json_values import MalformedError, decode_object, find_repeated_name
from models.domain.plain_report import decode_plain_report
from models.domain.timestamps import Instant, parse_instant
from models.domain.unknown_fields import find_unknown_fields

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: Of a rejection's detail, which names all faults of an event; characters.
MAX_DETAIL_LENGTH: Final = 600
#: Why an event may be rejected that another reader's format made of a valid one.
_ENVELOPE_REASONS: Final = {RejectionReason.INVALID_ENVELOPE, RejectionReason.UNSUPPORTED_TYPE}


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def decode(headers: Headers, value: bytes | None) -> Event | Rejection:
    """Return the event in a Kafka record, in either content mode, or the reason why there is none."""
    if value is not None and (event := decode_plain_report(headers, value)) is not None:
        return event
    envelope = Envelope()
    try:
        envelope, oddities = parse_envelope(headers, value)
        if value is not None and find_repeated_name(value) is not None:
            oddities = (*oddities, Oddity.REPEATED_NAME)
        return _build_event(envelope, oddities)
    except MalformedError as error:
        return _reject(RejectionReason.MALFORMED, str(error), envelope)
    except RejectedError as rejected:
        envelope, detail = rejected.envelope or envelope, str(rejected)
        if rejected.reason in _ENVELOPE_REASONS and (cause := find_envelope_fault(headers, value or b"")) is not None:
            detail = f"{detail}: {cause}"
        elif faults := [*dict.fromkeys(_find_faults(envelope, rejected, value or b""))]:
            detail = join_faults(faults, MAX_DETAIL_LENGTH)
        return _reject(rejected.reason, detail, envelope)


def _find_faults(envelope: Envelope, rejected: RejectedError, value: bytes) -> Iterator[str]:
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
        raw = extract_data(envelope)
        faults = find_data_faults(envelope.type, raw)
        if faults and not bytes(envelope.data) and envelope.data_base64 is None:
            yield from find_misplaced_data(envelope.type, decode_object(value))
        yield from faults
        if not faults and (instant := envelope.recordedtime or envelope.time):
            fault = decode_data_fields(envelope.type, raw).find_error(parse_instant(instant))
            yield from () if fault is None else (fault,)
    except (RejectedError, MalformedError) as error:
        yield str(error)
    except (msgspec.DecodeError, ValueError):
        # The decoder's own words about the data are left; a wrong time was named before.
        return


def _reject(reason: RejectionReason, detail: str, envelope: Envelope) -> Rejection:
    event_type = envelope.type if envelope.type in DATA_TYPES else None
    source = None if envelope.source is None else envelope.source[:MAX_ATTRIBUTE_LENGTH]
    # A detail may quote anything, and becomes a log line and a header.
    detail = _CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", detail[:MAX_DETAIL_LENGTH])
    return Rejection(reason, detail, source, event_type or events.UNKNOWN_TYPE)


def decode_data(event_type: str, headers: Headers, value: bytes) -> EventData:
    """Return the data of an event that was accepted earlier; raises `ValueError` when it cannot be decoded."""
    try:
        return decode_data_fields(event_type, extract_data(parse_envelope(headers, value)[0]))
    except (RejectedError, MalformedError, msgspec.DecodeError) as rejected:
        raise ValueError(f"an accepted event cannot be decoded: {rejected}") from None


def _build_event(envelope: Envelope, oddities: tuple[Oddity, ...] = ()) -> Event:
    if envelope.specversion != "1.0":
        raise invalid_envelope(f'specversion is {quote(envelope.specversion)}, not "1.0"')
    source, event_id = _check_attribute(envelope.source, "source"), _check_attribute(envelope.id, "id")
    time = _parse_time_attribute(envelope.time, "time")
    if time is None:
        raise invalid_envelope("time is missing")
    recorded = _parse_time_attribute(envelope.recordedtime, "recordedtime")
    if not envelope.type:
        raise invalid_envelope("type is missing")
    if envelope.type not in DATA_TYPES:
        raise RejectedError(RejectionReason.UNSUPPORTED_TYPE, f"type {quote(envelope.type)} is not known")
    programme, project = _parse_subject_attribute(envelope)
    data, unknown = _parse_data(envelope.type, extract_data(envelope))
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
        raise RejectedError(RejectionReason.INVALID_DATA, fault)
    return event


def _check_attribute(text: str | None, attribute: str) -> str:
    if not text:
        raise invalid_envelope(f"{attribute} is missing")
    if len(text) > MAX_ATTRIBUTE_LENGTH:
        raise invalid_envelope(f"{attribute} has {len(text)} characters, allowed are {MAX_ATTRIBUTE_LENGTH}")
    # Printable text has no control characters, and this check is faster.
    if not text.isprintable() and _CONTROL_CHARACTERS.search(text):
        raise invalid_envelope(f"{attribute} holds a control character: {quote(text)}")
    return text


def _parse_time_attribute(text: str | None, attribute: str) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise invalid_envelope(f"{attribute}: {error}") from None


def _parse_subject_attribute(envelope: Envelope) -> tuple[str, str]:
    parts = None if envelope.subject is None else events.parse_subject(envelope.subject)
    if parts is None:
        raise invalid_envelope(f"subject {quote(envelope.subject)} is not <programme>/<project>")
    if bool(parts[1]) == (envelope.type == events.ProgrammeRegistered.TYPE):
        expected = "<programme>/<project>" if not parts[1] else "<programme> alone"
        raise invalid_envelope(f"subject {quote(envelope.subject)} of a {envelope.type} is not {expected}")
    return parts


def _parse_data(event_type: str, raw: bytes) -> tuple[EventData, tuple[str, ...]]:
    """Return the data, and the unknown fields in them."""
    try:
        data = decode_data_fields(event_type, raw)
    except msgspec.DecodeError as error:
        # The JSON was checked before, so this is a fault of the data.
        raise RejectedError(RejectionReason.INVALID_DATA, str(error)) from None
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
