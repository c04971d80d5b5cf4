"""The envelope of an event in either content mode of the CloudEvents Kafka protocol binding, with undecoded data."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw, Struct, ValidationError

from models.domain.events import MAX_VALUE_BYTES, Oddity, RejectionReason
from models.domain.json_values import MalformedError, check_encoding_and_depth, decode_object, explain_decode_error

Headers = Sequence[tuple[str, bytes | None]]

STRUCTURED_CONTENT_TYPE: Final = b"application/cloudevents+json"
#: The headers of every record in structured mode.
STRUCTURED_HEADERS: Final = (("content-type", STRUCTURED_CONTENT_TYPE),)


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


class Envelope(_Attributes):
    """An envelope of any type, with undecoded data."""

    type: str | None = None
    data: Raw = Raw()
    data_base64: str | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_json_string = msgspec.json.Decoder(str).decode


class RejectedError(Exception):
    """Carries a rejection, and the envelope as far as it was decoded, from wherever it is found to `decode`."""

    def __init__(
        self,
        reason: RejectionReason,
        detail: str,
        envelope: Envelope | None = None,
        members: Mapping[str, Raw] | None = None,
    ) -> None:
        super().__init__(detail)
        #: The members are those of an event in structured mode of which some have a wrong type.
        self.reason, self.envelope, self.members = reason, envelope, members


def invalid_envelope(detail: str, envelope: Envelope | None = None) -> RejectedError:
    """Return the error for an envelope that breaks a rule."""
    return RejectedError(RejectionReason.INVALID_ENVELOPE, detail, envelope)


def parse_envelope(headers: Headers, value: bytes | None) -> tuple[Envelope, tuple[Oddity, ...]]:
    """Return the envelope in a record, in either content mode, and what is odd about the record.

    Raises `MalformedError` and `RejectedError`.
    """
    if value is None:
        raise MalformedError("the value is null: Kafka takes it for a deletion, and no event is deleted")
    if len(value) > MAX_VALUE_BYTES:
        raise RejectedError(RejectionReason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
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


def _parse_structured_mode(value: bytes) -> Envelope:
    check_encoding_and_depth(value)
    try:
        return _decode_envelope(value)
    except ValidationError as error:
        # Malformed JSON behind the invalid field counts first.
        members, envelope = decode_object(value), Envelope()
        for name in ("source", "type"):
            with suppress(msgspec.DecodeError, KeyError):
                setattr(envelope, name, _decode_json_string(members[name]))
        raise RejectedError(RejectionReason.INVALID_ENVELOPE, str(error), envelope, members) from None
    except msgspec.DecodeError as error:
        raise MalformedError(explain_decode_error(value, error)) from None


def _parse_binary_mode(header_values: Mapping[str, bytes | None], prefix: str) -> Envelope:
    envelope = Envelope()
    for name in ATTRIBUTE_NAMES:
        if (raw := header_values.get(prefix + name)) is None:
            continue
        try:
            setattr(envelope, name, raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise invalid_envelope(f"header {prefix}{name} is not UTF-8", envelope) from None
    return envelope


def extract_data(envelope: Envelope) -> bytes:
    """Return the data of an event as JSON, `{}` without any; raises `MalformedError` and `RejectedError`."""
    raw = bytes(envelope.data)
    if envelope.data_base64 is not None:
        if raw:
            raise invalid_envelope("both data and data_base64 are there")
        try:
            raw = b64decode(envelope.data_base64, validate=True)
        except ValueError:
            raise invalid_envelope("data_base64 is not base64") from None
        decode_object(raw)
    # CloudEvents makes data optional; for types with only optional fields, no data means the same as {}.
    return b"{}" if raw in {b"", b"null"} else raw
