"""Rows for people: a table in a terminal, aligned columns in a pipe; and text nobody vouches for, made harmless."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

from models.domain.schedule import State
from models.text import printable

#: What stands for nothing, so that every line of a pipe has as many words as columns.
EMPTY_CELL: Final = "-"

#: How Rich shows each state.
STATE_STYLES: Final[Mapping[str, str]] = {
    State.CANCELLED: "dim strike",
    State.ACHIEVED: "green",
    State.UNKNOWN: "dim",
    State.OVERDUE: "bold red",
    State.BLOCKED: "magenta",
    State.SLIPPING: "yellow",
    State.PLANNED: "cyan",
}


class ConsoleColumn(NamedTuple):
    """How one column is shown."""

    name: str
    align_right: bool = False
    #: Rich styles by cell, for a terminal.
    style_by_cell: Mapping[str, str] = {}
    #: In a terminal too narrow for all, cells continue on the next line behind this, before any column goes.
    break_after: str = ""
    #: In a terminal that is still too narrow, the column with the lowest number here goes first; 0 stays.
    drop_order: int = 0
    #: In a terminal, what the first column says stands above the rows that share it, not beside each of them.
    is_group_heading: bool = False


class ConsoleLine(NamedTuple):
    """A line of text for people."""

    text: str
    #: How many columns it stands in from the left, with all that wraps in a terminal.
    indent: int = 0
    #: A Rich style, for a terminal.
    style: str = ""


def print_rows(columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows of text to standard output; the title is for a terminal alone."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_table(columns, cells, title)
    else:
        _print_plain_rows(columns, cells)


def print_lines(lines: Iterable[ConsoleLine]) -> None:
    """Print lines to standard output; in a terminal they wrap below where they begin, in a pipe they do not wrap."""
    if not sys.stdout.isatty():
        for line in lines:
            sys.stdout.write(f"{' ' * line.indent}{printable(line.text)}".rstrip() + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second, which a pipe need not wait for
    from rich.padding import Padding  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console()
    for line in lines:
        if not line.text:
            console.print()
            continue
        console.print(Padding(Text(printable(line.text), line.style), (0, 0, 0, line.indent), expand=False))


def state_text_style(state: str) -> str:
    """Return how Rich shows text about something of a state; struck through, it would be hard to read."""
    return STATE_STYLES[state].replace(" strike", "")


def slip_text(days: int | None) -> str:
    """Return a slip as it is shown: late with a plus, early with a minus."""
    return "" if days is None else f"{days:+d}" if days else "0"


def day_text(day: date | None) -> str:
    """Return a day as it is shown."""
    return "" if day is None else day.isoformat()


def _print_plain_rows(columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]]) -> None:
    shown = [[column.name for column in columns], *([cell or EMPTY_CELL for cell in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)]
    for row in shown:
        padded = [
            cell.rjust(width) if column.align_right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_table(columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box  # noqa: PLC0415 - a tenth of a second, which a pipe need not wait for
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console()
    headed = columns[0].is_group_heading
    if headed:
        columns, rows = _group_under_headings(columns, rows)
    shown, left_out, broken = _fit_columns(columns, rows, console.width)
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for index in shown:
        column = columns[index]
        table.add_column(column.name, justify="right" if column.align_right else "left", overflow="fold")
    for row in rows:
        is_heading = headed and not any(row[1:])
        texts = [
            Text(
                row[index].replace(columns[index].break_after, f"{columns[index].break_after}\n")
                if index in broken
                else row[index],
                style=columns[index].style_by_cell.get(row[index], "bold" if is_heading else ""),
            )
            for index in shown
        ]
        table.add_row(*texts)
    if left_out:
        table.caption = f"not shown, the terminal is narrow: {', '.join(left_out)}"
        table.caption_justify = "left"
    console.print(table)


def _group_under_headings(
    columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]]
) -> tuple[Sequence[ConsoleColumn], Sequence[Sequence[str]]]:
    """Return columns and rows with what the first column says in rows of its own."""
    nothing = [""] * (len(columns) - 2)
    under: list[Sequence[str]] = []
    for heading, its in groupby(rows, key=lambda row: row[0]):
        under.append([heading, *nothing])
        under.extend([f"  {row[1]}", *row[2:]] for row in its)
    return columns[1:], under


def _fit_columns(
    columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]], terminal_width: int
) -> tuple[Sequence[int], Sequence[str], Sequence[int]]:
    """Return the columns to show, the names of those for which there is no room, and those whose cells break."""
    # A column in which nothing stands says nothing.
    shown = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
    widths = {index: max(len(columns[index].name), *(len(row[index]) for row in rows)) for index in shown if rows}

    def is_too_wide() -> bool:
        return sum(widths.values()) + 2 * len(widths) > terminal_width

    broken = [index for index in shown if columns[index].break_after] if is_too_wide() else []
    for index in broken:
        parts = [len(part) + 1 for row in rows for part in row[index].split(columns[index].break_after)]
        widths[index] = max(len(columns[index].name), *parts)
    left_out = []
    for index in sorted(
        (index for index in shown if columns[index].drop_order), key=lambda index: columns[index].drop_order
    ):
        if not is_too_wide():
            break
        del widths[index]
        shown.remove(index)
        left_out.append(columns[index].name)
    return shown, left_out, broken
