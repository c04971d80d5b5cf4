"""The commands that compare what is kept with what was said: `milepost audit` and `milepost rebuild`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.options import Database, Json, Kafka

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from models.database.consistency import Difference


#: How many differences are printed as lines, at most.
_SHOWN: Final = 100


def audit(*, kafka: Kafka = None, database: Database = None, as_json: Json = False) -> None:
    """Read the events topic from its start, fold it, and compare with the database.

    Fails when anything differs.
    """
    from consumers import audit as auditing  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(kafka=kafka, database=database)
    with _engine(settings.database) as engine:
        wrong, summary = auditing.audit(settings, engine)
    _print(wrong, as_json=as_json)
    if not as_json:
        if summary.not_read_yet:
            typer.echo(f"not read yet: {summary.not_read_yet}")
        if summary.gone:
            typer.echo(f"{summary.gone} records are no longer in the topic; their ledger rows are taken on trust")
        typer.echo(
            f"{len(wrong)} differences; {summary.read} events read: {summary.accepted} accepted,"
            f" {summary.duplicates} duplicates, {summary.rejected} rejected, {summary.settled} replayed or discarded;"
            f" {summary.programmes} programmes, {summary.milestones} milestones"
        )
    if wrong:
        raise typer.Exit(1)


def rebuild(
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only compare.")] = False,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Fold the ledger in the database again, and put right what differs.

    With --diff nothing is written, and it fails when anything differs.
    """
    from models.database.consistency import compare_with_ledger, put_right  # noqa: PLC0415 - heavy
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

    from models.database.engine import DatabaseError, check_schema, connect, first_line, shown  # noqa: PLC0415 - heavy

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
    from models.text import printable  # noqa: PLC0415 - light, but for this alone

    if as_json:
        rows = [{"where": one.where, "expected": one.expected, "found": one.found} for one in wrong]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        typer.echo("[" + ",\n ".join(map(json.dumps, rows)) + "]")
        return
    for one in wrong[:_SHOWN]:
        typer.echo(printable(str(one)))
    if len(wrong) > _SHOWN:
        typer.echo(f"and {len(wrong) - _SHOWN} more")
