"""`milepost audit` compares the database with the events topic, `milepost rebuild` with its ledger."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

import consumers.audit
from deploy.cli.console import print_json_list
from deploy.cli.options import DatabaseOption, JsonOption, KafkaOption, print_line
from models.configured_engine import open_configured_engine
from models.database.consistency import Difference, diff_with_ledger, rebuild_tables
from models.database.engine import DatabaseError, check_schema, driver_message, redacted_url
from models.database.rights import READER_TABLE_RIGHTS, WORKER_TABLE_RIGHTS, require_table_rights
from models.settings import Settings, read_settings
from models.text import printable
from models.views.formatting import format_count

app = typer.Typer(rich_markup_mode=None)

_MAX_PRINTED_DIFFERENCES: Final = 100


@app.command()
def audit(*, kafka: KafkaOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Compare the database with the events topic.

    Reads the topic from its start and folds the events. Fails when anything differs.
    """
    settings = read_settings(kafka=kafka, database=database)
    with _open_database(settings) as engine:
        differences, summary = consumers.audit.audit(settings, engine)
    lines = [f"not read yet: {summary.unread:,}"] if summary.unread else []
    if summary.expired:
        consequence = "their ledger rows could not be compared with it"
        lines.append(
            f"{format_count(summary.expired, 'record is', 'records are')} no longer in the topic; {consequence}"
        )
    lines.append(
        f"{format_count(len(differences), 'difference')}; {format_count(summary.records_read, 'record')} read:"
        f" {summary.accepted:,} accepted, {format_count(summary.duplicates, 'duplicate')},"
        f" {summary.rejected:,} waiting as dead letters, {summary.resolved:,} replayed or discarded;"
        f" {format_count(summary.programmes, 'programme')}, {format_count(summary.milestones, 'milestone')}"
    )
    _print_report(differences, lines, as_json=as_json)
    if differences:
        raise typer.Exit(1)


@app.command()
def rebuild(
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only compare.")] = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the database with its ledger, and repair it.

    With --diff nothing is written, and it fails when anything differs.
    """
    needed = READER_TABLE_RIGHTS if diff else WORKER_TABLE_RIGHTS
    with _open_database(read_settings(database=database), needed) as engine:
        differences = diff_with_ledger(engine) if diff else rebuild_tables(engine)
    _print_report(
        differences, [f"{'' if diff else 'repaired '}{format_count(len(differences), 'difference')}"], as_json=as_json
    )
    if diff and differences:
        raise typer.Exit(1)


@contextmanager
def _open_database(settings: Settings, needed: Sequence[str] = READER_TABLE_RIGHTS) -> Iterator[Engine]:
    with open_configured_engine(settings) as engine:
        try:
            check_schema(engine)
            require_table_rights(engine, needed)
            yield engine
        except DBAPIError as error:
            raise DatabaseError(
                f"database {redacted_url(engine)} cannot be compared: {driver_message(error)}; nothing was"
                " changed, try again"
            ) from None


def _print_report(differences: Sequence[Difference], summary: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json_list({"where": d.where, "expected": d.expected, "found": d.found} for d in differences)
        return
    for difference in differences[:_MAX_PRINTED_DIFFERENCES]:
        print_line(printable(str(difference)))
    if len(differences) > _MAX_PRINTED_DIFFERENCES:
        print_line(f"and {len(differences) - _MAX_PRINTED_DIFFERENCES} more")
    for line in summary:
        print_line(line)
