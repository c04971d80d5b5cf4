"""Takes a JSON array apart, so that each of its elements can be refused by itself."""

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from models.text import one_line

_SPACE: Final = re.compile(r"[ \t\n\r]*")

_decode = msgspec.json.Decoder(list[Raw]).decode
# Numbers stay texts: Python's own have a limit of digits.
_scan = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode


class NotAnArrayError(Exception):
    """A value is no JSON array; the message says why."""

    def __init__(self, fault: str, index: int | None = None) -> None:
        super().__init__(fault)
        #: The first element that is no JSON; None when there is none, or nothing that begins as an array.
        self.index = index


def split_array(value: bytes, most: int) -> Sequence[bytes]:
    """Return the elements of a JSON array; raises `NotAnArrayError`.

    What the decoder does not read in an element (half of a surrogate pair, NaN) is left to whoever reads the element;
    then the array has at most so many.
    """
    try:
        return [bytes(element) for element in _decode(value)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fault = one_line(error)
    except RecursionError:
        fault = "nested too deeply"
    return _scan_array(value.decode("utf-8", "surrogateescape"), fault, most)


def _scan_array(text: str, fault: str, most: int) -> Sequence[bytes]:
    place = _skip_space(text, 0)
    if text[place : place + 1] != "[":
        raise NotAnArrayError(fault)
    elements: list[bytes] = []
    while len(elements) < most:
        begin = _skip_space(text, place + 1)
        try:
            _, end = _scan(text, begin)
        except (ValueError, RecursionError):
            raise NotAnArrayError(fault, len(elements)) from None
        elements.append(text[begin:end].encode("utf-8", "surrogateescape"))
        place = _skip_space(text, end)
        if text[place : place + 1] != ",":
            break
    if text[place : place + 1] != "]" or _skip_space(text, place + 1) != len(text):
        raise NotAnArrayError(fault)
    return elements


def _skip_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()
