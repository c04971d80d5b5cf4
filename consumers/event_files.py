"""Reads events from files: JSON Lines, YAML and CSV.

Each event becomes the bytes of a structured CloudEvent, with the place where it stands. Reading streams: no file is in
memory whole, except a YAML document that is one long list.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Final, NamedTuple

from consumers.csv_events import parse_csv
from consumers.lines import MAX_COPY_BYTES, CopyLimitError, ParsedEvents, ParseError, copy_stream, read_lines
from consumers.yaml_events import parse_yaml
from models.errors import MilepostError
from models.text import printable

STDIN: Final = "-"
#: A larger pipe goes to a temporary file.
_SPOOL_MEMORY_BYTES: Final = 8 * 1024 * 1024
#: What JSON is that is not one event on each line. A batch for the gateway is an array, and tools that write for people
#: spread an object over lines.
_ARRAY: Final = (
    "a JSON array: in a file each event stands on a line of its own, without brackets and commas around it;"
    " `jq -c '.[]' FILE` writes it so"
)
_SPREAD: Final = (
    "an event that goes on in the next line: in a file each event stands on one line; `jq -c . FILE` writes it so"
)
_COMMA: Final = "a comma behind an event: in a file each event stands on a line of its own, without commas between them"


class EventFileError(MilepostError):
    """A file that cannot be opened."""


class EventLine(NamedTuple):
    """An event in a file, or why there is none at that place."""

    #: File and line, for people.
    location: str
    #: The event as a structured CloudEvent; the bytes of a JSON Lines file are unchanged.
    value: bytes
    fault: str | None = None


def _warn_nobody(_line: str) -> None:
    pass


@contextmanager
def open_events(
    names: Sequence[str],
    stdin: IO[bytes],
    *,
    reread: bool,
    as_is: bool = False,
    warn: Callable[[str], None] = _warn_nobody,
) -> Iterator[Callable[[], Iterator[EventLine]]]:
    """Give a function that reads all these files; with `reread`, which copies standard input and pipes, repeatedly.

    With `as_is`, every line of JSON Lines is an event, whatever stands there. `warn` gets a line, once, for each file
    without an event: who publishes nothing by mistake would not learn otherwise.

    Raises `EventFileError` for what cannot be opened or copied, before anything is read.
    """
    parse_lines = _split_lines if as_is else _parse_json_lines
    found_empty: set[str] = set()
    with ExitStack() as resources:
        sources = [_open_source(name, stdin, resources, reread=reread) for name in names]

        def read_all() -> Iterator[EventLine]:
            for name, source in zip(names, sources, strict=True):
                event_lines = _read_file(name, source, parse_lines)
                if (first := next(event_lines, None)) is not None:
                    yield first
                    yield from event_lines
                elif name not in found_empty:
                    found_empty.add(name)
                    warn(f"{_label(name)}: warning: there is no event in it")

        yield read_all


def _open_source(name: str, stdin: IO[bytes], resources: ExitStack, *, reread: bool) -> IO[bytes] | Path:
    if name == STDIN and not reread:
        return stdin
    try:
        with nullcontext(stdin) if name == STDIN else Path(name).open("rb") as stream:
            if name != STDIN and Path(name).is_file():
                return Path(name)
            copy = resources.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_MEMORY_BYTES))  # noqa: SIM115 - the stack closes it
            copy_stream(stream, copy)
            return copy
    except CopyLimitError:
        limit = f"more than {MAX_COPY_BYTES // 1024**2} MiB in a pipe, which is copied to be read twice"
        raise EventFileError(f"{_label(name)}: {limit}: save it to a file, and name the file") from None
    except OSError as error:
        raise EventFileError(f"{_label(name)} cannot be read: {error.strerror}") from None


def _label(name: str) -> str:
    return "<stdin>" if name == STDIN else printable(name) or "a file without a name"


def _read_file(
    name: str, source: IO[bytes] | Path, parse_lines: Callable[[Iterable[bytes]], ParsedEvents]
) -> Iterator[EventLine]:
    suffix = "" if name == STDIN else Path(name).suffix.lower()
    parse = {".yaml": parse_yaml, ".yml": parse_yaml, ".csv": parse_csv}.get(suffix, parse_lines)
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        # Standard input itself is read from where whoever redirected it has left it.
        if isinstance(source, tempfile.SpooledTemporaryFile):
            source.seek(0)
        try:
            for line, parsed in parse(read_lines(stream)):
                value, fault = (parsed, None) if isinstance(parsed, bytes) else (b"", parsed)
                yield EventLine(f"{_label(name)}:{line}", value, fault)
        except ParseError as error:
            line, fault = error.args
            yield EventLine(f"{_label(name)}:{line}", b"", fault)
        except OSError as error:
            raise EventFileError(f"{_label(name)} cannot be read: {error.strerror}") from None


def _parse_json_lines(lines: Iterable[bytes]) -> ParsedEvents:
    """Yield what stands on each line; raises `ParseError` for JSON that is not one event on each line."""
    for count, (number, value) in enumerate(_split_lines(lines)):
        text = value.strip()
        fault = _find_layout_fault(text)
        if fault and count == 0:
            # The whole file is like this: one line says so, and not one for each of its lines.
            raise ParseError(number, fault)
        yield number, fault or value


def _find_layout_fault(text: bytes) -> str | None:
    if text.startswith(b"["):
        return _ARRAY
    if text == b"{":
        return _SPREAD
    return _COMMA if text.endswith(b"},") else None


def _split_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if value.strip():
            yield number, value
