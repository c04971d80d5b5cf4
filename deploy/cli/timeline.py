"""The timeline of a programme in a terminal: a line for each milestone under its project, over one axis of days.

Rendering is pure: rows and a width to lines of Rich text. Arrows beside the axis stand for dates beyond it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

from deploy.cli.console import state_text_style
from models.domain.schedule import State
from models.text import printable
from models.views.axis import MONTHS_PER_YEAR, fit_days, month_starts
from models.views.status import StatusRow


class Glyphs(NamedTuple):
    """The characters of a timeline; the crossings are where a bar crosses the data date."""

    baseline: str
    forecast: str
    actual: str
    late: str
    early: str
    data_date: str
    late_crossing: str
    early_crossing: str
    off_axis_left: str
    off_axis_right: str
    axis: str
    tick: str
    ellipsis: str


UNICODE_GLYPHS: Final = Glyphs("◇", "◆", "●", "━", "─", "│", "┿", "┼", "◀", "▶", "─", "┬", "…")
#: For terminals that show nothing else.
ASCII_GLYPHS: Final = Glyphs("o", "*", "#", "=", "-", "|", "+", "+", "<", ">", "-", "+", "~")

_MIN_AXIS_DAYS: Final = 28
#: With fewer columns bars would not be readable.
_MIN_BAR_COLUMNS: Final = 24

#: Months between the ticks of a longer axis, and about as many days.
_MONTH_STEPS: Final = {1: 30, 2: 60, 3: 90, 6: 180, 12: 365, 24: 730, 60: 1825, 120: 3650, 240: 7300}


class _Axis(NamedTuple):
    """Days, as ordinals, over columns; both ends are included."""

    first_day: int
    last_day: int
    #: Columns before and after the axis, for arrows to what lies beyond it.
    left_margin: int
    right_margin: int
    columns: int

    @property
    def width(self) -> int:
        return self.left_margin + self.columns + self.right_margin

    def column_of(self, day: int) -> int:
        """Return the column of a day, counted from the left margin; a day beyond the axis stands next to an arrow."""
        if day < self.first_day:
            return 1
        if day > self.last_day:
            return self.width - 2
        return self.left_margin + round(self.columns_for(day - self.first_day))

    def columns_for(self, days: float) -> float:
        return days * (self.columns - 1) / (self.last_day - self.first_day)

    def ticks(self) -> list[tuple[int, str]]:
        """Return the columns and labels of round dates, as many as there is room for."""
        days: Iterable[date]
        length = len("2026-12-31")
        if step := next((step for step in (1, 7, 14) if self.columns_for(step) >= length + 2), None):
            # Ordinal 1 is a Monday.
            mondays = range(self.first_day + (1 - self.first_day) % step, self.last_day + 1, step)
            days = map(date.fromordinal, mondays)
        else:
            # There is always room for two decades: an axis spans forty years at most, `_MIN_BAR_COLUMNS` wide at least.
            lengths = {months: len("2026-12" if months < MONTHS_PER_YEAR else "2026") for months in _MONTH_STEPS}
            months = next(each for each in lengths if self.columns_for(_MONTH_STEPS[each]) >= lengths[each] + 3)
            days, length = month_starts(self.first_day, self.last_day, months), lengths[months]
        labels = [(self.column_of(day.toordinal()), day.isoformat()[:length]) for day in days]
        return [(column, label) for column, label in labels if column + len(label) <= self.width]


def _marked_days(row: StatusRow) -> tuple[date | None, date | None]:
    # A cancelled milestone has no forecast, but may have an actual date.
    return row.baseline, row.actual or row.forecast


def _fit_axis(rows: Sequence[StatusRow], data_date: date, width: int) -> _Axis:
    days = [day.toordinal() for row in rows for day in _marked_days(row) if day is not None]
    first, last = fit_days(days, data_date, _MIN_AXIS_DAYS)
    # An arrow and a mark
    left, right = (2 if beyond else 0 for beyond in (min(days) < first, max(days) > last))
    return _Axis(first, last, left, right, width - left - right)


def render_timeline(
    rows: Sequence[StatusRow], data_date: date, width: int, glyphs: Glyphs = UNICODE_GLYPHS
) -> list[Text]:
    """Return the lines of a programme's timeline; none when no row has a date, or when the width is too small."""
    margin = min(max((len(row.milestone) for row in rows), default=0) + 3, width * 2 // 5)
    if width - margin < _MIN_BAR_COLUMNS or not any(any(_marked_days(row)) for row in rows):
        return []
    axis = _fit_axis(rows, data_date, width - margin)
    label = data_date.isoformat()
    label_column = min(max(axis.column_of(data_date.toordinal()) - len(label) // 2, 0), axis.width - len(label))
    lines = [Text(" " * (margin + label_column)).append(label, "dim")]
    for project, project_rows in groupby(rows, key=lambda row: row.project):
        heading = f"{_shorten_middle(printable(project), width - 1, glyphs)} ".ljust(margin)
        cells = _empty_cells(axis, data_date, glyphs)[len(heading) - margin :]
        lines.append(Text().append(heading, "bold").append_text(_join_cells(cells)))
        for row in project_rows:
            label = f"  {_shorten_middle(printable(row.milestone), margin - 3, glyphs)}".ljust(margin)
            style = "dim" if row.state in {State.CANCELLED, State.UNKNOWN} else ""
            lines.append(Text().append(label, style).append_text(_join_cells(_bar_cells(row, axis, data_date, glyphs))))
    return [*lines, *_axis_lines(axis, margin, glyphs)]


def render_legend(rows: Sequence[StatusRow], glyphs: Glyphs = UNICODE_GLYPHS) -> list[Text]:
    """Return the meaning of the marks, and the colours of the states that occur."""
    beyond = f"{glyphs.off_axis_left} {glyphs.off_axis_right}"
    marks = (*glyphs[:3], glyphs.late * 2, glyphs.early * 2, glyphs.data_date, beyond)
    meanings = ("baseline", "forecast", "actual", "late", "early", "data date", "beyond")
    states = sorted({row.state for row in rows}, key=list(State).index)
    return [
        Text("  ".join(f"{mark} {meaning}" for mark, meaning in zip(marks, meanings, strict=True)), "dim"),
        Text("  ").join(Text(state, state_text_style(state)) for state in states),
    ]


def print_timeline(rows: Sequence[StatusRow], data_date: date) -> bool:
    """Print a programme's timeline to the terminal; return whether there was a date to show, and room for it."""
    console = Console()
    lines = render_timeline(rows, data_date, console.width, _glyphs_for(console))
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")
    console.print()
    return bool(lines)


def print_legend(rows: Sequence[StatusRow]) -> None:
    """Print the meaning of the timelines' marks."""
    console = Console()
    marks, states = render_legend(rows, _glyphs_for(console))
    console.print(marks)
    if console.color_system is not None and not console.no_color:
        console.print(states)


def _glyphs_for(console: Console) -> Glyphs:
    return ASCII_GLYPHS if console.options.ascii_only else UNICODE_GLYPHS


def _empty_cells(axis: _Axis, data_date: date, glyphs: Glyphs) -> list[tuple[str, str]]:
    cells = [(" ", "")] * axis.width
    cells[axis.column_of(data_date.toordinal())] = (glyphs.data_date, "dim")
    return cells


def _bar_cells(row: StatusRow, axis: _Axis, data_date: date, glyphs: Glyphs) -> list[tuple[str, str]]:
    cells, style = _empty_cells(axis, data_date, glyphs), state_text_style(row.state)
    if row.baseline is not None and row.forecast is not None:
        start, end = (axis.column_of(day.toordinal()) for day in (row.baseline, row.forecast))
        bar, crossing = (glyphs.late, glyphs.late_crossing) if end > start else (glyphs.early, glyphs.early_crossing)
        today = axis.column_of(data_date.toordinal())
        for column in range(min(start, end), max(start, end) + 1):
            cells[column] = (crossing if column == today else bar, style)
    # The actual date or the forecast comes last: on a shared column it matters more than the baseline.
    latest_glyph = glyphs.forecast if row.actual is None else glyphs.actual
    for day, glyph in zip(_marked_days(row), (glyphs.baseline, latest_glyph), strict=True):
        if day is None:
            continue
        cells[axis.column_of(day.toordinal())] = (glyph, style)
        if day.toordinal() < axis.first_day:
            cells[0] = (glyphs.off_axis_left, style)
        elif day.toordinal() > axis.last_day:
            cells[-1] = (glyphs.off_axis_right, style)
    return cells


def _axis_lines(axis: _Axis, margin: int, glyphs: Glyphs) -> Iterator[Text]:
    line = [" "] * axis.left_margin + [glyphs.axis] * axis.columns
    labels = [" "] * axis.width
    for column, label in axis.ticks():
        line[column] = glyphs.tick
        labels[column : column + len(label)] = label
    for characters in (line, labels):
        yield Text(" " * margin).append("".join(characters).rstrip(), "dim")


def _join_cells(cells: list[tuple[str, str]]) -> Text:
    runs = groupby(cells, key=lambda cell: cell[1])
    return Text.assemble(*(("".join(character for character, _ in run), style) for style, run in runs))


def _shorten_middle(text: str, max_length: int, glyphs: Glyphs) -> str:
    """Cut the middle out of a text that is too long: names differ at either end."""
    if len(text) <= max_length:
        return text
    head = (max_length - 1) // 2
    return f"{text[:head]}{glyphs.ellipsis}{text[len(text) - (max_length - 1 - head) :]}"
