"""The fields of the data of an event, as the types in `models.domain.events` declare them.

The decoder, the JSON Schemas, docs/events.md and the readers of files have one description of a field: its type.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import NODEFAULT
from msgspec.inspect import (
    DateType,
    EnumType,
    FloatType,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    type_info,
)

from models.domain.events import DATA_TYPES

_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: The years 1990 to 2100. Which days a month has is said by `format`.
_DATE_PATTERN: Final = r"^(199[0-9]|20[0-9]{2}|2100)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"


class DataField(NamedTuple):
    """One field of a struct."""

    name: str
    #: Without what is said about it, and without null.
    kind: Type
    is_required: bool
    is_nullable: bool
    default: Any
    description: str
    examples: Sequence[Any]


def data_fields(struct: type) -> Iterator[DataField]:
    """Yield the fields of a struct, in their order."""
    for field in msgspec.structs.fields(struct):
        kind, description = type_info(field.type), ""
        examples: Sequence[Any] = ()
        while isinstance(kind, Metadata):
            said = kind.extra_json_schema or {}
            description, examples = said.get("description", description), said.get("examples", examples)
            kind = kind.type
        is_nullable = isinstance(kind, UnionType)
        if isinstance(kind, UnionType):
            [kind] = [option for option in kind.types if not isinstance(option, NoneType)]
        default = None if field.default is NODEFAULT else field.default
        yield DataField(field.encode_name, kind, field.required, is_nullable, default, description, examples)


def allowed_values(kind: Type) -> list[str] | None:
    """Return the values of an enumeration; None for any other kind of field."""
    if isinstance(kind, EnumType):
        return [member.value for member in kind.cls]
    return [*map(str, kind.values)] if isinstance(kind, LiteralType) else None


def json_schema(event_type: str) -> dict[str, Any]:
    """Return the closed JSON Schema (2020-12) of a type's data; raises `KeyError` for an unknown type."""
    data_type = DATA_TYPES[event_type]
    heading = {"$schema": _SCHEMA_DIALECT, "$id": f"urn:milepost:{event_type}", "title": event_type}
    return heading | {"description": first_line(data_type)} | _object_schema(data_type)


def first_line(struct: type) -> str:
    """Return what a type says about itself."""
    return (struct.__doc__ or "").partition("\n")[0]


def _object_schema(struct: type) -> dict[str, Any]:
    fields = [*data_fields(struct)]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field_schema(field) for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if field.is_required]
    return schema | {"required": required} if required else schema


def _field_schema(field: DataField) -> dict[str, Any]:
    schema = _kind_schema(field.kind)
    if field.is_nullable:
        # Null and absent are alike.
        schema["type"] = [schema["type"], "null"]
    said = {"description": field.description, "default": field.default, "examples": [*field.examples]}
    return {name: content for name, content in said.items() if content not in (None, "", [])} | schema


def _kind_schema(kind: Type) -> dict[str, Any]:
    values = allowed_values(kind)
    if values is not None:
        return {"type": "string", "enum": values}
    if isinstance(kind, StructType):
        return _object_schema(kind.cls)
    if isinstance(kind, DateType):
        return {"type": "string", "format": "date", "pattern": _DATE_PATTERN}
    if isinstance(kind, IntType | FloatType):
        limits: Mapping[str, Any] = {"minimum": kind.ge, "maximum": kind.le}
        return {"type": "integer" if isinstance(kind, IntType) else "number"} | _without_none(limits)
    if isinstance(kind, StrType):
        limits = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": _portable_pattern(kind)}
        return {"type": "string"} | _without_none(limits)
    raise TypeError(f"no JSON Schema of a {kind}")


def _portable_pattern(kind: StrType) -> str | None:
    r"""Return a pattern as ECMA-262 writes it, which has no `\A`, `\Z` and `\x`."""
    if kind.pattern is None:
        return None
    return kind.pattern.replace(r"\A", "^").replace(r"\Z", "$").replace(r"\x", r"\u00")


def _without_none(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: limit for name, limit in limits.items() if limit is not None}
