"""Events that people write as text: the schemas of the event types decide what becomes a number."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.inspect import FloatType, IntType, StructType

from models.domain.data_fields import data_fields
from models.domain.events import DATA_TYPES
from models.domain.json_values import MAX_JSON_DEPTH


def _number_fields(data_type: type) -> Iterator[tuple[str, ...]]:
    for field in data_fields(data_type):
        if isinstance(field.kind, IntType | FloatType):
            yield (field.name,)
        elif isinstance(field.kind, StructType):
            yield from ((field.name, *path) for path in _number_fields(field.kind.cls))


#: The paths in `data` at which the schemas have a number. No type has a text there (tests/unit/test_publish.py).
NUMBER_FIELDS: Final = {path for data_type in DATA_TYPES.values() for path in _number_fields(data_type)}


def encode_event(event: dict[str, Any], spell_number: Callable[[str], str | None]) -> bytes | str:
    """Return an event as a structured CloudEvent, or what is wrong with it.

    Where the schemas have a number, a text becomes the number of JSON that `spell_number` returns for it, digit for
    digit; a text without one stays, and the check says what was expected.
    """
    for *parents, name in NUMBER_FIELDS:
        holder = event.get("data")
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(text := holder.get(name), str):
            number = spell_number(text)
            holder[name] = text if number is None else Raw(number.encode())
    try:
        return msgspec.json.encode({"specversion": "1.0", **event})
    except RecursionError:
        return f"nested deeper than {MAX_JSON_DEPTH} levels"
    except (TypeError, ValueError) as error:
        return f"cannot be written as JSON: {error}"
