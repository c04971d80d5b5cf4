"""The text format of Prometheus: what a metric family says of itself, and how labels and values are written."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: What ends a line or a label value, and control characters, which no terminal, page or parser should get.
_UNSAFE_CHARACTERS: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
#: Units of several families.
TIMESTAMP_UNIT: Final = "seconds since 1970, UTC"
MONEY_UNIT: Final = "units of the currency"


class Family(NamedTuple):
    """What a metric family is."""

    name: str
    help: str
    unit: str
    labels: tuple[str, ...]
    #: Whether the contract promises it.
    is_stable: bool = True
    type: str = "gauge"


def escape_label_value(text: str) -> str:
    """Return text as it may stand between the quotes of a label value."""
    return _UNSAFE_CHARACTERS.sub(lambda match: _ESCAPES.get(match[0], "\N{REPLACEMENT CHARACTER}"), text)


def format_labels(names: Sequence[str], values: Sequence[str]) -> str:
    """Return a label set, escaped, without braces."""
    return ",".join(f'{name}="{escape_label_value(value)}"' for name, value in zip(names, values, strict=True))


def format_value(value: float) -> str:
    """Return a sample's value."""
    # Whole numbers print short; jobs may be integers beyond any float's range.
    if isinstance(value, int):
        return str(value) if abs(value) < 10**300 else "+Inf"
    return repr(value)
