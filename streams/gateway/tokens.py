"""Who may publish what: the tokens of the gateway, in a TOML file that is read again when it changes.

The file has no token, only the SHA-256 of each: contract, section 9.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from models.domain.events import SLUG_PATTERN
from models.errors import MilepostError
from models.text import one_line, printable

ANY_PROGRAMME: Final = "*"
#: The end of a pattern that stands for all sources with the text before its asterisk.
_PREFIX_END: Final = "/*"
MAX_NAME_LENGTH: Final = 64
#: Each has counters of its own.
MAX_TOKENS: Final = 1000
#: The file is read every second.
MAX_FILE_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_PROGRAMME: Final = re.compile(SLUG_PATTERN)
_MAX_SOURCE_LENGTH: Final = 255


class TokensFileError(MilepostError):
    """The file of tokens cannot be used."""


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """What whoever has a token may publish."""

    name: str
    sha256: str
    sources: Annotated[tuple[str, ...], Meta(min_length=1)]
    programmes: Annotated[tuple[str, ...], Meta(min_length=1)]
    #: Events a second; None for no limit.
    rate: Annotated[float, Meta(gt=0, le=1e9)] | None = None

    @property
    def programme_set(self) -> frozenset[str]:
        """The programmes, written in the one way in which two tokens compare."""
        return frozenset([ANY_PROGRAMME] if ANY_PROGRAMME in self.programmes else self.programmes)

    def allows_source(self, source: str) -> bool:
        """Return whether the token may speak for a source."""
        return any(_matches(pattern, source) for pattern in self.sources)

    def allows_programme(self, programme: str) -> bool:
        """Return whether the token may speak for a programme."""
        return ANY_PROGRAMME in self.programmes or programme in self.programmes


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    token: list[dict[str, Any]] = []


class TokenTable:
    """The tokens of a file."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self.tokens = tokens
        self._by_digest: Mapping[str, Token] = {token.sha256.lower(): token for token in tokens}

    def find(self, secret: str) -> Token | None:
        """Return the token of a secret, if there is any."""
        # Whoever measures how long this takes learns of digests, from which no secret follows.
        return self._by_digest.get(sha256(secret.encode("utf-8", "surrogateescape")).hexdigest())


def parse_tokens(text: str) -> TokenTable:
    """Return the tokens of a file; raises `TokensFileError` about the first fault."""
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TokensFileError(f"not as it must be: {one_line(error)}") from None
    if not document.token:
        raise TokensFileError("there is no [[token]]; `milepost gateway token NAME` prints one")
    tokens = [_parse_token(number, fields) for number, fields in enumerate(document.token, 1)]
    if len(tokens) > MAX_TOKENS:
        raise TokensFileError(f"{len(tokens)} tokens, allowed are {MAX_TOKENS}: run another gateway for the others")
    names, digests = dict[str, Token](), dict[str, Token]()
    for token in tokens:
        if token.name in names:
            raise TokensFileError(f"two tokens have the name {token.name!r}")
        if (other := digests.setdefault(token.sha256.lower(), token)) is not token:
            raise TokensFileError(f"{other.name!r} and {token.name!r} are the same token: give each its own")
        names[token.name] = token
    for one, other, shared in _find_conflicts(tokens):
        # A retraction's subject is free: one of the two could retract the other's events of any programme.
        raise TokensFileError(
            f"{one.name!r} and {other.name!r} may both speak for {printable(shared)}:"
            " give them the same programmes, or sources of their own"
        )
    return TokenTable(tokens)


def _parse_token(number: int, fields: Mapping[str, Any]) -> Token:
    name = fields.get("name")
    where = f"token {name!r}" if isinstance(name, str) else f"token {number}"
    try:
        token = msgspec.convert(fields, Token)
    except msgspec.ValidationError as error:
        raise TokensFileError(f"{where}: {one_line(error)}") from None
    for fault in _find_faults(token):
        raise TokensFileError(f"{where}: {fault}")
    return token


def is_token_name(name: str) -> bool:
    """Return whether a token may have a name: it becomes a label of metrics."""
    return _NAME.fullmatch(name) is not None


def _find_faults(token: Token) -> Iterator[str]:
    if not is_token_name(token.name):
        yield f"a name has at most {MAX_NAME_LENGTH} letters, digits, dots, dashes and underscores"
    if not _DIGEST.fullmatch(token.sha256):
        yield "sha256 is not 64 hexadecimal digits"
    for source in token.sources:
        if not source.isprintable() or not 0 < len(source) <= _MAX_SOURCE_LENGTH:
            yield f"source {source[:64]!r} has no characters, more than {_MAX_SOURCE_LENGTH}, or unprintable ones"
        if source == "*":
            yield "source '*' is no prefix: a prefix ends in /*, as //office.example/*"
    for programme in token.programmes:
        if programme != ANY_PROGRAMME and not _PROGRAMME.fullmatch(programme):
            yield f"programme {programme[:64]!r} is no name of a programme, nor '*'"


def _matches(pattern: str, source: str) -> bool:
    return source.startswith(pattern[:-1]) if pattern.endswith(_PREFIX_END) else source == pattern


def _find_conflicts(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token, str]]:
    """Yield pairs of tokens that have other programmes and may both speak for a source or prefix, which is the third.

    Each pattern looks up itself and the prefixes that contain it, so that this takes no longer than the file is long.
    """
    #: By pattern: of those that have other programmes, one token each.
    by_pattern: defaultdict[str, dict[frozenset[str], Token]] = defaultdict(dict)
    for token in tokens:
        for source in token.sources:
            by_pattern[source].setdefault(token.programme_set, token)
    for token in tokens:
        for source in token.sources:
            for pattern in _containing_patterns(source):
                for programmes, other in by_pattern.get(pattern, {}).items():
                    if programmes != token.programme_set:
                        yield other, token, source


def _containing_patterns(source: str) -> Iterator[str]:
    """Yield the patterns that contain a source or prefix: itself, and every wider prefix."""
    yield source
    end = source.find("/")
    while end >= 0:
        wider = f"{source[: end + 1]}*"
        if wider != source:
            yield wider
        end = source.find("/", end + 1)


class TokensFile:
    """The tokens in force: those of the file as it could last be read and used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytes | None = None
        self.table = TokenTable()
        #: Why the file as it is now is not in force; empty when it is.
        self.problem = ""

    def load(self) -> None:
        """Read the file; raises `TokensFileError` when it cannot be used."""
        self.reload()
        if self.problem:
            raise TokensFileError(f"MILEPOST_GATEWAY_TOKENS: {self.problem}")

    def reload(self) -> bool:
        """Read the file again; return whether that changed anything. What was in force stays when it is broken."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            return self._note_problem(f"{self._path} cannot be read: {error.strerror}", None)
        if content == self._content:
            return False
        if len(content) > MAX_FILE_BYTES:
            return self._note_problem(f"{self._path}: more than {MAX_FILE_BYTES // 1024} KiB", content)
        try:
            self.table = parse_tokens(content.decode("utf-8"))
        except UnicodeDecodeError:
            return self._note_problem(f"{self._path}: not UTF-8", content)
        except TokensFileError as error:
            return self._note_problem(f"{self._path}: {error}", content)
        self._content, self.problem = content, ""
        return True

    def _note_problem(self, problem: str, content: bytes | None) -> bool:
        is_new = problem != self.problem
        self._content, self.problem = content, problem
        return is_new
