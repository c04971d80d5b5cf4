"""Reads events from files: JSON Lines, YAML and CSV.

Each event becomes the bytes of a structured CloudEvent, with the place where it stands. In YAML and CSV every value is
text at first; the schemas of the event types decide which become numbers. Reading streams: no file is in memory whole,
except a YAML document that is one long list.
"""

import csv
import math
import re
import tempfile
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec
import yaml
from msgspec.inspect import FloatType, IntType, StructType, UnionType, type_info

from models.domain.cloudevents import ATTRIBUTE_NAMES
from models.domain.events import DATA_TYPES, MAX_VALUE_BYTES
from models.errors import MilepostError

STDIN: Final = "-"
#: A larger pipe goes to a temporary file.
_SPOOL_MEMORY_BYTES: Final = 8 * 1024 * 1024
#: A longer line is not read: no event is that large, and some files have no end.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
#: A larger YAML document is not read: the library holds all of it.
MAX_YAML_DOCUMENT_CHARACTERS: Final = 64 * 1024 * 1024
#: What other files than text begin with.
_MAGIC_NUMBERS: Final = {
    b"\x1f\x8b": "it is compressed with gzip: decompress it first",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: decompress it first",
    b"PK\x03\x04": "it is a ZIP file, or a spreadsheet: save it as CSV in UTF-8",
    BOM_UTF16_LE: "it is UTF-16: save it as UTF-8",
    BOM_UTF16_BE: "it is UTF-16: save it as UTF-8",
}
#: The columns of a CSV file that are attributes of the CloudEvent; all others are data.
_ATTRIBUTES: Final = {*ATTRIBUTE_NAMES, "datacontenttype", "dataschema", "partitionkey"}

#: The line of an event, with its bytes or with what is wrong there.
_ParsedEvents = Iterator[tuple[int, bytes | str]]


class EventFileError(MilepostError):
    """A file that cannot be opened."""


class EventLine(NamedTuple):
    """An event in a file, or why there is none at that place."""

    #: File and line, for people.
    location: str
    #: The event as a structured CloudEvent; the bytes of a JSON Lines file are unchanged.
    value: bytes
    fault: str | None = None


class _ParseError(Exception):
    """The number of a line that cannot be parsed, and the reason; nothing after it can be read either."""


@contextmanager
def open_events(names: Sequence[str], stdin: IO[bytes], *, reread: bool) -> Iterator[Callable[[], Iterator[EventLine]]]:
    """Give a function that reads all these files; with `reread`, which copies standard input and pipes, repeatedly.

    Raises `EventFileError` for what cannot be opened, before anything is read.
    """
    with ExitStack() as resources:
        sources = [_open_source(name, stdin, resources, reread=reread) for name in names]

        def read_all() -> Iterator[EventLine]:
            for name, source in zip(names, sources, strict=True):
                yield from _read_file(name, source)

        yield read_all


def _open_source(name: str, stdin: IO[bytes], resources: ExitStack, *, reread: bool) -> IO[bytes] | Path:
    if name == STDIN and not reread:
        return stdin
    try:
        with nullcontext(stdin) if name == STDIN else Path(name).open("rb") as stream:
            if name != STDIN and Path(name).is_file():
                return Path(name)
            copy = resources.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_MEMORY_BYTES))  # noqa: SIM115 - the stack closes it
            with suppress(_ParseError):  # Reading the copy finds the same line.
                for line in _read_lines(stream, copy.write):
                    copy.write(line)
            return copy
    except OSError as error:
        raise EventFileError(f"{name} cannot be read: {error.strerror}") from None


def _read_lines(stream: IO[bytes], put_aside: Callable[[bytes], object] = len) -> Iterator[bytes]:
    """Yield the lines of a stream; raises `_ParseError` for one that is too long, whose beginning is put aside."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            put_aside(line)
            fault = f"a line of more than {MAX_LINE_BYTES} bytes, and an event has at most {MAX_VALUE_BYTES}"
            raise _ParseError(number, f"{fault}; nothing behind it is read")
        yield line


def _read_file(name: str, source: IO[bytes] | Path) -> Iterator[EventLine]:
    label, suffix = ("<stdin>", "") if name == STDIN else (name, Path(name).suffix.lower())
    parse = {".yaml": _parse_yaml, ".yml": _parse_yaml, ".csv": _parse_csv}.get(suffix, _parse_json_lines)
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        # Standard input itself is read from where whoever redirected it has left it.
        if isinstance(source, tempfile.SpooledTemporaryFile):
            source.seek(0)
        try:
            for line, parsed in parse(_check_beginning(_read_lines(stream))):
                value, fault = (parsed, None) if isinstance(parsed, bytes) else (b"", parsed)
                yield EventLine(f"{label}:{line}", value, fault)
        except _ParseError as error:
            line, fault = error.args
            yield EventLine(f"{label}:{line}", b"", fault)


def _check_beginning(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines; raises `_ParseError` for those of a file that is no text."""
    # Some systems begin a text file with a byte order mark.
    first = next(lines, b"").removeprefix(BOM_UTF8)
    for magic_number, fault in _MAGIC_NUMBERS.items():
        if first.startswith(magic_number):
            raise _ParseError(1, fault)
    yield first
    yield from lines


def _parse_json_lines(lines: Iterable[bytes]) -> _ParsedEvents:
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if value.strip():
            yield number, value


def _decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _ParseError(number, f"not UTF-8 at byte {error.start} of the line") from None


def _number_fields(data_type: type) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(data_type):
        kinds = type_info(field.type)
        for kind in kinds.types if isinstance(kinds, UnionType) else (kinds,):
            if isinstance(kind, IntType | FloatType):
                yield (field.encode_name,)
            elif isinstance(kind, StructType):
                yield from ((field.encode_name, *path) for path in _number_fields(kind.cls))


#: The paths in `data` at which the schemas have a number. No type has a text there (tests/unit/test_publish.py).
_NUMBER_FIELDS: Final = {path for data_type in DATA_TYPES.values() for path in _number_fields(data_type)}


def _encode_event(event: dict[str, Any], parse: Callable[[str], Any]) -> bytes | str:
    """Return an event as a structured CloudEvent, with numbers where the schemas have numbers and `parse` finds one."""
    for *parents, name in _NUMBER_FIELDS:
        holder = event.get("data")
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(text := holder.get(name), str):
            with suppress(ValueError, yaml.YAMLError):
                # A text that is no number stays as it is, and the check says what was expected.
                holder[name] = number if type(number := parse(text)) in {int, float} else text
    try:
        return msgspec.json.encode({"specversion": "1.0", **event})
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"


def _parse_csv(lines: Iterable[bytes]) -> _ParsedEvents:
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
            if header is not None:
                yield line, _row_to_event(header, cells)
            elif repeated := sorted({name for name in cells if name and cells.count(name) > 1}):
                raise _ParseError(line, f"the header names {repeated[0]!r} twice")
            else:
                header = cells
    except csv.Error as error:
        raise _ParseError(rows.line_num, f"not CSV: {error}") from None


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
    return _encode_event(event, msgspec.json.decode)


_NULL_TAG: Final = "tag:yaml.org,2002:null"
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
#: The numbers of YAML 1.2's core schema, by base. What only YAML 1.1 takes for a number (`1:30`, `1_000`) is text.
_YAML_INTEGERS: Final = {
    10: re.compile(r"[-+]?[0-9]+"),
    8: re.compile(r"0o[0-7]+"),
    16: re.compile(r"0x[0-9a-fA-F]+"),
}
_YAML_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def _parse_yaml_number(text: str) -> float | None:
    """Return the number that a text is in YAML 1.2; None for infinity and for what is no number."""
    for base, pattern in _YAML_INTEGERS.items():
        if pattern.fullmatch(text):
            return int(text, base)
    number = float(text) if _YAML_FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


class _TextLoader(yaml.SafeLoader):
    """Reads every plain scalar but null as text, whatever YAML 1.1 would make of it: `17`, `1.0`, `no`, a date.

    A name that stands twice in one mapping is an error, except the merge key; YAML demands it, the library does not.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - the stubs have a wrong type
        """Compose a mapping; raises `ComposerError` for a repeated name."""
        # Composed nodes do not yet hold what merge keys add to them.
        node = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE_TAG:
                if key.value in names:
                    fault = f"the name {key.value[:64]!r} stands twice in one object"
                    raise yaml.composer.ComposerError(None, None, fault, key.start_mark)
                names.add(key.value)
        return node


_TextLoader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] in {_NULL_TAG, _MERGE_TAG}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _LineReader:
    """A stream of text for the YAML parser that counts the lines read."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = _decode_lines(lines)
        self.line_number = 0
        #: How many characters were read of the present document.
        self.document_characters = 0

    def read(self, _size: int = -1) -> str:
        self.line_number += 1
        line = next(self._lines, "")
        self.document_characters += len(line)
        if self.document_characters > MAX_YAML_DOCUMENT_CHARACTERS:
            fault = f"a document of more than {MAX_YAML_DOCUMENT_CHARACTERS} characters: divide it by lines of ---"
            raise _ParseError(self.line_number, fault)
        return line


def _is_oversize(node: yaml.Node) -> bool:
    """Return whether a node is larger than an event may be, once its aliases are written out.

    Aliases of aliases, and merge keys, multiply: some lines may stand for gigabytes, and one that contains itself never
    ends.
    """
    sizes: dict[int, float] = {}

    def measure(part: yaml.Node) -> float:
        if id(part) not in sizes:
            sizes[id(part)] = math.inf  # for a part of itself
            if isinstance(part, yaml.ScalarNode):
                size: float = len(part.value) + 1
            elif isinstance(part, yaml.MappingNode):
                size = 1 + sum(measure(key) + measure(value) for key, value in part.value)
            else:
                size = 1 + sum(map(measure, part.value))
            sizes[id(part)] = size
        return sizes[id(part)]

    return measure(node) > MAX_VALUE_BYTES


def _parse_yaml(lines: Iterable[bytes]) -> _ParsedEvents:
    """Return the events of one or several documents, each an event or a list of events."""
    text = _LineReader(lines)
    try:
        loader = _TextLoader(text)
        while loader.check_node():
            document: Any = loader.get_node()
            text.document_characters = 0
            for node in document.value if isinstance(document, yaml.SequenceNode) else [document]:
                if _is_oversize(node):
                    yield (
                        node.start_mark.line + 1,
                        f"more than {MAX_VALUE_BYTES} bytes once its aliases are written out",
                    )
                elif isinstance(node, yaml.MappingNode):
                    event = _encode_event(loader.construct_document(node), _parse_yaml_number)
                    yield node.start_mark.line + 1, event
                elif node.tag != _NULL_TAG:
                    yield node.start_mark.line + 1, "not an object"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _ParseError(mark.line + 1 if mark else text.line_number, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        # A character that YAML does not allow, or thousands of brackets
        raise _ParseError(text.line_number, f"not YAML: {' '.join(str(error).split())}") from None
