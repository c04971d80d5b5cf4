"""The lines of a file that may be anything: too long, without end, no text. What cannot be read ends in one fault."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from typing import IO, Final

from models.domain.events import MAX_VALUE_BYTES

#: A longer line is not read: no event is that large, and some files have no end.
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
#: A pipe that is read twice is copied first; a longer one is refused, since some pipes have no end.
MAX_COPY_BYTES: Final = 256 * 1024 * 1024
_COPY_CHUNK_BYTES: Final = 64 * 1024
#: What other files than text begin with.
_MAGIC_NUMBERS: Final = {
    b"\x1f\x8b": "it is compressed with gzip: decompress it first",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: decompress it first",
    b"PK\x03\x04": "it is a ZIP file, or a spreadsheet: save it as CSV in UTF-8",
    BOM_UTF16_LE: "it is UTF-16: save it as UTF-8",
    BOM_UTF16_BE: "it is UTF-16: save it as UTF-8",
}

#: The line of an event, with its bytes or with what is wrong there.
ParsedEvents = Iterator[tuple[int, bytes | str]]


class ParseError(Exception):
    """The number of a line that cannot be parsed, and the reason; nothing after it can be read either."""


class CopyLimitError(Exception):
    """A stream has more than `MAX_COPY_BYTES`."""


def read_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream, a byte order mark left out.

    Raises `ParseError` for a line that is too long, and for a stream that is no text.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            fault = f"a line of more than {MAX_LINE_BYTES} bytes, and an event has at most {MAX_VALUE_BYTES}"
            raise ParseError(number, f"{fault}; nothing behind it is read")
        if number == 1:
            # Some systems begin a text file with a byte order mark.
            line = line.removeprefix(BOM_UTF8)
            for magic_number, fault in _MAGIC_NUMBERS.items():
                if line.startswith(magic_number):
                    raise ParseError(1, fault)
        yield line


def decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield lines as text; raises `ParseError` for one that is not UTF-8."""
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParseError(number, f"not UTF-8 at byte {error.start} of the line") from None


def copy_stream(stream: IO[bytes], copy: IO[bytes]) -> None:
    """Copy a stream up to a line that is too long, which `read_lines` finds in the copy too.

    Raises `CopyLimitError`.
    """
    copied = line_bytes = 0
    while line_bytes <= MAX_LINE_BYTES and (chunk := stream.read(_COPY_CHUNK_BYTES)):
        copied += len(chunk)
        if copied > MAX_COPY_BYTES:
            raise CopyLimitError
        copy.write(chunk)
        # A chunk is shorter than the longest line: only the line at its end may go on.
        line_end = chunk.rfind(b"\n")
        line_bytes = line_bytes + len(chunk) if line_end < 0 else len(chunk) - line_end - 1
