"""`milepost status`: every milestone on a day, and the dependencies that were set aside because they close a cycle."""

import sys
from itertools import groupby
from typing import Annotated, Final

import typer

from deploy.cli.console import STATE_STYLES, ConsoleColumn, print_rows, slip_text
from deploy.cli.options import DatabaseOption, JsonOption, print_to_stderr
from deploy.cli.query import AsOfOption, DataDateOption, parse_query
from models.database.engine import open_engine
from models.settings import read_settings
from models.views.status import StatusReport, StatusRow, describe_cycle, read_status, status_to_json

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
)


@app.command()
def status(  # noqa: PLR0913 - each is an option of the command
    programme: Annotated[str | None, typer.Argument(help="Only this programme.")] = None,
    *,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    data_date: DataDateOption = None,
    as_of: AsOfOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the status of every milestone."""
    query = parse_query(data_date, as_of, programme, project)
    with open_engine(read_settings(database=database).database) as engine:
        report = read_status(engine, query)
    if as_json:
        typer.echo(status_to_json(report.rows), nl=False)
    elif report.rows:
        print_status(report, is_terminal=sys.stdout.isatty())
    else:
        print_to_stderr("milepost: no milestones yet")
    for dependency in report.cyclic:
        print_to_stderr(f"milepost: {describe_cycle(dependency)}")


def print_status(report: StatusReport, *, is_terminal: bool) -> None:
    """Print the rows: in a pipe as one list of columns, in a terminal as a table and a timeline per programme."""
    if not is_terminal:
        print_rows(_STATUS_COLUMNS, map(_status_cells, report.rows))
        return
    from deploy.cli.timeline import print_legend, print_timeline  # noqa: PLC0415 - loads Rich, for a terminal only

    has_timeline = False
    for programme, group in groupby(report.rows, key=lambda row: row.programme):
        rows = list(group)
        cells = []
        for project, project_rows in groupby(rows, key=lambda row: row.project):
            cells.append([project, *[""] * (len(_STATUS_COLUMNS) - 3)])
            cells.extend([f"  {row.milestone}", *_status_cells(row)[3:]] for row in project_rows)
        print_rows(_STATUS_COLUMNS[2:], cells, f"{programme}, revision {rows[0].revision}")
        has_timeline |= print_timeline(rows, report.data_date)
    if has_timeline:
        print_legend(report.rows)


def _status_cells(row: StatusRow) -> list[str]:
    days = (str(day or "") for day in (row.baseline, row.planned, row.estimated, row.actual, row.forecast))
    numbers = (slip_text(row.slip_days), "" if row.float_days is None else str(row.float_days))
    return [row.programme, row.project, row.milestone, *days, *numbers, row.state, row.driver or ""]
