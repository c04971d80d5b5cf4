"""The OpenAPI document, made of the API's operations and response schemas."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from models.domain.events import SLUG_PATTERN
from streams.web import urls
from streams.web.api import Operation, QueryParameter
from streams.web.freshness import FreshnessSchema
from streams.web.picture_parameters import PICTURE_PARAMETERS
from streams.web.schemas import ErrorSchema, ProgrammeUpdateSchema, VersionSchema

_SLUG_SCHEMA: Final = {"type": "string", "pattern": f"^{SLUG_PATTERN}$"}
_ETAG_HEADER: Final = {
    "description": "Identifies the content: send it as If-None-Match to receive only changes.",
    "schema": {"type": "string"},
}
_ERROR_DESCRIPTIONS: Final = {
    "400": "The query is invalid.",
    "404": "The resource does not exist.",
    "405": "The method is not GET or HEAD; `Allow` names them.",
    "406": "The client takes the response neither compressed nor plain.",
    "421": "The server does not answer to the name in the request's `Host`.",
    "503": "The database does not answer, there are too many requests, or another day than today takes too long.",
}


def build_openapi(operations: Sequence[Operation]) -> bytes:
    """Return the OpenAPI document, as JSON."""
    types: list[type[Struct]] = [operation.build.__annotations__["return"] for operation in operations]
    types += [ErrorSchema, FreshnessSchema, ProgrammeUpdateSchema, VersionSchema]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, references, strict=True))
    errors = {
        status: {"description": description, "content": {"application/json": {"schema": schemas[ErrorSchema]}}}
        for status, description in _ERROR_DESCRIPTIONS.items()
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Milepost",
            "version": version("milepost"),
            "description": "The status of milestones, its reasons, and what waits for what. All operations only read.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            **{operation.path: {"get": _operation_object(operation, schemas, errors)} for operation in operations},
            urls.STREAM_PATH: {"get": _stream_operation_object(schemas, errors)},
        },
        "components": {"schemas": components},
    }
    # Amounts are numbers in our JSON, and not texts, as msgspec describes decimal numbers.
    encoded = msgspec.json.encode(document).replace(b'"type":"string","format":"decimal"', b'"type":"number"')
    return msgspec.json.format(encoded, indent=1)


def _operation_object(operation: Operation, schemas: dict[type[Struct], Any], errors: dict[str, Any]) -> dict[str, Any]:
    schema: type[Struct] = operation.build.__annotations__["return"]
    names = re.findall(r"{(\w+)}", operation.path)
    path = [{"name": name, "in": "path", "required": True, "schema": _SLUG_SCHEMA} for name in names]
    ok: dict[str, Any] = {
        "description": (schema.__doc__ or "").strip(),
        "content": {"application/json": {"schema": schemas[schema]}},
    }
    responses: dict[str, Any] = {"200": ok}
    of_picture = [
        {"name": name, "in": "query", "description": parameter.description, "schema": parameter.schema}
        for name, parameter in PICTURE_PARAMETERS.items()
        if operation.takes_picture
    ]
    if operation.is_cached:
        ok["headers"] = {"ETag": _ETAG_HEADER}
        responses["304"] = {"description": "The content has not changed."}
    return {
        "operationId": operation.build.__name__,
        "summary": operation.build.__doc__,
        "parameters": [*path, *map(_parameter_object, operation.query_parameters), *of_picture],
        "responses": responses | errors,
    }


def _parameter_object(parameter: QueryParameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": parameter.minimum, "maximum": parameter.maximum}
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}


def _stream_operation_object(schemas: dict[type[Struct], Any], errors: dict[str, Any]) -> dict[str, Any]:
    description = (
        "Continues until either side ends it; a comment every few seconds keeps the connection open. For all"
        " programmes, an event of the type `turn` has their version, first and after every change. One of the type"
        " `freshness` says how fresh the board is, first and after every change."
    )
    parameter = {
        "name": "programme",
        "in": "query",
        "description": "Only notices of this programme; the first has its current version.",
        "schema": _SLUG_SCHEMA,
    }
    notice = {"anyOf": [schemas[kind] for kind in (ProgrammeUpdateSchema, VersionSchema, FreshnessSchema)]}
    ok = {"description": description, "content": {"text/event-stream": {"schema": notice}}}
    return {
        "operationId": "stream",
        "summary": "Server-sent events: one of the type `drawn` for each recalculated programme.",
        "parameters": [parameter],
        "responses": {**errors, "200": ok},
    }
