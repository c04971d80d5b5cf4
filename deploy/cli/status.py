"""`milepost status`: how every milestone stands on a day, and which dependencies were set aside to tell it."""

from itertools import groupby
from typing import Final

from deploy.cli.console import STATE_STYLES, Column, day_text, print_rows, slip_text
from models.views.status import Row, Status

_COLUMNS: Final = (
    Column("programme"),
    Column("project", heads=True),
    Column("milestone"),
    Column("baseline", spare=5),
    Column("planned", spare=3),
    Column("estimated", spare=1),
    Column("actual", spare=2),
    Column("forecast"),
    Column("slip", right=True),
    Column("float", right=True, spare=4),
    Column("state", styles=STATE_STYLES),
    Column("driver", breaks="/"),
)


def print_status(status: Status, *, terminal: bool) -> None:
    """Print the rows for people: in a pipe as one list of columns, in a terminal a table and a timeline a programme."""
    if not terminal:
        print_rows(_COLUMNS, [_cells(row) for row in status.rows])
        return
    from deploy.cli.timeline import print_key, print_timeline  # noqa: PLC0415 - loads Rich, which a pipe need not wait for

    drawn = False
    for programme, its in groupby(status.rows, key=lambda row: row.programme):
        table = list(its)
        print_rows(_COLUMNS[1:], [_cells(row)[1:] for row in table], f"{programme}, revision {table[0].revision}")
        drawn |= print_timeline(table, status.data_date)
    if drawn:
        print_key(status.rows)


def _cells(row: Row) -> list[str]:
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
