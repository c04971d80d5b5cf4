"""Events that people and programs write into files: JSON Lines, YAML, CSV.

Each event comes out as the bytes of a structured CloudEvent and with the place it was read at. Reading streams: a
file of any size is never in memory whole, but for a YAML document that is one long list.
"""

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from consumers.hand_written import Found, UnreadableError, read_csv, read_yaml

STDIN: Final = "-"
#: How much of a pipe is kept in memory before it goes to a temporary file.
_IN_MEMORY: Final = 8 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class EventFileError(Exception):
    """A file that cannot be opened; the message is one line."""


class Written(NamedTuple):
    """An event as it was found, or why there is none at that place."""

    #: File and line, for people.
    where: str
    #: The event as a structured CloudEvent; of a JSON Lines file the very bytes that stand there.
    value: bytes
    fault: str | None = None


@contextmanager
def opened(names: Sequence[str], stdin: IO[bytes], *, again: bool) -> Iterator[Callable[[], Iterator[Written]]]:
    """Give a function that reads all these files from their start; with `again` it may be called more than once.

    What can be read only once (standard input, a pipe) is then kept in a temporary file first. Raises
    `EventFileError` for what cannot be opened, before anything is read.
    """
    with ExitStack() as kept:
        sources = [_source(name, stdin, kept, again=again) for name in names]

        def read() -> Iterator[Written]:
            for name, source in zip(names, sources, strict=True):
                yield from _read(name, source)

        yield read


def _source(name: str, stdin: IO[bytes], kept: ExitStack, *, again: bool) -> IO[bytes] | Path:
    path = Path(name)
    try:
        if name != STDIN:
            with path.open("rb") as stream:
                if stat.S_ISREG(path.stat().st_mode):
                    return path
                return _copied(stream, kept)
        if not again:
            return stdin
        return _copied(stdin, kept)
    except OSError as error:
        raise EventFileError(f"{name} cannot be read: {error.strerror}") from None


def _copied(stream: IO[bytes], kept: ExitStack) -> IO[bytes]:
    copy = kept.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - `kept` closes it
    shutil.copyfileobj(stream, copy)
    return copy


def _read(name: str, source: IO[bytes] | Path) -> Iterator[Written]:
    shown, suffix = ("<stdin>", "") if name == STDIN else (name, Path(name).suffix.lower())
    read = {".yaml": read_yaml, ".yml": read_yaml, ".csv": read_csv}.get(suffix, _read_json_lines)
    with ExitStack() as closing:
        stream = closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
        # Standard input itself stays where whoever redirected it has put it.
        if isinstance(source, tempfile.SpooledTemporaryFile):
            source.seek(0)
        try:
            for line, value in read(_without_mark(stream)):
                if isinstance(value, bytes):
                    yield Written(f"{shown}:{line}", value)
                else:
                    yield Written(f"{shown}:{line}", b"", str(value))
        except UnreadableError as error:
            yield Written(f"{shown}:{error.line}", b"", str(error))


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out the byte order mark with which some systems begin a text file."""
    for number, line in enumerate(lines):
        yield line.removeprefix(_BOM) if number == 0 else line


def _read_json_lines(lines: Iterable[bytes]) -> Found:
    for number, line in enumerate(lines, 1):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if value.strip():
            yield number, value
