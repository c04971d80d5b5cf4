"""What is wrong with the data of an event that was rejected: all of it, in words.

Nothing here runs for an event that is accepted. The decoder decides, and this explains to whoever wrote the publisher;
a property test holds the two against each other.
"""

import json
import math
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.inspect import DateType, FloatType, IntType, StrType, StructType

from models.domain.attribute_faults import SLUG_RULE, kind_of, quote, slug_fault, text_faults
from models.domain.data_fields import DataField, allowed_values, data_fields
from models.domain.events import CURRENCY_PATTERN, DATA_TYPES, FIRST_YEAR, LAST_YEAR, SLUG_PATTERN
from models.domain.unknown_fields import describe_unknown_field, find_unknown_fields

#: A longer integer is out of every range: Python refuses those of more than 4300 digits.
_MAX_DIGITS: Final = 400
_DATE_LENGTH: Final = 10

_decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def find_data_faults(event_type: str, raw: bytes) -> list[str]:
    """Return the faults of the data of a known type, which are JSON; empty where nothing is recognised."""
    data = json.loads(raw, parse_int=_parse_integer)
    if not isinstance(data, dict):
        return [f"the data are {kind_of(data)}, not an object"]
    faults = [*_struct_faults(DATA_TYPES[event_type], data, "")]
    if faults:
        unknown = find_unknown_fields(event_type, _decode_members(raw))
        faults += [f"nobody knows {describe_unknown_field(path, event_type)}" for path in unknown]
    return faults


def find_misplaced_data(event_type: str, members: Mapping[str, Raw]) -> Iterator[str]:
    """Yield that required fields stand among the attributes, where nobody reads them."""
    misplaced = [
        field.name for field in data_fields(DATA_TYPES[event_type]) if field.is_required and field.name in members
    ]
    if misplaced:
        names = ", ".join(f"`{name}`" for name in misplaced)
        verb = "stands" if len(misplaced) == 1 else "stand"
        yield f"{names} {verb} beside `data`: put the fields of the data into it"


def _parse_integer(text: str) -> float:
    return int(text) if len(text) <= _MAX_DIGITS else math.copysign(math.inf, -1 if text.startswith("-") else 1)


def _struct_faults(struct: type, data: Mapping[str, Any], parent: str) -> Iterator[str]:
    for field in data_fields(struct):
        path, content = f"`{parent}{field.name}`", data.get(field.name)
        if content is None:
            if field.is_required:
                yield f"{path} is {'null' if field.name in data else 'missing'}"
        elif isinstance(field.kind, StructType):
            if isinstance(content, dict):
                yield from _struct_faults(field.kind.cls, content, f"{parent}{field.name}.")
            else:
                yield f"{path} is {kind_of(content)}, not an object"
        else:
            yield from _content_faults(field, path, content)


def _content_faults(field: DataField, path: str, content: object) -> Iterator[str]:
    kind = field.kind
    if isinstance(kind, IntType | FloatType):
        yield from _number_faults(kind, path, content)
        return
    if not isinstance(content, str):
        yield f"{path} is {kind_of(content)}, not a text"
        return
    allowed = allowed_values(kind)
    if allowed is not None:
        if content not in allowed:
            yield f"{path} is {quote(content)}: allowed are {', '.join(allowed)}"
    elif isinstance(kind, DateType):
        yield from _date_faults(path, content)
    elif isinstance(kind, StrType):
        yield from _text_faults(kind, path, content)


def _number_faults(kind: IntType | FloatType, path: str, content: object) -> Iterator[str]:
    if isinstance(content, bool) or not isinstance(content, int | float):
        found = f"the text {quote(content)}" if isinstance(content, str) else kind_of(content)
        yield f"{path} is {found}, not a number"
        return
    if not _is_in_range(content):
        yield f"{path} is out of range"
    elif isinstance(kind, IntType) and content != int(content):
        yield f"{path} is {content}, not an integer"
    elif (kind.ge is not None and content < kind.ge) or (kind.le is not None and content > kind.le):
        limits = f"at least {kind.ge}" if kind.le is None else f"{kind.ge} to {kind.le}"
        yield f"{path} is {content}: allowed is {limits}"


def _is_in_range(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _date_faults(path: str, text: str) -> Iterator[str]:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    looks_right = len(text) == _DATE_LENGTH and text[4] == text[7] == "-" and text.replace("-", "").isdecimal()
    if not looks_right:
        yield f"{path} is {quote(text)}, not YYYY-MM-DD"
    elif day is None:
        yield f"{path} is {quote(text)}: there is no such day"
    elif not FIRST_YEAR <= day.year <= LAST_YEAR:
        yield f"{path} is {quote(text)}: allowed are the years {FIRST_YEAR} to {LAST_YEAR}"


def _text_faults(kind: StrType, path: str, text: str) -> Iterator[str]:
    pattern = (kind.pattern or "").removeprefix(r"\A").removesuffix(r"\Z")
    if pattern == SLUG_PATTERN:
        if (fault := slug_fault(text)) is not None:
            yield f"{path} {quote(text)} {fault} ({SLUG_RULE})"
    elif pattern == CURRENCY_PATTERN:
        if not _is_currency(text):
            yield f"{path} is {quote(text)}: allowed are three capital letters, as EUR"
    elif kind.pattern is not None:
        yield from text_faults(path, text)
    elif kind.max_length is not None and len(text) > kind.max_length:
        yield f"{path} has {len(text)} characters, allowed are {kind.max_length}"


def _is_currency(text: str) -> bool:
    return len(text) == len("EUR") and text.isascii() and text.isalpha() and text.isupper()
