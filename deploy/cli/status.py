"""`milepost status`: how every milestone stands on a day, and which dependencies were set aside to tell it."""

from itertools import groupby
from typing import Final

from deploy.cli.console import STATE_STYLES, ConsoleColumn, day_text, print_rows, slip_text
from models.views.status import StatusReport, StatusRow

_STATUS_COLUMNS: Final = (
    ConsoleColumn("programme"),
    ConsoleColumn("project", is_group_heading=True),
    ConsoleColumn("milestone"),
    ConsoleColumn("baseline", drop_order=5),
    ConsoleColumn("planned", drop_order=3),
    ConsoleColumn("estimated", drop_order=1),
    ConsoleColumn("actual", drop_order=2),
    ConsoleColumn("forecast"),
    ConsoleColumn("slip", align_right=True),
    ConsoleColumn("float", align_right=True, drop_order=4),
    ConsoleColumn("state", style_by_cell=STATE_STYLES),
    ConsoleColumn("driver", break_after="/"),
)


def print_status(report: StatusReport, *, is_terminal: bool) -> None:
    """Print the rows for people: in a pipe as one list of columns, in a terminal a table and a timeline a programme."""
    if not is_terminal:
        print_rows(_STATUS_COLUMNS, [_status_cells(row) for row in report.rows])
        return
    from deploy.cli.timeline import print_legend, print_timeline  # noqa: PLC0415 - loads Rich, which a pipe need not wait for

    drawn = False
    for programme, its in groupby(report.rows, key=lambda row: row.programme):
        table = list(its)
        print_rows(
            _STATUS_COLUMNS[1:], [_status_cells(row)[1:] for row in table], f"{programme}, revision {table[0].revision}"
        )
        drawn |= print_timeline(table, report.data_date)
    if drawn:
        print_legend(report.rows)


def _status_cells(row: StatusRow) -> list[str]:
    days = (row.baseline, row.planned, row.estimated, row.actual, row.forecast)
    return [
        row.programme,
        row.project,
        row.milestone,
        *map(day_text, days),
        slip_text(row.slip_days),
        "" if row.float_days is None else str(row.float_days),
        row.state,
        row.driver or "",
    ]
