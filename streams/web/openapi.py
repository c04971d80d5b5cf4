"""The description of the API, made of the operations it has and of the classes it answers with."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from models.domain.events import SLUG_PATTERN
from streams.web import urls
from streams.web.api import Operation, QueryParameter
from streams.web.schemas import ErrorSchema, ProgrammeUpdateSchema, VersionSchema

_REF_TEMPLATE: Final = "#/components/schemas/{name}"
_SLUG_SCHEMA: Final = {"type": "string", "pattern": f"^{SLUG_PATTERN}$"}
_ETAG_HEADER: Final = {
    "description": "Names what is sent: send it as If-None-Match to be told when nothing is new.",
    "schema": {"type": "string"},
}
_ERROR_DESCRIPTIONS: Final = {
    "400": "The question cannot be answered as it is put.",
    "404": "There is no such thing.",
    "503": "The database does not answer, or too many are asking.",
}


def build_openapi(operations: Sequence[Operation]) -> bytes:
    """Return the OpenAPI document, as JSON."""
    types: list[type[Struct]] = [
        *(operation.response_schema for operation in operations),
        ErrorSchema,
        ProgrammeUpdateSchema,
        VersionSchema,
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF_TEMPLATE)
    answered = dict(zip((kind.__name__ for kind in types), schemas, strict=True))
    paths: dict[str, Any] = {one.path: {"get": _operation_object(one, answered)} for one in operations}
    paths[urls.STREAM_PATH] = {"get": _stream_path_item(answered)}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Milepost",
            "version": version("milepost"),
            "description": "How milestones stand, why, and who waits for whom. Everything is read; nothing is written.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def _operation_object(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", operation.path)
    path = [{"name": name, "in": "path", "required": True, "schema": _SLUG_SCHEMA} for name in names]
    ok: dict[str, Any] = {
        "description": (operation.response_schema.__doc__ or "").strip(),
        "content": {"application/json": {"schema": schemas[operation.response_schema.__name__]}},
    }
    answers: dict[str, Any] = {"200": ok}
    if operation.path != "/api/pipeline":
        ok["headers"] = {"ETag": _ETAG_HEADER}
        answers["304"] = {"description": "Nothing is new."}
    return {
        "operationId": operation.handler.__name__.strip("_"),
        "summary": operation.summary,
        "parameters": [*path, *map(_parameter_object, operation.query_parameters)],
        "responses": answers | _error_responses(schemas),
    }


def _parameter_object(parameter: QueryParameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": parameter.minimum, "maximum": parameter.maximum}
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}


def _stream_path_item(schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "stream",
        "summary": "Server-sent events: one of the type `drawn` for each programme that is drawn anew.",
        "parameters": [
            {
                "name": "programme",
                "in": "query",
                "description": "Tell of this one only, first of what it is drawn now.",
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {
                "description": (
                    "Goes on until either side ends it; a comment every few seconds shows that it lives. Asked for all"
                    " programmes, one of the type `turn` names, first and after any change, what all are drawn of."
                ),
                "content": {
                    "text/event-stream": {
                        "schema": {"anyOf": [schemas[ProgrammeUpdateSchema.__name__], schemas[VersionSchema.__name__]]}
                    }
                },
            }
        }
        | _error_responses(schemas),
    }


def _error_responses(schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        status: {"description": what, "content": {"application/json": {"schema": schemas[ErrorSchema.__name__]}}}
        for status, what in _ERROR_DESCRIPTIONS.items()
    }
