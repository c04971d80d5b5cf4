"""Who is told of what: the targets of `milepost notify`, in a TOML file that is read again when it changes.

Contract, section 10. Addresses and secrets may stand in files of their own, beside the file of targets.
"""

import binascii
import re
import tomllib
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from models.domain.events import SLUG_PATTERN
from models.domain.forecast_changes import FORECAST_CHANGED, GATE_OPENED, MILESTONE_ACHIEVED
from models.errors import MilepostError
from models.text import one_line, printable
from streams.notify.addresses import is_refused
from streams.notify.digest_times import DigestTimes, parse_digest_times

ANY: Final = "*"
AT_ONCE: Final = "at once"
#: Each target has a consumer of its own.
MAX_TARGETS: Final = 50
MAX_NAME_LENGTH: Final = 64
#: What Apprise may be used for, each also in its form with TLS (`ntfys`).
PEOPLE_SCHEMES: Final = (
    *("mailto", "slack", "msteams", "workflows", "tgram", "ntfy", "matrix", "mmost", "rocket", "discord", "gotify"),
)
#: Microsoft has ended what `msteams` is for; it is taken so that Apprise's refusal can say so.
_ADVISED_SCHEMES: Final = tuple(scheme for scheme in PEOPLE_SCHEMES if scheme != "msteams")
SYSTEM_SCHEMES: Final = ("https", "http")
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how a secret begins
#: Bytes of a secret: Standard Webhooks, "Signature scheme".
_SECRET_BYTES: Final = range(24, 65)
_MAX_SECRETS: Final = 2
_TYPES: Final = (FORECAST_CHANGED, MILESTONE_ACHIEVED, GATE_OPENED)
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_SLUG: Final = re.compile(SLUG_PATTERN)
_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_TABLE_BYTES: Final = 1024 * 1024
_MAX_MIN_DAYS: Final = 100_000

_Names = Annotated[tuple[str, ...], Meta(min_length=1)]


class TargetsFileError(MilepostError):
    """The file of targets, or one target in it, cannot be used."""


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[target]]` as it stands in the file."""

    name: str
    url: str | None = None
    url_file: str | None = None
    secret_file: str | None = None
    when: str = AT_ONCE
    timezone: str | None = None
    programmes: _Names = (ANY,)
    projects: _Names = (ANY,)
    milestones: _Names = (ANY,)
    types: _Names = (ANY,)
    min_days: Annotated[int, Meta(ge=0, le=_MAX_MIN_DAYS)] = 1
    gates: bool = False
    private: bool = False


class Filters(NamedTuple):
    """Which changes a target is told of."""

    programmes: frozenset[str] | None
    projects: frozenset[str] | None
    milestones: frozenset[str] | None
    types: frozenset[str] | None
    min_days: int
    #: Only milestones that others wait for.
    is_for_gates: bool


class Target(NamedTuple):
    """Whom to tell, of what, and when."""

    name: str
    url: str
    #: The keys of signatures; empty for people.
    secrets: tuple[bytes, ...]
    #: When digests are due; None for whoever is told at once.
    digest_times: DigestTimes | None
    filters: Filters
    is_private_allowed: bool
    #: Identifies the entry, secrets apart: a target that is switched off stays off until this changes.
    fingerprint: str

    @property
    def scheme(self) -> str:
        """The scheme of the address, which says how it is told."""
        return urlsplit(self.url).scheme.lower()

    @property
    def is_system(self) -> bool:
        """Whether it is a system, which gets each change as an event, and not people."""
        return self.scheme in SYSTEM_SCHEMES


class TargetTable(NamedTuple):
    """The targets of a file."""

    targets: Sequence[Target] = ()
    #: Why the others cannot be used, in one line each, by name.
    unusable: Mapping[str, str] = {}

    def find(self, name: str) -> Target:
        """Return the target of a name; raises `TargetsFileError`."""
        for target in self.targets:
            if target.name == name:
                return target
        if name in self.unusable:
            raise TargetsFileError(f"target {printable(name)} cannot be used: {self.unusable[name]}")
        names = ", ".join(sorted({target.name for target in self.targets} | {*self.unusable}))
        raise TargetsFileError(f"there is no target {printable(name)!r}, only {names}")


def parse_targets(text: str, folder: Path) -> TargetTable:
    """Return the targets of a file in a folder; raises `TargetsFileError` when it is no file of targets."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetsFileError(f"not TOML: {one_line(error)}") from None
    entries = document.pop("target", [])
    if document:
        raise TargetsFileError(f"{printable(next(iter(document)))!r} stands where only [[target]] may")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TargetsFileError("'target' is no list of tables: say [[target]]")
    if not 0 < len(entries) <= MAX_TARGETS:
        raise TargetsFileError(f"there are {len(entries)} [[target]]: there must be 1 to {MAX_TARGETS}")
    targets, unusable = list[Target](), dict[str, str]()
    seen: set[str] = set()
    for number, fields in enumerate(entries, 1):
        name = fields.get("name")
        label = printable(name[:MAX_NAME_LENGTH]) if isinstance(name, str) and name else f"number {number}"
        if label in seen:
            raise TargetsFileError(f"two targets have the name {label!r}")
        seen.add(label)
        try:
            targets.append(_parse_target(fields, folder))
        except TargetsFileError as error:
            unusable[label] = str(error)
    return TargetTable(targets, unusable)


def _parse_target(fields: Mapping[str, Any], folder: Path) -> Target:
    try:
        entry = msgspec.convert(fields, _Entry)
    except msgspec.ValidationError as error:
        raise TargetsFileError(one_line(error)) from None
    for fault in _find_faults(entry):
        raise TargetsFileError(fault)
    url = _read_url(entry, folder)
    scheme = urlsplit(url).scheme.lower()
    is_system = scheme in SYSTEM_SCHEMES
    if is_system:
        _check_system_url(url, is_private_allowed=entry.private)
    elif scheme.removesuffix("s") not in PEOPLE_SCHEMES and scheme not in PEOPLE_SCHEMES:
        raise TargetsFileError(
            f"its url begins with {printable(scheme[:20]) + '://' if scheme else 'no scheme'!r}:"
            f" say https:// for a system, or for people one of {', '.join(_ADVISED_SCHEMES)}"
        )
    if not is_system and entry.secret_file is not None:
        raise TargetsFileError("secret_file is for http(s) alone: messages to people are not signed")
    if is_system and entry.when != AT_ONCE:
        raise TargetsFileError(f'a digest is for people: a system has when = "{AT_ONCE}"')
    return Target(
        entry.name,
        url,
        _read_secrets(entry.secret_file, folder) if is_system else (),
        _parse_when(entry),
        Filters(
            _parse_names(entry.programmes),
            _parse_names(entry.projects),
            _parse_names(entry.milestones),
            _parse_names(entry.types),
            entry.min_days,
            entry.gates,
        ),
        entry.private,
        blake2b(msgspec.json.encode((entry, url)), digest_size=8).hexdigest(),
    )


def _find_faults(entry: _Entry) -> Iterator[str]:
    if not _NAME.fullmatch(entry.name):
        yield f"a name has at most {MAX_NAME_LENGTH} letters, digits, dots, dashes and underscores"
    for key, names in (
        ("programmes", entry.programmes),
        ("projects", entry.projects),
        ("milestones", entry.milestones),
    ):
        for name in names:
            if name != ANY and not _SLUG.fullmatch(name):
                yield f"{key}: {printable(name[:64])!r} is neither a name nor '*'"
    for name in entry.types:
        if name not in {ANY, *_TYPES}:
            yield f"types: {printable(name[:64])!r} is neither '*' nor one of {', '.join(_TYPES)}"


def _parse_names(names: Sequence[str]) -> frozenset[str] | None:
    return None if ANY in names else frozenset(names)


def _read_url(entry: _Entry, folder: Path) -> str:
    if (entry.url is None) == (entry.url_file is None):
        raise TargetsFileError("say one of url and url_file")
    url = entry.url if entry.url is not None else _read_file("url_file", folder, entry.url_file or "").strip()
    # The address is a secret: no message repeats it.
    if not url or not url.isprintable() or any(character.isspace() for character in url):
        raise TargetsFileError("its url is empty, or has blanks or unprintable characters")
    try:
        urlsplit(url)
    except ValueError:
        raise TargetsFileError("its url is no address") from None
    return url


def _check_system_url(url: str, *, is_private_allowed: bool) -> None:
    parts = urlsplit(url)
    try:
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not parts.hostname or not has_port:
        raise TargetsFileError("its url has no host, or no port that there is")
    if parts.username is not None or parts.fragment:
        raise TargetsFileError("its url has a user or a fragment: a system is told by signature who speaks")
    if is_private_allowed:
        return
    if parts.scheme.lower() == "http":
        raise TargetsFileError("http:// is sent in clear: say https://, or private = true")
    try:
        address = ip_address(parts.hostname)
    except ValueError:
        return
    if is_refused(address):
        raise TargetsFileError(f"{address} is no public address: say private = true if it is meant")


def _read_secrets(path: str | None, folder: Path) -> tuple[bytes, ...]:
    if path is None:
        raise TargetsFileError(f"a system needs secret_file: a file with {SECRET_PREFIX}…, by which it knows us")
    lines = _read_file("secret_file", folder, path).split()
    if not 0 < len(lines) <= _MAX_SECRETS:
        raise TargetsFileError(
            f"secret_file has {len(lines)} lines: say one secret, or two while one replaces the other"
        )
    secrets = []
    for number, line in enumerate(lines, 1):
        try:
            secret = b64decode(line.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not line.startswith(SECRET_PREFIX) or len(secret) not in _SECRET_BYTES:
            raise TargetsFileError(
                f"secret_file, line {number}: a secret is {SECRET_PREFIX} and base64 of"
                f" {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} bytes"
            )
        secrets.append(secret)
    return tuple(secrets)


def _read_file(key: str, folder: Path, name: str) -> str:
    path = folder / Path(name).expanduser()
    try:
        return _read_text(path, _MAX_FILE_BYTES)
    except TargetsFileError as error:
        raise TargetsFileError(f"{key}: {printable(str(path))} {error}") from None


def _read_text(path: Path, max_bytes: int) -> str:
    """Return what a file holds; raises `TargetsFileError`, whose text goes behind the name of the file."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise TargetsFileError(f"cannot be read: {_reason(error)}") from None
    try:
        if len(content) <= max_bytes:
            return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise TargetsFileError(f"is not UTF-8, or larger than {max_bytes} bytes")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(error)


def _parse_when(entry: _Entry) -> DigestTimes | None:
    if entry.when == AT_ONCE:
        if entry.timezone is not None:
            raise TargetsFileError(f'a timezone is for digests: when is "{AT_ONCE}"')
        return None
    try:
        zone = ZoneInfo(entry.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TargetsFileError(f"there is no timezone {printable((entry.timezone or '')[:64])!r}") from None
    times = parse_digest_times(entry.when, zone)
    if times is None:
        raise TargetsFileError(
            f"when = {printable(entry.when[:64])!r}: say {AT_ONCE!r}, 'daily 08:00' or 'weekly mon 08:00'"
        )
    return times


class TargetsFile:
    """The targets in force: those of the file as it could last be read and used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.table = TargetTable()
        #: Why the file as it is now is not in force; empty when it is.
        self.problem = ""

    def load(self) -> None:
        """Read the file; raises `TargetsFileError` when it cannot be used."""
        self.reload()
        if self.problem:
            raise TargetsFileError(f"MILEPOST_NOTIFY: {self.problem}")

    def reload(self) -> bool:
        """Read the file, and those that it names; return whether anything changed. A broken one changes no target."""
        before = self.table, self.problem
        try:
            table = parse_targets(_read_text(self._path, _MAX_TABLE_BYTES), self._path.parent)
        except TargetsFileError as error:
            self.problem = f"{self._path}: {error}"
        else:
            self.problem = ""
            self.table = table
        return (self.table, self.problem) != before
