"""What was written of each programme after a revision of it: a condition, put together once for so many programmes.

To put a query together costs more than to execute it for a few rows, and every drawing asks several.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_


def written_since(
    programme: ColumnElement[str], revision: ColumnElement[int | None], count: int
) -> ColumnElement[bool]:
    """Return the condition for so many programmes, to be executed with `parameters`."""
    return or_(
        *(
            (programme == bindparam(f"programme_{number}")) & (revision > bindparam(f"revision_{number}"))
            for number in range(count)
        )
    )


def parameters(since: Mapping[str, int]) -> dict[str, Any]:
    """Return what a condition of as many programmes is executed with."""
    named: dict[str, Any] = {}
    for number, (programme, revision) in enumerate(since.items()):
        named[f"programme_{number}"], named[f"revision_{number}"] = programme, revision
    return named
