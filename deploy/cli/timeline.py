"""A programme over time, as wide as a terminal: a line for each milestone, under its project, over one axis of days.

Drawing is pure: rows and a width to lines of Rich text. The axis holds the data date and every date within ten years
of it; what lies further away stands beside the axis with an arrow, so that one milestone in 2100 does not press the
rest together.
"""

from collections.abc import Iterator, Sequence
from datetime import MINYEAR, date
from itertools import groupby
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

from deploy.cli.console import line_style
from models.domain.schedule import State
from models.text import printable
from models.views.status import Row


class Marks(NamedTuple):
    """The characters a timeline is drawn with."""

    baseline: str
    forecast: str
    actual: str
    late: str
    early: str
    data_date: str
    #: Where a bar crosses the data date.
    late_across: str
    early_across: str
    before: str
    after: str
    axis: str
    tick: str
    cut: str


MARKS: Final = Marks("◇", "◆", "●", "━", "─", "│", "┿", "┼", "◀", "▶", "─", "┬", "…")
#: For terminals that show nothing else.
ASCII_MARKS: Final = Marks("o", "*", "#", "=", "-", "|", "+", "+", "<", ">", "-", "+", "~")

#: How far from the data date the axis reaches, at most, in days.
_REACH: Final = 3653
#: How many days an axis has, at least: on a shorter one every difference looks large.
_SHORTEST: Final = 28
#: How many columns there must be for bars, lest they say nothing.
_NARROWEST: Final = 24
_MONTHS: Final = 12
_LAST_DAY: Final = date.max.toordinal()

_Cells = list[tuple[str, str]]


class Axis(NamedTuple):
    """Days, as ordinals, over columns; both ends are included."""

    first: int
    last: int
    #: How many columns stand before the axis, and behind it, for what is beyond it.
    before: int
    after: int
    columns: int

    @property
    def width(self) -> int:
        """How many columns there are with those beside the axis."""
        return self.before + self.columns + self.after

    def column(self, day: int) -> int:
        """Return the column of a day, counted from the very first; one beyond the axis stands next to an arrow."""
        if day < self.first:
            return 1
        if day > self.last:
            return self.width - 2
        return self.before + round(self.columns_of(day - self.first))

    def columns_of(self, days: float) -> float:
        """Return how many columns so many days take."""
        return days * (self.columns - 1) / (self.last - self.first)

    def ticks(self) -> list[tuple[int, str]]:
        """Return a few days in round numbers: of each the column, and its name, for which there is room."""
        for days in (1, 7, 14):
            if self.columns_of(days) >= len("2026-12-31") + 2:
                # Ordinal 1 is a Monday.
                mondays = range(self.first + (1 - self.first) % days, self.last + 1, days)
                return self._with_room((day, date.fromordinal(day).isoformat()) for day in mondays)
        for months in (1, 2, 3, 6):
            if self.columns_of(months * 30) >= len("2026-12") + 3:
                return self._with_room((day.toordinal(), day.isoformat()[:7]) for day in self._firsts(months))
        # There is always room for decades: see `_REACH` and `_NARROWEST`.
        years = next((years for years in (1, 2, 5) if self.columns_of(years * 365) >= len("2026") + 3), 10)
        return self._with_room((day.toordinal(), day.isoformat()[:4]) for day in self._firsts(years * _MONTHS))

    def _firsts(self, months: int) -> Iterator[date]:
        """Return the first day of every so many months, counted from a January."""
        start, end = date.fromordinal(self.first), date.fromordinal(self.last)
        number = start.year * _MONTHS + start.month - 1
        for first in range(number - number % months, end.year * _MONTHS + end.month, months):
            if first >= MINYEAR * _MONTHS and start <= (day := date(first // _MONTHS, first % _MONTHS + 1, 1)):
                yield day

    def _with_room(self, days: Iterator[tuple[int, str]]) -> list[tuple[int, str]]:
        named = [(self.column(day), name) for day, name in days]
        return [(column, name) for column, name in named if column + len(name) <= self.width]


def axis(rows: Sequence[Row], data_date: date, width: int) -> Axis:
    """Return the axis on which what rows show can be drawn in so many columns."""
    today = data_date.toordinal()
    days = [day.toordinal() for row in rows for day in (row.baseline, row.forecast) if day is not None]
    near = [today, *(day for day in days if abs(day - today) <= _REACH)]
    first, last = min(near), max(near)
    if (missing := _SHORTEST - (last - first)) > 0:
        first = max(1, first - missing // 2)
        last = min(_LAST_DAY, first + _SHORTEST)
        first = last - _SHORTEST
    # An arrow and a mark
    before, after = (
        2 if any(beyond) else 0 for beyond in ((day < first for day in days), (day > last for day in days))
    )
    return Axis(first, last, before, after, width - before - after)


def timeline(rows: Sequence[Row], data_date: date, width: int, marks: Marks = MARKS) -> list[Text]:
    """Return the lines of a programme's timeline, none of them wider than the width.

    There are none when no row has a date to draw, or when the terminal is too narrow.
    """
    margin = min(max((len(row.milestone) for row in rows), default=0) + 3, width * 2 // 5)
    if width - margin < _NARROWEST or not any(row.baseline or row.forecast for row in rows):
        return []
    days = axis(rows, data_date, width - margin)
    lines = [_data_date(days, data_date, margin)]
    for project, its in groupby(rows, key=lambda row: row.project):
        heading = f"{_cut(printable(project), width - 1, marks)} ".ljust(margin)
        lines.append(
            Text().append(heading, "bold").append_text(_joined(_empty(days, data_date, marks)[len(heading) - margin :]))
        )
        for row in its:
            label = f"  {_cut(printable(row.milestone), margin - 3, marks)}".ljust(margin)
            style = "dim" if row.state in {State.CANCELLED, State.UNKNOWN} else ""
            lines.append(Text().append(label, style).append_text(_joined(_bar(row, days, data_date, marks))))
    return [*lines, *_axis(days, margin, marks)]


def key(rows: Sequence[Row], marks: Marks = MARKS) -> list[Text]:
    """Return what the marks of a timeline mean, and the colours of the states that occur."""
    meanings = (
        (marks.baseline, "baseline"),
        (marks.forecast, "forecast"),
        (marks.actual, "actual"),
        (marks.late * 2, "late"),
        (marks.early * 2, "early"),
        (marks.data_date, "data date"),
        (f"{marks.before} {marks.after}", "beyond"),
    )
    states = sorted({row.state for row in rows}, key=list(State).index)
    return [
        Text("  ".join(f"{mark} {meaning}" for mark, meaning in meanings), "dim"),
        Text("  ").join(Text(state, line_style(state)) for state in states),
    ]


def print_timeline(rows: Sequence[Row], data_date: date) -> bool:
    """Print a programme's timeline to the terminal; return whether there was anything to draw and room for it."""
    console = Console()
    lines = timeline(rows, data_date, console.width, _marks(console))
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")
    console.print()
    return bool(lines)


def print_key(rows: Sequence[Row]) -> None:
    """Print what the marks of the timelines mean."""
    console = Console()
    marks, states = key(rows, _marks(console))
    console.print(marks)
    if console.color_system is not None and not console.no_color:
        console.print(states)


def _marks(console: Console) -> Marks:
    return ASCII_MARKS if console.options.ascii_only else MARKS


def _empty(days: Axis, data_date: date, marks: Marks) -> _Cells:
    cells = [(" ", "")] * days.width
    cells[days.column(data_date.toordinal())] = (marks.data_date, "dim")
    return cells


def _bar(row: Row, days: Axis, data_date: date, marks: Marks) -> _Cells:
    cells, style = _empty(days, data_date, marks), line_style(row.state)
    if row.baseline is not None and row.forecast is not None:
        start, end = (days.column(day.toordinal()) for day in (row.baseline, row.forecast))
        line, across = (marks.late, marks.late_across) if end > start else (marks.early, marks.early_across)
        today = days.column(data_date.toordinal())
        for column in range(min(start, end), max(start, end) + 1):
            cells[column] = (across if column == today else line, style)
    # Last what happened or is expected: on the same column it is what matters.
    mark = marks.forecast if row.actual is None else marks.actual
    for day, shown in ((row.baseline, marks.baseline), (row.forecast, mark)):
        if day is None:
            continue
        cells[days.column(day.toordinal())] = (shown, style)
        if day.toordinal() < days.first:
            cells[0] = (marks.before, style)
        elif day.toordinal() > days.last:
            cells[-1] = (marks.after, style)
    return cells


def _data_date(days: Axis, data_date: date, margin: int) -> Text:
    name = data_date.isoformat()
    column = min(max(days.column(data_date.toordinal()) - len(name) // 2, 0), days.width - len(name))
    return Text(" " * (margin + column)).append(name, "dim")


def _axis(days: Axis, margin: int, marks: Marks) -> Iterator[Text]:
    line = [" "] * days.before + [marks.axis] * days.columns
    names = [" "] * days.width
    for column, name in days.ticks():
        line[column] = marks.tick
        names[column : column + len(name)] = name
    for characters in (line, names):
        yield Text(" " * margin).append("".join(characters).rstrip(), "dim")


def _joined(cells: _Cells) -> Text:
    text = Text()
    for style, its in groupby(cells, key=lambda cell: cell[1]):
        text.append("".join(character for character, _ in its), style)
    return text


def _cut(text: str, most: int, marks: Marks) -> str:
    """Return text no longer than so many characters; what is cut is its middle, for names differ at either end."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}{marks.cut}{text[len(text) - (most - 1 - head) :]}"
