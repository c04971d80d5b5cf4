"""Fields of an event's data that no type has: a tolerant reader passes over them, and the publisher should know.

An unknown field is nearly always a misspelled one: `lag` for `lag_days`. It is named by its path, `after.projekt`.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.inspect import StructType

from models.domain.data_fields import data_fields
from models.domain.events import DATA_TYPES

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode

#: The known fields of each type, and those of the objects among them.
_KNOWN: Final = {name: frozenset(data.__struct_fields__) for name, data in DATA_TYPES.items()}
_KNOWN_WITHIN: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    name: {
        field.name: frozenset(field.kind.cls.__struct_fields__)
        for field in data_fields(data)
        if isinstance(field.kind, StructType)
    }
    for name, data in DATA_TYPES.items()
}
#: How alike two names have to be (0 to 1): `lag` and `lag_days` are by 0.55.
_SIMILARITY: Final = 0.5


def has_unknown_fields(event_type: str, data: Mapping[str, Raw]) -> bool:
    """Return whether valid data have a field that their type does not know."""
    if not _KNOWN[event_type].issuperset(data):
        return True
    return any(_unknown_within(event_type, data))


def find_unknown_fields(event_type: str, data: Mapping[str, Raw]) -> list[str]:
    """Return the paths of the fields of data that their type does not know."""
    return [*sorted(data.keys() - _KNOWN[event_type]), *_unknown_within(event_type, data)]


def _unknown_within(event_type: str, data: Mapping[str, Raw]) -> Iterator[str]:
    for parent, known in _KNOWN_WITHIN[event_type].items():
        # Null is absent, and of anything else the decoder says that it is no object.
        if (raw := data.get(parent)) is not None and bytes(raw).startswith(b"{"):
            yield from (f"{parent}.{name}" for name in sorted(_decode_object(raw).keys() - known))


def describe_unknown_field(event_type: str, path: str) -> str:
    """Return an unknown field with the nearest known one, if any is near."""
    known = [*_KNOWN[event_type]]
    known += [f"{parent}.{name}" for parent, names in _KNOWN_WITHIN[event_type].items() for name in names]
    nearest = get_close_matches(path, sorted(known), 1, _SIMILARITY)
    return f"`{path}`: did you mean `{nearest[0]}`?" if nearest else f"`{path}`"
