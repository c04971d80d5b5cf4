"""How `milepost dead-letters` shows the rejected. What is in them is anybody's: none of it reaches a terminal raw."""

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from consumers.dead_letters import DeadLetter
from deploy.printing import Column, print_rows, printable


def print_list(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """Print one line for each letter."""
    if as_json:
        rows = [described(letter) for letter in letters]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        sys.stdout.write("[" + ",\n ".join(map(json.dumps, rows)) + "]\n")
        return
    rows_of_text = [[letter.key, letter.reason, letter.source or "", letter.detail] for letter in letters]
    print_rows([Column("key"), Column("reason"), Column("source"), Column("detail")], rows_of_text)


def print_letter(letter: DeadLetter, *, as_json: bool) -> None:
    """Print all there is of one letter."""
    if as_json:
        headers = [{"name": name, **_bytes("value", value)} for name, value in letter.headers]
        sys.stdout.write(json.dumps({**described(letter), "headers": headers, **_bytes("value", letter.value)}) + "\n")
        return
    lines = [
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("topic", letter.topic),
        ("partition", "" if letter.partition is None else str(letter.partition)),
        ("offset", "" if letter.offset is None else str(letter.offset)),
        ("source", letter.source or ""),
        *((f"header {name}", _text(value)) for name, value in letter.headers),
    ]
    for name, text in lines:
        sys.stdout.write(f"{printable(name)}: {printable(text)}\n")
    sys.stdout.write(f"\n{printable(_text(letter.value), lines=True)}\n")


def described(letter: DeadLetter) -> dict[str, Any]:
    """Return what is known of a letter as the members of a JSON object, all but what it carries."""
    names = ("key", "reason", "detail", "topic", "partition", "offset", "source")
    return {name: getattr(letter, name) for name in names}


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    """Return bytes as a JSON member: text, or base64 under another name when they are none."""
    try:
        return {name: None if value is None else value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value or b"").decode()}


def _text(value: bytes | None) -> str:
    """Return bytes as text; what is not UTF-8 is spelled out."""
    return "null" if value is None else value.decode("utf-8", "backslashreplace")
