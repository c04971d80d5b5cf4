"""The commands that compare what is kept with what was said: `milepost audit` and `milepost rebuild`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.options import DatabaseOption, JsonOption, KafkaOption

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from models.database.consistency import Difference


#: How many differences are printed as lines, at most.
_MAX_PRINTED_DIFFERENCES: Final = 100


def audit(*, kafka: KafkaOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Read the events topic from its start, fold it, and compare with the database.

    Fails when anything differs.
    """
    from consumers import audit as auditing  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(kafka=kafka, database=database)
    with _audited_engine(settings.database) as engine:
        wrong, summary = auditing.audit(settings, engine)
    _print_differences(wrong, as_json=as_json)
    if not as_json:
        if summary.unread:
            typer.echo(f"not read yet: {summary.unread}")
        if summary.expired:
            typer.echo(f"{summary.expired} records are no longer in the topic; their ledger rows are taken on trust")
        typer.echo(
            f"{len(wrong)} differences; {summary.records_read} events read: {summary.accepted} accepted,"
            f" {summary.duplicates} duplicates, {summary.rejected} rejected, {summary.resolved} replayed or discarded;"
            f" {summary.programmes} programmes, {summary.milestones} milestones"
        )
    if wrong:
        raise typer.Exit(1)


def rebuild(
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only compare.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fold the ledger in the database again, and put right what differs.

    With --diff nothing is written, and it fails when anything differs.
    """
    from models.database.consistency import diff_with_ledger, rebuild_tables  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    with _audited_engine(read_settings(database=database).database) as engine:
        wrong = diff_with_ledger(engine) if diff else rebuild_tables(engine)
    _print_differences(wrong, as_json=as_json)
    if not as_json:
        typer.echo(f"{len(wrong)} differences" if diff else f"put right {len(wrong)} differences")
    if diff and wrong:
        raise typer.Exit(1)


@contextmanager
def _audited_engine(url: str) -> "Iterator[Engine]":
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - heavy

    from models.database.engine import DatabaseError, check_schema, driver_message, make_engine, redacted_url  # noqa: PLC0415 - heavy

    engine = make_engine(url)
    try:
        check_schema(engine)
        yield engine
    except DBAPIError as error:
        raise DatabaseError(
            f"database {redacted_url(engine)} cannot be compared: {driver_message(error)}; nothing was"
            " changed, try again"
        ) from None
    finally:
        engine.dispose()


def _print_differences(differences: "Sequence[Difference]", *, as_json: bool) -> None:
    from models.text import printable  # noqa: PLC0415 - light, but for this alone

    if as_json:
        rows = [{"where": one.where, "expected": one.expected, "found": one.found} for one in differences]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        typer.echo("[" + ",\n ".join(map(json.dumps, rows)) + "]")
        return
    for one in differences[:_MAX_PRINTED_DIFFERENCES]:
        typer.echo(printable(str(one)))
    if len(differences) > _MAX_PRINTED_DIFFERENCES:
        typer.echo(f"and {len(differences) - _MAX_PRINTED_DIFFERENCES} more")
