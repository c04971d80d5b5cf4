"""Events in YAML: one or several documents, each an event or a list of events."""

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import yaml

from consumers.event_numbers import encode_event
from consumers.lines import ParsedEvents, ParseError, decode_lines
from models.domain.events import MAX_VALUE_BYTES
from models.domain.json_values import MAX_JSON_DEPTH

#: The library holds a document whole; each of its nodes takes some 400 bytes, and some 50 µs.
MAX_DOCUMENT_CHARACTERS: Final = 4 * 1024 * 1024
MAX_DOCUMENT_NODES: Final = 100_000
_DIVIDE: Final = "divide it by lines of ---, or write JSON Lines"
#: An event stands in a list in its document, and the deepest object holds a node too.
_MAX_NODE_DEPTH: Final = MAX_JSON_DEPTH + 2

_NULL_TAG: Final = "tag:yaml.org,2002:null"
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
#: The numbers of YAML 1.2's core schema. What only YAML 1.1 takes for a number (`1:30`, `1_000`) is text.
_DECIMAL: Final = re.compile(r"(?P<sign>[-+]?)(?P<whole>[0-9]*)(?P<fraction>\.[0-9]*)?(?P<exponent>[eE][-+]?[0-9]+)?")
_WITHOUT_SIGN: Final = {8: re.compile(r"0o[0-7]+"), 16: re.compile(r"0x[0-9a-fA-F]+")}


def spell_yaml_number(text: str) -> str | None:
    """Return a number of YAML 1.2 as JSON writes it, with the same digits; None for infinity and for other text."""
    for base, pattern in _WITHOUT_SIGN.items():
        if pattern.fullmatch(text):
            # Python writes numbers of up to 4,300 digits.
            with suppress(ValueError):
                return str(int(text, base))
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    fraction = (match["fraction"] or "").removeprefix(".")
    if not match["whole"] and not fraction:
        return None
    whole = match["whole"].lstrip("0") or "0"
    number = f"{match['sign'].replace('+', '')}{whole}{f'.{fraction}' if fraction else ''}{match['exponent'] or ''}"
    return number if math.isfinite(float(number)) else None


class _TextLoader(yaml.SafeLoader):
    """Reads every plain scalar but null as text, whatever YAML 1.1 would make of it: `17`, `1.0`, `no`, a date.

    A name that stands twice in one mapping is an error, except the merge key; YAML demands it, the library does not.
    Nodes are bounded in number and depth.
    """

    def __init__(self, stream: "_LineReader") -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_document(self) -> yaml.Node | None:
        """Compose a document; its nodes are counted anew."""
        self._nodes = 0
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - any key
        """Compose a node; raises `ComposerError` for one too many or too deep."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > MAX_DOCUMENT_NODES:
            self._refuse(f"a document of more than {MAX_DOCUMENT_NODES} names and values: {_DIVIDE}")
        if self._depth > _MAX_NODE_DEPTH:
            self._refuse(f"nested deeper than {MAX_JSON_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, fault: str) -> None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        raise yaml.composer.ComposerError(None, None, fault, mark)

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
        self._lines = decode_lines(lines)
        self.line_number = 0
        #: How many characters were read of the present document.
        self.document_characters = 0

    def read(self, _size: int = -1) -> str:
        self.line_number += 1
        line = next(self._lines, "")
        self.document_characters += len(line)
        if self.document_characters > MAX_DOCUMENT_CHARACTERS:
            raise ParseError(
                self.line_number, f"a document of more than {MAX_DOCUMENT_CHARACTERS} characters: {_DIVIDE}"
            )
        return line


class _TooDeepError(Exception):
    """A node is nested deeper than an event may be, once its aliases are written out."""


def _is_oversize(node: yaml.Node) -> bool:
    """Return whether a node is larger than an event may be, once its aliases are written out; raises `_TooDeepError`.

    Aliases of aliases, and merge keys, multiply: some lines may stand for gigabytes, and one that contains itself never
    ends.
    """
    sizes: dict[int, float] = {}

    def measure(part: yaml.Node, depth: int) -> float:
        if depth > _MAX_NODE_DEPTH:
            raise _TooDeepError
        if id(part) not in sizes:
            sizes[id(part)] = math.inf  # for a part of itself
            if isinstance(part, yaml.ScalarNode):
                size: float = len(part.value) + 1
            elif isinstance(part, yaml.MappingNode):
                size = 1 + sum(measure(key, depth + 1) + measure(value, depth + 1) for key, value in part.value)
            else:
                size = 1 + sum(measure(item, depth + 1) for item in part.value)
            sizes[id(part)] = size
        return sizes[id(part)]

    return measure(node, 1) > MAX_VALUE_BYTES


def _node_to_event(loader: _TextLoader, node: yaml.Node) -> bytes | str:
    try:
        if _is_oversize(node):
            return f"more than {MAX_VALUE_BYTES} bytes once its aliases are written out"
        if not isinstance(node, yaml.MappingNode):
            return "not an object"
        return encode_event(loader.construct_document(node), spell_yaml_number)
    except (_TooDeepError, RecursionError):
        # An alias of an alias of an alias
        return f"nested deeper than {MAX_JSON_DEPTH} levels"


def parse_yaml(lines: Iterable[bytes]) -> ParsedEvents:
    """Yield the events of all documents. Raises `ParseError`."""
    text = _LineReader(lines)
    try:
        loader = _TextLoader(text)
        while loader.check_node():
            document: Any = loader.get_node()
            text.document_characters = 0
            # Each event is forgotten at once: with merge keys, each may become large.
            nodes = document.value[::-1] if isinstance(document, yaml.SequenceNode) else [document]
            del document
            while nodes:
                node = nodes.pop()
                if node.tag != _NULL_TAG:
                    yield node.start_mark.line + 1, _node_to_event(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ParseError(mark.line + 1 if mark else text.line_number, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        # A character that YAML does not allow
        raise ParseError(text.line_number, f"not YAML: {' '.join(str(error).split())}") from None
