"""What is wrong with the attributes of an event that was rejected: all of it, in words.

Nothing here runs for an event that is accepted. The decoder decides, and this explains to whoever wrote the publisher.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from models.domain.events import DATA_TYPES, ProgrammeRegistered, parse_subject
from models.domain.timestamps import parse_instant

MAX_ATTRIBUTE_LENGTH: Final = 255
_MAX_QUOTED: Final = 64
_MAX_SLUG_LENGTH: Final = 64
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: The rule of slugs in words.
SLUG_RULE: Final = "a slug has 1 to 64 of a-z, 0-9, and within also '.', '_', '-'"
_NO_SLUG_CHARACTER: Final = re.compile(r"[^a-z0-9._-]")
_TIME_ADVICE: Final = "write it as 2026-02-03T15:30:00+02:00 or, in UTC, as 2026-02-03T13:30:00Z"
_BETWEEN_WORDS: Final = re.compile(r"[^a-z0-9._-]+")
_SUBJECT_PARTS: Final = ("programme", "project")
_JSON_KINDS: Final = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "an array"}


def find_attribute_faults(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of all attributes, given as JSON and null where they are missing, as the decoder orders them."""
    present = {name: attribute for name, attribute in attributes.items() if attribute is not None}
    texts = {name: attribute for name, attribute in present.items() if isinstance(attribute, str)}
    for name in sorted(present.keys() - texts.keys()):
        yield f"{name} is {kind_of(present[name])}, not a text"
    if "specversion" not in present:
        yield 'specversion is missing: write "1.0"'
    elif texts.get("specversion", "1.0") != "1.0":
        yield f'specversion is {quote(texts["specversion"])}, not "1.0"'
    for name in ("source", "id"):
        if name not in present:
            yield f"{name} is missing"
        elif name in texts:
            yield from text_faults(name, texts[name])
    for name in ("time", "recordedtime"):
        yield from _time_faults(name, texts[name]) if name in texts else ()
    for name in ("time", "type", "subject"):
        if name not in present:
            yield f"{name} is missing"
    event_type = texts.get("type")
    yield from _type_faults(event_type) if event_type is not None else ()
    yield from _subject_faults(texts["subject"], event_type) if "subject" in texts else ()


def join_faults(faults: Sequence[str], max_length: int) -> str:
    """Return as many faults as there is room for, and how many more there are."""
    detail = faults[0]
    for index, fault in enumerate(faults[1:], 1):
        rest = f"; and {len(faults) - index} more"
        if len(detail) + len(fault) + len(rest) > max_length:
            return detail[: max_length - len(rest)] + rest
        detail = f"{detail}; {fault}"
    return detail


def _time_faults(name: str, text: str) -> Iterator[str]:
    try:
        parse_instant(text)
    except ValueError as error:
        yield f"{name}: {error}, {_TIME_ADVICE}"


def _type_faults(event_type: str) -> Iterator[str]:
    if not event_type:
        yield "type is empty"
    elif event_type not in DATA_TYPES:
        nearest = get_close_matches(event_type[:_MAX_QUOTED], DATA_TYPES, 1)
        advice = f": did you mean {nearest[0]!r}?" if nearest else ""
        yield f"type {quote(event_type)} is not known{advice}"


def _subject_faults(subject: str, event_type: str | None) -> Iterator[str]:
    is_alone = event_type == ProgrammeRegistered.TYPE
    expected = "<programme> alone" if is_alone else "<programme>/<project>"
    parts = subject.split("/")
    if parse_subject(subject) is not None:
        if event_type in DATA_TYPES and is_alone == (len(parts) > 1):
            yield f"subject {quote(subject)} of a {event_type} is not {expected}"
        return
    faults = [
        f"the {name} {quote(part)} {fault}"
        for name, part in zip(_SUBJECT_PARTS, parts, strict=False)
        if (fault := slug_fault(part)) is not None
    ]
    if len(parts) > len(_SUBJECT_PARTS):
        faults.append(f"it has {len(parts)} parts")
    yield f"subject {quote(subject)} is not {expected}: {', '.join(faults)} ({SLUG_RULE})"


def text_faults(name: str, text: str) -> Iterator[str]:
    """Yield what is wrong with an id or a source."""
    if not text:
        yield f"{name} is empty"
    if len(text) > MAX_ATTRIBUTE_LENGTH:
        yield f"{name} has {len(text)} characters, allowed are {MAX_ATTRIBUTE_LENGTH}"
    if (found := _CONTROL_CHARACTER.search(text)) is not None:
        place = f"U+{ord(found[0]):04X} as character {found.start() + 1}"
        yield f"{name} holds a control character ({place}): {quote(text)}"


def slug_fault(text: str) -> str | None:
    """Return how a text breaks the rule of slugs, with the character; None for a slug."""
    if not text:
        return "is empty"
    if (found := _NO_SLUG_CHARACTER.search(text)) is not None:
        advice = _BETWEEN_WORDS.sub("-", text.lower()).strip("._-")
        example = f", write {advice[:_MAX_SLUG_LENGTH]!r}" if advice and text.isascii() else ""
        # Letters of other alphabets may look like those that are allowed.
        code_point = "" if found[0].isascii() else f" (U+{ord(found[0]):04X})"
        return f"holds {found[0]!r}{code_point}{example}"
    if len(text) > _MAX_SLUG_LENGTH:
        return f"has {len(text)} characters"
    for character, verb in ((text[0], "begins"), (text[-1], "ends")):
        if not character.isalnum():
            return f"{verb} with {character!r}"
    return None


def kind_of(content: object) -> str:
    """Return in words what kind of JSON it is."""
    return "null" if content is None else _JSON_KINDS.get(type(content), "an object")


def quote(text: str | None) -> str:
    """Return a text as it is quoted, the beginning of a long one."""
    if text is None:
        return "missing"
    return repr(text) if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]!r}…"
