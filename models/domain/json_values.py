"""The JSON of records that may be anything: bounded depth, and faults that name their cause.

What a record holds is seen by whoever wrote the publisher, in the detail of a rejection, and nowhere else.
"""

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw, ValidationError

#: A fixed bound, not the interpreter's, so that all workers decide alike.
MAX_JSON_DEPTH: Final = 64

# An unterminated string is one token to the end: searching for its end from every quote in it would take minutes.
_JSON_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
#: What a value begins with that some serializer, compressor or editor made of the JSON.
_BEGINNINGS: Final[Mapping[bytes, str]] = {
    BOM_UTF8: "the value begins with a byte order mark: write UTF-8 without one",
    BOM_UTF16_LE: "the value is UTF-16: write UTF-8",
    BOM_UTF16_BE: "the value is UTF-16: write UTF-8",
    **{
        beginning: f"the value itself is compressed with {codec}: leave compression to the producer (compression.type)"
        for beginning, codec in {
            b"\x1f\x8b": "gzip",
            b"\x28\xb5\x2f\xfd": "zstd",
            b"\x04\x22\x4d\x18": "lz4",
            b"\x82SNAPPY": "snappy",
        }.items()
    },
    b"PK\x03\x04": "the value is a ZIP file",
    b"Obj\x01": "the value is an Avro file: write JSON",
    b"<": "the value is XML or HTML: write JSON",
}
#: A zero byte and the four bytes of a schema's number, before what the schema describes.
_REGISTRY_PREFIX_BYTES: Final = 5
_UTF16_BEGINNING: Final = re.compile(rb"\x00[\[{]\x00|[\[{]\x00[^\x00]\x00")

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode


class MalformedError(Exception):
    """A value is not a JSON object; the message names the cause."""


class _RepeatedNameError(Exception):
    """The name."""


def check_encoding_and_depth(value: bytes) -> None:
    """Refuse what is not UTF-8 or is nested too deep, before a decoder recurses into it; raises `MalformedError`."""
    if not value.isascii():
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedError(_find_beginning(value) or f"not UTF-8 at byte {error.start}") from None
    # At most one object inside another, and no array, as in nearly all events: faster than counting.
    if b"[" not in value and value.find(b"{", value.find(b"{", 1) + 1) < 0:
        return
    # Brackets in strings count too, so a higher count only means that a scan is needed.
    if value.count(b"[") + value.count(b"{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for token in _JSON_TOKENS.finditer(value):
        first = value[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_JSON_DEPTH:
            raise MalformedError(f"nested deeper than {MAX_JSON_DEPTH} levels")


def decode_object(value: bytes) -> dict[str, Raw]:
    """Return the members of a JSON object, undecoded; raises `MalformedError`."""
    check_encoding_and_depth(value)
    try:
        return _decode_object(value)
    except msgspec.DecodeError as error:
        raise MalformedError(explain_decode_error(value, error)) from None


def find_repeated_name(value: bytes) -> str | None:
    """Return a name that stands twice in one object of JSON; None for what is not JSON."""

    def check(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        if len({*names}) < len(names):
            raise _RepeatedNameError(next(name for name in names if names.count(name) > 1))

    try:
        json.loads(value, object_pairs_hook=check, parse_int=len, parse_float=len)
    except _RepeatedNameError as repeated:
        return str(repeated)
    except (ValueError, RecursionError):
        return None
    return None


def explain_decode_error(value: bytes, error: msgspec.DecodeError) -> str:
    """Return why a value is not a JSON object; the library's own words where no cause is recognised."""
    if not value.strip():
        return "the value is empty" if not value else "the value holds blanks alone"
    if isinstance(error, ValidationError):
        return _explain_other_type(value, error)
    if (fault := _find_beginning(value)) is not None:
        return fault
    try:
        # This parser takes one half of a pair.
        json.loads(value, parse_int=len, parse_float=len, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        is_cut_off = "truncated" in str(error) or "unexpected end" in str(error)
        return f"the JSON is cut off after {len(value)} bytes" if is_cut_off else str(error)
    return "a text holds one half of a surrogate pair (\\ud800 to \\udfff)"


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _explain_other_type(value: bytes, error: ValidationError) -> str:
    first = value.lstrip()[:1]
    if first == b"[":
        return "the value is an array: the Kafka binding has no batches, send each event in a record of its own"
    # Something may stand behind the string: the library looks at its type first.
    with suppress(msgspec.DecodeError):
        if first == b'"' and _decode_string(value).lstrip()[:1] in {"{", "["}:
            return "the value is a JSON string that holds JSON: it was encoded twice"
    return f"not a JSON object: {error}"


def _find_beginning(value: bytes) -> str | None:
    for beginning, fault in _BEGINNINGS.items():
        if value.startswith(beginning):
            return fault
    if _UTF16_BEGINNING.match(value):
        return _BEGINNINGS[BOM_UTF16_LE]
    if value.startswith(b"\0") and len(value) > _REGISTRY_PREFIX_BYTES:
        schema = int.from_bytes(value[1:_REGISTRY_PREFIX_BYTES], "big")
        return f"the value begins with a schema registry's prefix (schema {schema}): write plain JSON"
    return None
