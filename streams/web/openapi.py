"""The description of the API, made of the operations it has and of the classes it answers with."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec
from msgspec import Struct

from models.domain.events import SLUG
from streams.web import urls
from streams.web.api import Operation, Parameter
from streams.web.schemas import Notice, Problem, Turn

_REFERENCES: Final = "#/components/schemas/{name}"
_SLUG: Final = {"type": "string", "pattern": f"^{SLUG}$"}
_TAGGED: Final = {
    "description": "Names what is sent: send it as If-None-Match to be told when nothing is new.",
    "schema": {"type": "string"},
}
_PROBLEMS: Final = {
    "400": "The question cannot be answered as it is put.",
    "404": "There is no such thing.",
    "503": "The database does not answer, or too many are asking.",
}


def describe(operations: Sequence[Operation]) -> bytes:
    """Return the OpenAPI document, as JSON."""
    types: list[type[Struct]] = [*(operation.answers for operation in operations), Problem, Notice, Turn]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCES)
    answered = dict(zip((kind.__name__ for kind in types), schemas, strict=True))
    paths: dict[str, Any] = {one.path: {"get": _operation(one, answered)} for one in operations}
    paths[urls.STREAM] = {"get": _stream(answered)}
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


def _operation(one: Operation, answered: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", one.path)
    path = [{"name": name, "in": "path", "required": True, "schema": _SLUG} for name in names]
    ok: dict[str, Any] = {
        "description": (one.answers.__doc__ or "").strip(),
        "content": {"application/json": {"schema": answered[one.answers.__name__]}},
    }
    answers: dict[str, Any] = {"200": ok}
    if one.path != "/api/pipeline":
        ok["headers"] = {"ETag": _TAGGED}
        answers["304"] = {"description": "Nothing is new."}
    return {
        "operationId": one.handler.__name__.strip("_"),
        "summary": one.what,
        "parameters": [*path, *map(_parameter, one.query)],
        "responses": answers | _problems(answered),
    }


def _parameter(one: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": one.least, "maximum": one.most}
    if one.usual is not None:
        schema["default"] = one.usual
    return {"name": one.name, "in": "query", "description": one.what, "schema": schema}


def _stream(answered: dict[str, Any]) -> dict[str, Any]:
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
                    "text/event-stream": {"schema": {"anyOf": [answered[Notice.__name__], answered[Turn.__name__]]}}
                },
            }
        }
        | _problems(answered),
    }


def _problems(answered: dict[str, Any]) -> dict[str, Any]:
    return {
        status: {"description": what, "content": {"application/json": {"schema": answered[Problem.__name__]}}}
        for status, what in _PROBLEMS.items()
    }
