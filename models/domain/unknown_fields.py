"""Fields of an event's data that no type has: a tolerant reader passes over them, and the publisher should know.

An unknown field is nearly always a misspelled one: `lag` for `lag_days`. It is named by its path, `after.projekt`.
"""

from collections.abc import Mapping
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
#: An event may have thousands of unknown fields, of any length.
_MAX_PATHS, _MAX_PATH_LENGTH = 10, 64


def find_unknown_fields(event_type: str, data: Mapping[str, Raw]) -> tuple[str, ...]:
    """Return the paths of the fields of data that their type does not know, at most ten and their beginnings."""
    known = _KNOWN[event_type]
    unknown = [] if known.issuperset(data) else sorted(data.keys() - known)
    for parent, known_within in _KNOWN_WITHIN[event_type].items():
        # Null is absent, and of anything else the decoder says that it is no object.
        if (raw := data.get(parent)) is not None and bytes(raw).startswith(b"{"):
            unknown += [f"{parent}.{name}" for name in sorted(_decode_object(raw).keys() - known_within)]
    return tuple(path[:_MAX_PATH_LENGTH] for path in unknown[:_MAX_PATHS])


def describe_unknown_field(path: str, event_type: str | None = None) -> str:
    """Return an unknown field with the nearest one that the type, or any type, knows, if there is one."""
    known = {
        option
        for name in ([event_type] if event_type else DATA_TYPES)
        for option in (
            *_KNOWN[name],
            *(f"{parent}.{inner}" for parent, within in _KNOWN_WITHIN[name].items() for inner in within),
        )
    }
    nearest = get_close_matches(path, sorted(known), 1, _SIMILARITY)
    return f"`{path}`: did you mean `{nearest[0]}`?" if nearest else f"`{path}`"
