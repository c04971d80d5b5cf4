"""The status as CSV (RFC 4180), for spreadsheets: `milepost status --csv` and the board's `status.csv`.

A spreadsheet takes a cell that begins like a formula for one, even a quoted one. Texts come from other parties, so
those get an apostrophe in front; numbers stay numbers.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from models.domain.schedule import MilestoneStatus
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
#: Only beside another picture: what the milestone was in that one.
_COMPARED_COLUMNS: Final = ("compared_forecast", "compared_slip_days", "compared_state", "moved_days")

Cell = str | int | date | None


class ComparedRow(NamedTuple):
    """A milestone in a picture and in the one with which it is compared: in both of them, or in one."""

    row: StatusRow | None
    former: MilestoneStatus | None = None
    moved_days: int | None = None


def status_to_csv(rows: Sequence[StatusRow]) -> str:
    """Return the rows as CSV, with a line of names in front."""
    return _to_csv([ComparedRow(row) for row in rows], is_compared=False)


def compared_to_csv(rows: Sequence[ComparedRow]) -> str:
    """Return the same beside another picture; what is in that one alone has cells for what it was, and no others."""
    return _to_csv(rows, is_compared=True)


def _to_csv(rows: Sequence[ComparedRow], *, is_compared: bool) -> str:
    is_assumed = any(row is not None and row.assumed is True for row, *_ in rows)
    added = (*(_ASSUMED_COLUMNS if is_assumed else ()), *(_COMPARED_COLUMNS if is_compared else ()))
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow([*_COLUMNS, *_HELD_UP_COLUMNS, *added])
    columns = len(_COLUMNS) + len(_HELD_UP_COLUMNS) + len(_ASSUMED_COLUMNS) * is_assumed
    for row, former, moved_days in rows:
        if row is not None:
            cells = [*_cells(row, is_assumed=is_assumed)]
        elif former is not None:
            names: tuple[Cell, ...] = (former.programme, former.project, former.milestone, former.name)
            cells = [*names, *(None,) * (columns - len(names))]
        if is_compared:
            cells += (None,) * 3 if former is None else (former.forecast, former.slip_days, former.state)
            cells.append(moved_days)
        writer.writerow(map(_harmless, cells))
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
    # Some programs drop blanks in front before they look for a formula.
    is_formula = cell.startswith(_FORMULA_STARTS) or cell.lstrip().startswith(_FORMULA_STARTS)
    return f"'{printable(cell)}" if is_formula else printable(cell)
