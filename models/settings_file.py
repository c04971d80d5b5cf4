"""Reads `milepost.toml`, and files that hold one secret each. Every fault is a `ValueError` with one line."""

import re
import stat
import tomllib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Any, Final

from models.setting_values import expand_home
from models.text import one_line, printable

CONFIG_FILE: Final = "milepost.toml"
#: No file of settings is that large, and some files have no end.
_MAX_BYTES: Final = 1024 * 1024
_MAX_SECRET_BYTES: Final = 64 * 1024
#: How the library ends its messages.
_POSITION: Final = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


def read_config_file() -> dict[str, Any]:
    """Return what `milepost.toml` in the working folder holds; nothing when there is no such file."""
    file = Path(CONFIG_FILE)
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no file"
            raise ValueError(f"it is {kind}: move it away, or write the settings to a file of this name")
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not file.is_symlink():
            return {}
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes, and settings never do")
    return _parse(_decode(content))


def _decode(content: bytes) -> str:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError("it is UTF-16: save it as UTF-8")
    # Some systems begin a text file with a byte order mark.
    content = content.removeprefix(BOM_UTF8)
    if (position := content.find(b"\0")) >= 0:
        raise ValueError(f"line {_line_of(content, position)}: a zero byte, as in UTF-16: save the file as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {_line_of(content, error.start)}: it is not UTF-8: save the file as UTF-8") from None


def _line_of(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is no TOML that can be read: it nests too deep") from None
    except ValueError as error:
        match = _POSITION.fullmatch(str(error))
        problem, line = (match[1], match[2]) if match else (str(error), None)
        if match and line is None:
            line = str(text.rstrip("\n").count("\n") + 1)
        where = f"line {line}: " if line else ""
        raise ValueError(f'{where}this is not TOML: {_one_clause(problem)}; write e.g. kafka = "host:9092"') from None


def _one_clause(problem: str) -> str:
    text = one_line(problem)
    return text[:1].lower() + text[1:]


def read_secret_file(path: str | Path) -> str:
    """Return the secret that a file holds, without the line breaks around it. Raises `ValueError`."""
    file = Path(expand_home(path))
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            raise ValueError(f"{printable(str(file))} has more than {_MAX_SECRET_BYTES} bytes, and secrets never do")
        return content.decode("utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{printable(str(file))} cannot be read: {problem}") from None
