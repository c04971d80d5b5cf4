"""`milepost status`: every milestone on a day, and the dependencies that were set aside because they close a cycle."""

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Final

import typer

from deploy.cli.console import STATE_STYLES, ConsoleColumn, ConsoleLine, print_lines, print_rows, slip_text
from deploy.cli.options import DatabaseOption, JsonOption, print_to_stderr
from deploy.cli.query import AsOfOption, AssumeOption, DataDateOption, parse_assumptions, parse_query
from models.configured_engine import open_configured_engine
from models.settings import read_settings
from models.views.names import milestone_name, with_slug
from models.views.status import StatusReport, StatusRow, describe_cycle, read_status, status_to_json
from models.views.status_csv import status_to_csv

app = typer.Typer(rich_markup_mode=None)

_STATUS_COLUMNS: Final = (
    *map(ConsoleColumn, ("programme", "project", "milestone")),
    ConsoleColumn("baseline", no_wrap=True),
    # The forecast follows from these.
    *(ConsoleColumn(name, no_wrap=True, optional=True) for name in ("planned", "estimated", "actual")),
    ConsoleColumn("forecast", no_wrap=True),
    *(ConsoleColumn(name, align_right=True, no_wrap=True) for name in ("slip", "float")),
    ConsoleColumn("state", no_wrap=True, style_by_cell=STATE_STYLES),
    ConsoleColumn("driver"),
    # In a terminal it stands first.
    ConsoleColumn("name"),
)


_MOVE_COLUMNS: Final = (
    ConsoleColumn("milestone"),
    *(ConsoleColumn(name, no_wrap=True) for name in ("as said", "assumed")),
    ConsoleColumn("moves", align_right=True, no_wrap=True),
)


@app.command()
def status(  # noqa: PLR0913 - each is an option of the command
    programme: Annotated[str | None, typer.Argument(help="Only this programme.")] = None,
    *,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    data_date: DataDateOption = None,
    as_of: AsOfOption = None,
    assume: AssumeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
) -> None:
    """Show the status of every milestone.

    With --assume, as if each day were the newest estimate of its milestone: shows what moves, and writes nothing.
    """
    if as_json and as_csv:
        raise typer.BadParameter("say one of them", param_hint="--json, --csv")
    query = parse_query(data_date, as_of, programme, project)._replace(assumptions=parse_assumptions(assume))
    with open_configured_engine(read_settings(database=database)) as engine:
        report = read_status(engine, query)
    if as_json:
        typer.echo(status_to_json(report.rows), nl=False)
    elif as_csv:
        typer.echo(status_to_csv(report.rows), nl=False)
    elif report.rows:
        print_status(report, is_terminal=sys.stdout.isatty())
    else:
        print_to_stderr("milepost: no milestones yet")
    for dependency in report.cyclic:
        print_to_stderr(f"milepost: {describe_cycle(dependency)}")


def print_status(report: StatusReport, *, is_terminal: bool) -> None:
    """Print the rows: in a pipe as one list of columns, in a terminal as a table and a timeline per programme.

    In front of rows with assumed dates stands what is assumed, and behind them what moves with that.
    """
    print_lines(_assumption_lines(report))
    if is_terminal:
        _print_tables(report)
    else:
        # Names have spaces: they stand last, and only where somebody gave some.
        columns = _STATUS_COLUMNS if any(row.name for row in report.rows) else _STATUS_COLUMNS[:-1]
        print_rows(columns, (_status_cells(row)[: len(columns)] for row in report.rows))
    _print_moves(report)


def _print_tables(report: StatusReport) -> None:
    from deploy.cli.timeline import print_legend, print_timeline  # noqa: PLC0415 - loads Rich, for a terminal only

    has_timeline = False
    for programme, group in groupby(report.rows, key=lambda row: row.programme):
        rows = list(group)
        cells = []
        names = report.names_of(programme)
        for project, project_rows in groupby(rows, key=lambda row: row.project):
            cells.append([with_slug(names.project(project), project), *[""] * (len(_STATUS_COLUMNS) - 4)])
            for row in project_rows:
                milestone = with_slug(milestone_name(row.milestone, row.name), row.milestone)
                cells.append([f"  {milestone}", *_status_cells(row)[3:-1]])
        print_rows(_STATUS_COLUMNS[2:-1], cells, f"{programme}, revision {rows[0].revision}")
        has_timeline |= print_timeline(rows, report.data_date)
    if has_timeline:
        print_legend(report.rows)


def _assumption_lines(report: StatusReport) -> Iterator[ConsoleLine]:
    for ref, day in report.assumptions:
        yield ConsoleLine(
            f"ASSUMED: {ref} comes on {day}. Nobody said so, and nothing is written.", style="bold reverse"
        )
    if report.assumptions:
        yield ConsoleLine("")


def _print_moves(report: StatusReport) -> None:
    if not report.assumptions:
        return
    print_lines([ConsoleLine(""), ConsoleLine(_moves_headline(report), style="bold")])
    cells = [
        [str(move.after.ref), str(move.before.forecast or "none"), str(move.after.forecast), slip_text(move.days)]
        for move in report.moves
    ]
    if cells:
        print_rows(_MOVE_COLUMNS, cells)


def _moves_headline(report: StatusReport) -> str:
    if not report.moves:
        return "With what is assumed, nothing moves."
    others = sum(move.after.ref not in {ref for ref, _ in report.assumptions} for move in report.moves)
    return f"With what is assumed, {others} other milestone{'' if others == 1 else 's'} would move:"


def _status_cells(row: StatusRow) -> list[str]:
    days = (str(day or "") for day in (row.baseline, row.planned, row.estimated, row.actual, row.forecast))
    numbers = (slip_text(row.slip_days), "" if row.float_days is None else str(row.float_days))
    return [row.programme, row.project, row.milestone, *days, *numbers, row.state, row.driver or "", row.name or ""]
