"""Events as people write them down, in tables (CSV) and in YAML, to structured CloudEvents.

What a person may leave out is filled in (`specversion`), and what looks like a number but is none stays text.
"""
# Events that people and programs write into files: JSON Lines, YAML, CSV.
#
# Each event comes out as the bytes of a structured CloudEvent and with the place it was read at. Reading streams: a
# file of any size is never in memory whole, but for a YAML document that is one long list.

import csv
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec
import yaml

from models.errors import MilepostError

#: The columns of a CSV file that are attributes of the CloudEvent; all others are data.
CLOUDEVENT_ATTRIBUTES: Final = frozenset(
    {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "recordedtime",
        "datacontenttype",
        "dataschema",
        "partitionkey",
        "correlationid",
        "causationid",
    }
)
_NUMERIC_FIELDS: Final = frozenset({"lag_days", "jobs"})
_NUMBER_PATTERN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


#: Line and the event's bytes, or what is wrong there.
ParsedEvents = Iterator[tuple[int, bytes | ValueError]]


class EventFileParseError(Exception):
    """What stands at a line cannot be read, nor what follows it."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _to_structured_event(document: dict[str, Any]) -> bytes | ValueError:
    """Return a document written by hand as a structured event."""
    try:
        return msgspec.json.encode({"specversion": "1.0", **document})
    except (TypeError, ValueError, RecursionError) as error:
        return ValueError(f"cannot be written as JSON: {error}")


# CSV


def read_csv(lines: Iterable[bytes]) -> ParsedEvents:
    """Return the events of a table whose header names attributes and fields; dotted names nest."""
    rows = csv.reader(_decode_lines(lines), strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for row in rows:
            # A quoted cell may hold line breaks: an event begins where the one before it ended.
            line, start = start, rows.line_num + 1
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if header is None:
                header = _check_header(line, cells)
            else:
                yield line, _row_to_event(header, cells)
    except csv.Error as error:
        raise EventFileParseError(rows.line_num, f"not CSV: {error}") from None


def _decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise EventFileParseError(number, f"not UTF-8 at byte {error.start} of the line") from None


def _check_header(line: int, names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise EventFileParseError(line, f"the header names {twice[0]!r} twice")
    return names


def _row_to_event(header: Sequence[str], cells: Sequence[str]) -> bytes | ValueError:
    event: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for column, cell in enumerate(cells):
        if not cell:
            continue
        name = header[column] if column < len(header) else ""
        if not name:
            return ValueError(f"cell {column + 1} ({cell[:64]!r}) has no name in the header")
        if name in CLOUDEVENT_ATTRIBUTES:
            event[name] = cell
        elif not _set_nested(data, name.split("."), _parse_cell(name, cell)):
            return ValueError(f"column {name} and another one say two things of the same field")
    return _to_structured_event({**event, "data": data})


def _parse_cell(name: str, cell: str) -> object:
    is_number = name in _NUMERIC_FIELDS or name.endswith(".amount")
    # What is no number stays the text it is, and the check says what was expected.
    return msgspec.json.decode(cell) if is_number and _NUMBER_PATTERN.fullmatch(cell) else cell


def _set_nested(data: dict[str, Any], path: Sequence[str], value: object) -> bool:
    for part in path[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            return False
    return data.setdefault(path[-1], value) is value


# YAML


class _YamlLoader(yaml.SafeLoader):
    """Reads what YAML 1.1 calls a timestamp as the text it is: CloudEvents has no other form for dates."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YAML_NULL_TAG: Final = "tag:yaml.org,2002:null"


class _LineReader:
    """Lets the YAML reader take its text from lines, and knows how far it has come."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = _decode_lines(lines)
        self.line_number = 0

    def read(self, _size: int = -1) -> str:
        self.line_number += 1
        return next(self._lines, "")


def read_yaml(lines: Iterable[bytes]) -> ParsedEvents:
    """Return the events of one or several documents, each an event or a list of events."""
    text = _LineReader(lines)
    try:
        loader = _YamlLoader(text)
        while loader.check_node():
            document: Any = loader.get_node()
            nodes = document.value if isinstance(document, yaml.SequenceNode) else [document]
            for node in nodes:
                if node.tag != _YAML_NULL_TAG:
                    yield node.start_mark.line + 1, _yaml_node_to_event(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise EventFileParseError(mark.line + 1 if mark else text.line_number, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        # A character that no YAML may hold, or thousands of brackets
        raise EventFileParseError(text.line_number, f"not YAML: {' '.join(str(error).split())}") from None


def _yaml_node_to_event(loader: _YamlLoader, node: yaml.Node) -> bytes | ValueError:
    if not isinstance(node, yaml.MappingNode):
        return ValueError("not an object")
    event: dict[str, Any] = loader.construct_document(node)
    # Attributes are text in CloudEvents, however much they look like numbers: `id: 17`, `specversion: 1.0`.
    for key, value in node.value:
        if key.value in event.keys() - {"data"} and isinstance(value, yaml.ScalarNode) and value.tag != _YAML_NULL_TAG:
            event[key.value] = value.value
    return _to_structured_event(event)


STDIN: Final = "-"
#: How much of a pipe is kept in memory before it goes to a temporary file.
_SPOOL_MEMORY_BYTES: Final = 8 * 1024 * 1024
_UTF8_BOM: Final = b"\xef\xbb\xbf"


class EventFileError(MilepostError):
    """A file that cannot be opened; the message is one line."""


class EventLine(NamedTuple):
    """An event as it was found, or why there is none at that place."""

    #: File and line, for people.
    location: str
    #: The event as a structured CloudEvent; of a JSON Lines file the very bytes that stand there.
    value: bytes
    fault: str | None = None


@contextmanager
def open_events(names: Sequence[str], stdin: IO[bytes], *, reread: bool) -> Iterator[Callable[[], Iterator[EventLine]]]:
    """Give a function that reads all these files from their start; with `again` it may be called more than once.

    What can be read only once (standard input, a pipe) is then kept in a temporary file first. Raises
    `EventFileError` for what cannot be opened, before anything is read.
    """
    with ExitStack() as kept:
        sources = [_open_source(name, stdin, kept, reread=reread) for name in names]

        def read_all() -> Iterator[EventLine]:
            for name, source in zip(names, sources, strict=True):
                yield from _read_file(name, source)

        yield read_all


def _open_source(name: str, stdin: IO[bytes], resources: ExitStack, *, reread: bool) -> IO[bytes] | Path:
    path = Path(name)
    try:
        if name != STDIN:
            with path.open("rb") as stream:
                if stat.S_ISREG(path.stat().st_mode):
                    return path
                return _spool(stream, resources)
        if not reread:
            return stdin
        return _spool(stdin, resources)
    except OSError as error:
        raise EventFileError(f"{name} cannot be read: {error.strerror}") from None


def _spool(stream: IO[bytes], resources: ExitStack) -> IO[bytes]:
    copy = resources.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_MEMORY_BYTES))  # noqa: SIM115 - `kept` closes it
    shutil.copyfileobj(stream, copy)
    return copy


def _read_file(name: str, source: IO[bytes] | Path) -> Iterator[EventLine]:
    shown, suffix = ("<stdin>", "") if name == STDIN else (name, Path(name).suffix.lower())
    read = {".yaml": read_yaml, ".yml": read_yaml, ".csv": read_csv}.get(suffix, _read_json_lines)
    with ExitStack() as closing:
        stream = closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
        # Standard input itself stays where whoever redirected it has put it.
        if isinstance(source, tempfile.SpooledTemporaryFile):
            source.seek(0)
        try:
            for line, value in read(_strip_bom(stream)):
                if isinstance(value, bytes):
                    yield EventLine(f"{shown}:{line}", value)
                else:
                    yield EventLine(f"{shown}:{line}", b"", str(value))
        except EventFileParseError as error:
            yield EventLine(f"{shown}:{error.line}", b"", str(error))


def _strip_bom(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out the byte order mark with which some systems begin a text file."""
    for number, line in enumerate(lines):
        yield line.removeprefix(_UTF8_BOM) if number == 0 else line


def _read_json_lines(lines: Iterable[bytes]) -> ParsedEvents:
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if value.strip():
            yield number, value
