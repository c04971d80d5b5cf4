"""JSON to the data of an event, by its type."""

from contextlib import suppress
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw, ValidationError
from msgspec.inspect import IntType

from models.domain.data_fields import data_fields
from models.domain.events import DATA_TYPES, EventData

_decoders: Final = {name: msgspec.json.Decoder(data).decode for name, data in DATA_TYPES.items()}
_decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_number: Final = msgspec.json.Decoder(float).decode
_INTEGER_FIELDS: Final = {
    name: frozenset(field.name for field in data_fields(data) if isinstance(field.kind, IntType))
    for name, data in DATA_TYPES.items()
}


def decode_data_fields(event_type: str, raw: bytes) -> EventData:
    """Decode data, with whole numbers as integers however they are written; raises `msgspec.DecodeError`."""
    try:
        return _decoders[event_type](raw)
    except ValidationError:
        fields = _decode_members(raw)
        integers = {name: _whole_number(fields[name]) for name in _INTEGER_FIELDS[event_type] & fields.keys()}
        # Without a number in another spelling, the second attempt raises the error of the first.
        whole = {name: Raw(b"%d" % number) for name, number in integers.items() if number is not None}
        return _decoders[event_type](msgspec.json.encode(fields | whole) if whole else raw)


def _whole_number(raw: Raw) -> int | None:
    """Return the integer that JSON such as `1200.0` or `1.2e3` stands for, digit by digit; None for anything else."""
    # Not a number, or beyond the range of a float: 1e400 would become an integer of 400 digits.
    with suppress(msgspec.DecodeError, ArithmeticError):
        _decode_number(raw)
        number = Decimal(bytes(raw).decode())
        return int(number) if number == number.to_integral_value() else None
    return None
