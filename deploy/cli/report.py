"""`milepost report`: what was said in a span, what was said late, and what comes, for people to read."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from deploy.cli.options import DatabaseOption, utc_now
from models.configured_engine import open_configured_engine
from models.settings import read_settings
from models.views.queries import query_transaction, require_programme
from models.views.report import parse_span, read_report
from models.views.report_json import report_to_json
from models.views.report_text import report_to_markdown, report_to_text

app = typer.Typer(rich_markup_mode=None)


class ReportFormat(StrEnum):
    """The forms of a report."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


@app.command()
def report(
    programme: Annotated[
        str | None, typer.Argument(help="Only this programme; else all with something to say.")
    ] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="The first day (UTC), or a time; else seven days before the last."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DAY", help="The last day (UTC), or the time of the end; else today.")
    ] = None,
    report_format: Annotated[ReportFormat, typer.Option("--format", help="The form.")] = ReportFormat.TEXT,
    database: DatabaseOption = None,
) -> None:
    """Report what was said in a span of days, and what comes."""
    now = utc_now()
    try:
        span = parse_span(since, until, now.date())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since, --until") from None
    settings = read_settings(database=database)
    with open_configured_engine(settings) as engine, query_transaction(engine) as connection:
        names: Sequence[str] | None = None
        if programme is not None:
            require_programme(connection, programme)
            names = [programme]
        found = read_report(connection, names, span, now.date(), now.timestamp())
    match report_format:
        case ReportFormat.JSON:
            sys.stdout.write(report_to_json(found) + "\n")
        case ReportFormat.HTML:
            from streams.web.report_file import render_report_file  # noqa: PLC0415 - loads Jinja, for this form only

            sys.stdout.write(render_report_file(found, settings.board_url))
        case ReportFormat.MARKDOWN:
            sys.stdout.writelines(f"{line}\n" for line in report_to_markdown(found))
        case ReportFormat.TEXT:
            sys.stdout.writelines(f"{line}\n" for line in report_to_text(found))
