"""Rows for people: a table in a terminal, aligned columns in a pipe; and text nobody vouches for, made harmless."""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: What stands for nothing, so that every line of a pipe has as many words as columns.
NOTHING = "-"


class Column(NamedTuple):
    """How one column is shown."""

    name: str
    right: bool = False
    #: Rich styles by cell, for a terminal.
    styles: Mapping[str, str] = {}
    #: In a terminal too narrow for all, the column with the lowest number here goes first; 0 stays.
    spare: int = 0


def printable(text: str, *, lines: bool = False) -> str:
    """Return text in which nothing can steer a terminal: what is not printable is spelled out.

    That takes in escape sequences as well as marks that turn the direction of writing. With `lines`, line breaks and
    tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else ascii(character)[1:-1] for character in text
    )


def print_rows(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows of text to standard output; the title is for a terminal alone."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_table(columns, cells, title)
    else:
        _print_plain(columns, cells)


def _print_plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    shown = [[column.name for column in columns], *([cell or NOTHING for cell in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)]
    for row in shown:
        padded = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box  # noqa: PLC0415 - a tenth of a second, which a pipe need not wait for
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console()
    shown, left_out = _fitting(columns, rows, console.width)
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for index in shown:
        column = columns[index]
        table.add_column(column.name, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[index], style=columns[index].styles.get(row[index], "")) for index in shown))
    if left_out:
        table.caption = f"not shown, the terminal is narrow: {', '.join(left_out)}"
        table.caption_justify = "left"
    console.print(table)


def _fitting(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], terminal_width: int
) -> tuple[Sequence[int], Sequence[str]]:
    """Return the columns to show, and the names of those for which there is no room."""
    # A column in which nothing stands says nothing.
    shown = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
    widths = {index: max(len(columns[index].name), *(len(row[index]) for row in rows)) for index in shown if rows}
    left_out = []
    for index in sorted((index for index in shown if columns[index].spare), key=lambda index: columns[index].spare):
        if sum(widths.values()) + 2 * len(widths) <= terminal_width:
            break
        del widths[index]
        shown.remove(index)
        left_out.append(columns[index].name)
    return shown, left_out
