"""The command that compares the tables with the ledger: `milepost rebuild`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli_options import Database, Json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from models.comparison import Difference

#: How many differences are printed as lines, at most.
_SHOWN: Final = 100


def rebuild(
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only compare.")] = False,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Fold the ledger in the database again, and put right what differs.

    With --diff nothing is written, and it fails when anything differs.
    """
    from models.refold import compare_with_ledger, put_right  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    with _engine(read_settings(database=database).database) as engine:
        wrong = compare_with_ledger(engine) if diff else put_right(engine)
    _print(wrong, as_json=as_json)
    if not as_json:
        typer.echo(f"{len(wrong)} differences" if diff else f"put right {len(wrong)} differences")
    if diff and wrong:
        raise typer.Exit(1)


@contextmanager
def _engine(url: str) -> "Iterator[Engine]":
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - heavy

    from models.database import DatabaseError, check_schema, connect, first_line, shown  # noqa: PLC0415 - heavy

    engine = connect(url)
    try:
        check_schema(engine)
        yield engine
    except DBAPIError as error:
        raise DatabaseError(
            f"database {shown(engine)} cannot be compared: {first_line(error)}; nothing was changed, try again"
        ) from None
    finally:
        engine.dispose()


def _print(wrong: "Sequence[Difference]", *, as_json: bool) -> None:
    from deploy.printing import printable  # noqa: PLC0415 - light, but for this alone

    if as_json:
        rows = [{"where": one.where, "expected": one.expected, "found": one.found} for one in wrong]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        typer.echo("[" + ",\n ".join(map(json.dumps, rows)) + "]")
        return
    for one in wrong[:_SHOWN]:
        typer.echo(printable(str(one)))
    if len(wrong) > _SHOWN:
        typer.echo(f"and {len(wrong) - _SHOWN} more")
