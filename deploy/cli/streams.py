"""The standard streams of a command: each may be missing, full, gone, or of an encoding that lacks a character."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from models.errors import MilepostError

#: A missing stream is replaced by an end of the null device that cannot be used: an error, as on any broken stream.
_MISSING_STREAM_FLAGS: Final = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}
#: The encoding of a stream that is missing.
_DEFAULT_ENCODING: Final = "utf-8"


class StreamError(MilepostError):
    """A standard stream cannot be read or written."""


class _StandardInput(io.FileIO):
    """Raises `StreamError` when it cannot be read."""

    def __init__(self) -> None:
        super().__init__(0, "rb", closefd=False)

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        try:
            while (count := super().readinto(buffer)) is None:  # another program made it non-blocking
                select.select([self], [], [])
        except OSError as error:
            raise StreamError(f"standard input cannot be read: {error.strerror}") from None
        return count

    def readall(self) -> bytes:
        # FileIO has its own, which does not call `readinto`.
        return b"".join(iter(lambda: self.read(io.DEFAULT_BUFFER_SIZE), b""))

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])


class _StandardOutput(io.FileIO):
    """Raises `StreamError` once when it cannot be written, and from then on drops what is written.

    The second attempt would be Python's own, at the end of the process. A reader that went away (`| head`) stays a
    `BrokenPipeError`, for which Click ends the command without a word.
    """

    def __init__(self) -> None:
        super().__init__(1, "wb", closefd=False)
        self._has_failed = False

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        if self._has_failed:
            return len(data)
        try:
            while (count := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            self._has_failed = True
            if error.errno == errno.EPIPE:
                raise
            raise StreamError(f"standard output cannot be written: {error.strerror}") from None
        return count


class _StandardError(io.FileIO):
    """Drops what cannot be written: a worker does not end because the disk of its log is full."""

    def __init__(self) -> None:
        super().__init__(2, "wb", closefd=False)

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        try:
            count = super().write(data)
        except OSError:
            count = None
        return len(data) if count is None else count


@contextmanager
def standard_streams() -> Iterator[None]:
    r"""Replace the standard streams of this process; exit with status 1 when the block's output cannot be written.

    What an encoding does not have is spelled out (`\u0421`).
    """
    for number, flags in _MISSING_STREAM_FLAGS.items():
        _open_missing(number, flags)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_StandardInput()), _encoding(sys.stdin))
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput()),
        _encoding(sys.stdout),
        "backslashreplace",
        line_buffering=getattr(sys.stdout, "line_buffering", False),
        write_through=getattr(sys.stdout, "write_through", False),
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_StandardError()), _encoding(sys.stderr), "backslashreplace", line_buffering=True
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except StreamError as error:
        sys.stderr.write(f"milepost: {error}\n")
        raise SystemExit(1) from None
    except BrokenPipeError:
        raise SystemExit(1) from None


def _open_missing(number: int, flags: int) -> None:
    """Open the null device in the place of a closed file descriptor, before another file takes the number."""
    try:
        os.fstat(number)
    except OSError:
        # The lowest free number, which is this one: the lower ones are open by now.
        os.set_inheritable(os.open(os.devnull, flags), True)  # noqa: FBT003 - the standard library's signature


def _encoding(stream: Any) -> str:  # noqa: ANN401 - None when it is missing, which the types do not know
    return _DEFAULT_ENCODING if stream is None else stream.encoding
