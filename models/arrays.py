"""Columns of values as PostgreSQL arrays, written as text: one parameter for any number of rows.

The driver's own way to send a list asks about every element's type and searches it with a regular expression;
that costs more than everything else a batch needs in Python.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    Dialect,
    Integer,
    LargeBinary,
    Text,
    TypeDecorator,
    bindparam,
    cast,
)
from sqlalchemy.types import TypeEngine

from models.tables import JsonText, json_text

#: Types whose values as Python writes them need no quotes in an array.
_PLAIN: Final = (BigInteger, Boolean, Date, Integer)


def array_of(name: str, element: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return the array of so named a parameter, to be executed with a list of values of an element's type."""
    return cast(bindparam(name, type_=_Written(element)), ARRAY(element))


class _Written(TypeDecorator[Any]):
    """A list of values as the text that PostgreSQL reads an array from (its manual, section 8.15.2)."""

    impl = Text
    cache_ok = True

    def __init__(self, element: TypeEngine[Any]) -> None:
        super().__init__()
        self._write = _writer_of(element)

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str:  # noqa: ARG002, ANN401 - SQLAlchemy's signature
        """Encode."""
        return "{" + ",".join(self._write(value or ())) + "}"


def _writer_of(element: TypeEngine[Any]) -> Callable[[Sequence[Any]], Iterable[str]]:
    if isinstance(element, JsonText):
        return _json
    if isinstance(element, LargeBinary):
        return _binary
    return _plain if isinstance(element, _PLAIN) else _text


def _text(values: Sequence[str | None]) -> Iterable[str]:
    # Looked for in all of them at once, because there is hardly ever anything to escape.
    together = "".join(filter(None, values))
    if '"' in together or "\\" in together:
        values = [value and value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return ["NULL" if value is None else f'"{value}"' for value in values]


def _json(values: Sequence[Any]) -> Iterable[str]:
    return _text([json_text(value) for value in values])


def _binary(values: Sequence[bytes | None]) -> Iterable[str]:
    return ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]


def _plain(values: Sequence[object]) -> Iterable[str]:
    return ["NULL" if value is None else str(value) for value in values]
