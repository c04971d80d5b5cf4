"""The status as CSV (RFC 4180), for spreadsheets: `milepost status --csv` and the board's `status.csv`.

A spreadsheet takes a cell that begins like a formula for one, even a quoted one. Texts come from other parties, so
those get an apostrophe in front; numbers stay numbers.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from models.text import printable
from models.views.status import StatusRow

#: What a formula begins with, also in the width of East Asian characters.
_FORMULA_STARTS: Final = tuple(
    "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
_COLUMNS: Final = (
    *("programme", "project", "milestone", "name", "baseline", "planned", "estimated", "actual", "forecast"),
    *("slip_days", "float_days", "state", "driver", "revision", "dependents", "moved"),
)
_HELD_UP_COLUMNS: Final = ("held_up_projects", "held_up_investment", "held_up_jobs")
#: Only where dates are assumed, which nobody said.
_ASSUMED_COLUMNS: Final = ("forecast_as_said", "assumed")

Cell = str | int | date | None


def status_to_csv(rows: Sequence[StatusRow]) -> str:
    """Return the rows as CSV, with a line of names in front."""
    is_assumed = any(row.assumed is True for row in rows)
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow([*_COLUMNS, *_HELD_UP_COLUMNS, *(_ASSUMED_COLUMNS if is_assumed else ())])
    writer.writerows([_harmless(cell) for cell in _cells(row, is_assumed=is_assumed)] for row in rows)
    return output.getvalue()


def _cells(row: StatusRow, *, is_assumed: bool) -> Iterator[Cell]:
    yield from (getattr(row, name) for name in _COLUMNS)
    held_up = row.held_up
    yield held_up.projects
    yield "; ".join(f"{currency} {amount:f}" for currency, amount in held_up.investment.items())
    yield held_up.jobs
    if is_assumed:
        yield row.forecast_as_said if isinstance(row.forecast_as_said, date) else None
        yield "assumed"


def _harmless(cell: Cell) -> Cell:
    """Return a cell as a spreadsheet may have it: on one line, and no formula."""
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(_FORMULA_STARTS) else printable(cell)
