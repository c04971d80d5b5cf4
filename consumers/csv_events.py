"""Events in tables: a header that names attributes and fields of `data`, then a row for each event."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from consumers.event_numbers import encode_event
from consumers.lines import ParsedEvents, ParseError, decode_lines
from models.domain.envelope import ATTRIBUTE_NAMES
from models.domain.events import MAX_VALUE_BYTES

#: A longer row is not read: no event is that large, and quoted cells may have no end.
MAX_ROW_CHARACTERS: Final = 4 * 1024 * 1024
#: The columns that are attributes of the CloudEvent; all others are data.
_ATTRIBUTES: Final = {*ATTRIBUTE_NAMES, "datacontenttype", "dataschema", "partitionkey"}
#: Without these columns no row is an event.
_REQUIRED: Final = ("id", "source", "type", "subject", "time")
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


class _RowLines:
    """The lines of a table, at most `MAX_ROW_CHARACTERS` of them in a row."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = decode_lines(lines)
        self._row_start = 1
        self._line_number = 0
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._line_number += 1
            self._characters += len(line)
            if self._characters > MAX_ROW_CHARACTERS:
                fault = f"a row of more than {MAX_ROW_CHARACTERS} characters, and an event has at most"
                raise ParseError(
                    self._row_start, f"{fault} {MAX_VALUE_BYTES} bytes; does a quotation mark lack its end?"
                )
            yield line

    def begin_row(self) -> int:
        """Begin the next row; return the line at which the last one began."""
        started, self._row_start, self._characters = self._row_start, self._line_number + 1, 0
        return started


def parse_csv(lines: Iterable[bytes]) -> ParsedEvents:
    """Yield the events of a table; dotted names nest. Raises `ParseError`."""
    row_lines = _RowLines(lines)
    rows = csv.reader(row_lines, strict=True)
    header: list[str] | None = None
    try:
        for row in rows:
            # A quoted cell may hold line breaks: an event begins where the one before it ended.
            line = row_lines.begin_row()
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if header is not None:
                yield line, _row_to_event(header, cells)
            elif (fault := _find_header_fault(cells)) is not None:
                raise ParseError(line, fault)
            else:
                header = cells
    except csv.Error as error:
        raise ParseError(rows.line_num, f"not CSV: {error}") from None


def _find_header_fault(cells: Sequence[str]) -> str | None:
    """Return what is wrong with a header, so that each of its rows does not say it again."""
    if cells[0].lower().startswith("sep="):
        return f"{cells[0][:64]!r} is a line for spreadsheets alone: take it out, and separate the columns by commas"
    for delimiter, name in _DELIMITERS.items():
        if len(cells) == 1 and delimiter in cells[0]:
            return f"the columns are separated by {name}: separate them by commas"
    if repeated := sorted({name for name in cells if name and cells.count(name) > 1}):
        return f"the header names {repeated[0]!r} twice"
    missing = [name for name in _REQUIRED if name not in cells]
    for cell in cells:
        if cell.lower() in missing:
            return f"the header has {cell!r}: the name is {cell.lower()!r}"
    if len(missing) == len(_REQUIRED):
        return f"the first row is no header: it names none of {', '.join(_REQUIRED)}"
    return f"the header does not name {', '.join(missing)}" if missing else None


def _row_to_event(header: Sequence[str], cells: Sequence[str]) -> bytes | str:
    event: dict[str, Any] = {}
    for column, cell in enumerate(cells):
        if not cell:
            continue
        name = header[column] if column < len(header) else ""
        if not name:
            return f"cell {column + 1} ({cell[:64]!r}) has no name in the header"
        *parents, field = [name] if name in _ATTRIBUTES else ["data", *name.split(".")]
        holder: Any = event
        for parent in parents:
            holder = holder.setdefault(parent, {}) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or field in holder:
            return f"column {name} and another one say two things of the same field"
        holder[field] = cell
    event["data"] = event.pop("data", {})
    return encode_event(event, lambda text: text if _JSON_NUMBER.fullmatch(text) else None)
