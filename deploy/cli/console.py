"""Output for people: a table in a terminal, aligned columns in a pipe, JSON on request.

Every text is printed so that nothing in it can steer the terminal: most of it comes from other parties.
Rich takes long to load: only output to a terminal needs it.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from models.domain.schedule import State
from models.text import printable

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
#: In a terminal, at least so wide is a column that folds.
_MIN_FOLDED_WIDTH: Final = 20


class ConsoleColumn(NamedTuple):
    """A column of a table; all but the name and the alignment is for a terminal."""

    name: str
    align_right: bool = False
    #: Cells stay on one line; others fold.
    no_wrap: bool = False
    #: Left out where it would leave too little room for the columns that fold.
    optional: bool = False
    #: In a pipe, a longer cell widens no row but its own; in a terminal it folds.
    max_width: int | None = None
    #: Rich styles by cell.
    style_by_cell: Mapping[str, str] = {}


class ConsoleLine(NamedTuple):
    """A line of text for people."""

    text: str
    #: How many columns the line, and what wraps of it in a terminal, is indented.
    indent: int = 0
    #: A Rich style, for a terminal.
    style: str = ""


def print_rows(columns: Sequence[ConsoleColumn], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print rows of text. A terminal also gets the title; there, a row with one cell only is a heading, and bold."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_table(columns, cells, title)
    else:
        _print_aligned(columns, cells)


def print_lines(lines: Iterable[ConsoleLine]) -> None:
    """Print lines. In a terminal they wrap and keep their indent; in a pipe they do not wrap."""
    if not sys.stdout.isatty():
        for line in lines:
            sys.stdout.write(f"{' ' * line.indent}{printable(line.text)}".rstrip() + "\n")
        return
    from rich import console, padding, text  # noqa: PLC0415 - as the module says

    terminal = console.Console()
    for line in lines:
        content = text.Text(printable(line.text), line.style)
        # An empty text in a padding would be no line at all.
        terminal.print(padding.Padding(content, (0, 0, 0, line.indent), expand=False) if line.text else "")


def print_json_list(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON list, one object a line; in ASCII, because JSON leaves some control characters unescaped."""
    sys.stdout.write("[" + ",\n ".join(json.dumps(row, default=str) for row in rows) + "]\n")


def state_text_style(state: str) -> str:
    """Return the Rich style of a text about something in a state; struck through, it would be hard to read."""
    return STATE_STYLES[state].replace(" strike", "")


def slip_text(days: int | None) -> str:
    """Return a slip in days: late with a plus, early with a minus."""
    return "" if days is None else f"{days:+d}" if days else "0"


def _print_aligned(columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]]) -> None:
    # A dash for an empty cell, so that every line has as many words as there are columns.
    lines = [[column.name for column in columns], *([cell or "-" for cell in row] for row in rows)]
    widths = [
        min(max(map(len, cells)), column.max_width or sys.maxsize)
        for column, cells in zip(columns, zip(*lines, strict=True), strict=True)
    ]
    for line in lines:
        padded = (
            cell.rjust(width) if column.align_right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_table(columns: Sequence[ConsoleColumn], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box, console, table, text  # noqa: PLC0415 - as the module says

    terminal = console.Console()
    # Columns that are empty in every row are left out.
    used = {index: column for index, column in enumerate(columns) if not rows or any(row[index] for row in rows)}
    widths = {i: 1 + max(map(len, (used[i].name, *(row[i] for row in rows)))) for i in used if used[i].no_wrap}
    omitted = []
    for index in [index for index, column in used.items() if column.optional]:
        if terminal.width - sum(widths.values()) < _MIN_FOLDED_WIDTH * (len(used) - len(widths)):
            widths.pop(index, None)
            omitted.append(used.pop(index).name)
    caption = f"{terminal.width} columns have no room for {', '.join(omitted)}" if omitted else None
    grid = table.Table(box=box.SIMPLE_HEAD, title=title or None, caption=caption, pad_edge=False, padding=0)
    grid.title_justify = grid.caption_justify = "left"
    for column in used.values():
        justify: Any = "right" if column.align_right else "left"
        grid.add_column(
            column.name, justify=justify, overflow="fold", no_wrap=column.no_wrap, max_width=column.max_width
        )
    for row in rows:
        texts = (text.Text(row[index], column.style_by_cell.get(row[index], "")) for index, column in used.items())
        grid.add_row(*texts, style="" if any(row[1:]) else "bold")
    terminal.print(grid)
