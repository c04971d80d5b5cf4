"""What a value of a setting may be: numbers, addresses, servers, files. Every fault is a `ValueError` with one line."""

import json
import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from models.domain.events import SLUG_PATTERN
from models.text import printable

MAX_PORT: Final = 65535
#: What may surround a value, and is left out. A line break is no blank: it has come there by mistake.
BLANKS: Final = " \t"
_MAX_SHOWN: Final = 64
_MAX_HOST_LENGTH: Final = 253
_MAX_URL_LENGTH: Final = 4096

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]*)://")
#: A longer label, or an empty one, is an error of Python's resolver that has nothing to do with the network.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_SLUG: Final = re.compile(SLUG_PATTERN)
#: Within a URL of a SQLite database: what stands before the path of the file, the path, and the parameters.
_SQLITE_FILE: Final = re.compile(r"(sqlite(?:\+[a-z]+)?:///)(~[^?]*)(.*)")


def shown(text: str) -> str:
    """Return a value in quotes as a line can show it: its beginning, without control characters."""
    return f"'{printable(text[:_MAX_SHOWN])}{'…' if len(text) > _MAX_SHOWN else ''}'"


def check_text(text: str, *, is_secret: bool = False) -> str:
    """Return text without surrounding blanks; a secret stays as it is. Raises `ValueError`, which shows no secret."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    if is_secret:
        return text
    text = text.strip(BLANKS)
    if control := _CONTROL_CHARACTER.search(text):
        raise ValueError(f"it holds the control character {printable(control[0])}")
    return text


def parse_whole_number(value: Any) -> int:  # noqa: ANN401 - whatever a file or a flag has
    """Return a whole number, which text has in the digits 0-9 alone. Raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip(BLANKS) if isinstance(value, str) else ""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"say a whole number in the digits 0-9, at most 18 of them, not {shown(str(value))}")
    return int(text)


def parse_truth(value: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether a value is true, which text has as `true` or `false`. Raises `ValueError`."""
    if isinstance(value, bool):
        return value
    text = value.strip(BLANKS).lower() if isinstance(value, str) else ""
    if text not in {"true", "false"}:
        raise ValueError(f"say true or false, not {shown(str(value))}")
    return text == "true"


def parse_seconds(value: Any) -> float:  # noqa: ANN401 - as above
    """Return a number of seconds, which text has as `30` or `0.5`. Raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = value.strip(BLANKS) if isinstance(value, str) else ""
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"say a number of seconds like 30 or 0.5 in the digits 0-9, not {shown(str(value))}")
    return float(text)


def _check_host(host: str) -> None:
    """Raise `ValueError` unless this is a name, an IPv4 address, or an IPv6 address in brackets."""
    if host.startswith("[") and host.endswith("]"):
        try:
            IPv6Address(host[1:-1])
        except AddressValueError:
            raise ValueError(f"{shown(host)} is no IPv6 address") from None
    elif not _HOST_NAME.fullmatch(host) or len(host) > _MAX_HOST_LENGTH:
        raise ValueError(f"{shown(host)} is no host name")


def split_address(text: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of an address that was checked."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _check_address(text: str, lowest_port: int) -> None:
    """Raise `ValueError` unless this is host:port."""
    if text.count(":") > 1 and not text.startswith("["):
        # The port of a bare IPv6 address cannot be told from its last group.
        host, _, port = text.rpartition(":")
        try:
            IPv6Address(host)
        except AddressValueError:
            raise ValueError(f"{shown(text)} has too many colons: say host:port") from None
        raise ValueError(f"write an IPv6 address in brackets: [{host}]:{port}")
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or not lowest_port <= int(port) <= MAX_PORT:
        raise ValueError(f"{shown(text)} does not end with a port from {lowest_port} to {MAX_PORT}: say host:port")
    _check_host(host)


def parse_listener(text: str) -> str:
    """Return the address of a listener, `host:port`; port 0 is any free one. Raises `ValueError`."""
    if scheme := _SCHEME.match(text):
        raise ValueError(f"say host:port without {scheme[0]}, e.g. 127.0.0.1:8090")
    host, _, port = text.rpartition(":")
    if host in {"", "*"} and _PORT.fullmatch(port):
        raise ValueError(f"say the address too: 0.0.0.0:{port} is every IPv4 address, 127.0.0.1:{port} this machine")
    _check_address(text, 0)
    return text


def parse_servers(text: str, security: str) -> str:
    """Return `host:port,host:port`, which both Kafka clients read alike. Raises `ValueError`."""
    servers = []
    for written in filter(None, (part.strip(BLANKS) for part in text.split(","))):
        server = written.removesuffix("/")
        if scheme := _SCHEME.match(server):
            server = server[scheme.end() :]
            protocol = scheme[1].upper()
            if protocol not in {"KAFKA", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}:
                raise ValueError(f"say host:port without {scheme[0]}")
            if protocol not in {"KAFKA", security}:
                raise ValueError(f"{protocol}:// contradicts kafka_security_protocol, which is {security}")
        _check_address(server, 1)
        if "%" in server:
            raise ValueError(f"{shown(server)} has a zone, which Kafka clients do not read")
        servers.append(server)
    if not servers:
        raise ValueError("say host:port, or several separated by commas")
    return ",".join(dict.fromkeys(servers))


def _is_web_address(text: str, foreign: str) -> bool:
    """Return whether this is a URL of HTTP with a proper host and without these characters."""
    try:
        url = urlsplit(text)
        host, _, port = url.netloc.rpartition(":") if url.port is not None else (url.netloc, "", "80")
        _check_address(f"{host}:{port}", 1)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and not set(text) & set(foreign)


def parse_board_url(text: str) -> str:
    """Return the URL at which people reach the board, without a slash at the end. Raises `ValueError`."""
    if not _is_web_address(text, "@?# \\"):
        raise ValueError("say http://host or https://host, with the port and path that people use")
    return text.rstrip("/")


def check_token_endpoint(text: str) -> str:
    """Return the URL that gives tokens. Raises `ValueError`, which shows nothing of the URL: it may hold a secret."""
    if not _is_web_address(text, "@# \\"):
        raise ValueError("say https://host/path, as the identity provider has it, without a user or password in it")
    return text


def parse_addresses(value: Any, most: int) -> Any:  # noqa: ANN401 - pydantic validates what is no text
    """Return the addresses, `host:port`, in a text with commas, or in a list. Raises `ValueError`."""
    written = [part.strip(BLANKS) for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(written, list | tuple) or not all(isinstance(address, str) for address in written):
        return value
    addresses = list(dict.fromkeys(filter(None, written)))
    for address in addresses:
        if scheme := _SCHEME.match(address):
            raise ValueError(f"say host:port without {scheme[0]}")
        _check_address(address, 1)
        if "%" in address:
            raise ValueError(f"{shown(address)} has a zone, which a URL does not take")
    if len(addresses) > most:
        raise ValueError(f"say {most} addresses at most")
    return addresses


def parse_host_names(value: Any) -> Any:  # noqa: ANN401 - pydantic validates what is no text
    """Return the names in a text with commas, or in a list. Raises `ValueError` for what is no host name."""
    names = [part.strip(BLANKS) for part in value.split(",") if part.strip(BLANKS)] if isinstance(value, str) else value
    for name in names if isinstance(names, list | tuple) else ():
        if isinstance(name, str) and not _HOST_NAME.fullmatch(name):
            raise ValueError(f"{shown(name)} is no host name: say names without scheme, port and path")
    return names


def expand_home(value: Any) -> Any:  # noqa: ANN401 - pydantic validates what is no text
    """Return a path, in which `~` is the user's home folder. Raises `ValueError`."""
    if isinstance(value, str | Path):
        if not str(value):
            raise ValueError("say a path")
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError(f"{shown(str(value))}: there is no such home folder") from None
    return value


def expand_database(url: str) -> str:
    """Return the URL of a database; in the file of SQLite, `~` is the user's home folder. Raises `ValueError`."""
    if len(url) > _MAX_URL_LENGTH:
        raise ValueError(f"it has more than {_MAX_URL_LENGTH} characters")
    match = _SQLITE_FILE.fullmatch(url)
    return url if match is None else f"{match[1]}{expand_home(match[2])}{match[3]}"


def parse_sources(text: str) -> Any:  # noqa: ANN401 - pydantic validates what it is
    """Return the allowed sources that are written as JSON. Raises `ValueError`."""

    def without_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(members)) < len(members):
            raise _RepeatedNameError
        return found

    try:
        return json.loads(text, object_pairs_hook=without_repetition)
    except _RepeatedNameError:
        raise ValueError("a name stands twice in one object") from None
    except (ValueError, RecursionError):
        raise ValueError('it is not JSON: say e.g. {"north": ["office", "plans"]}') from None


class _RepeatedNameError(Exception):
    """A name stands twice in one object."""


def check_programmes(sources: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a name that no programme can have: its sources would never be looked at."""
    for programme in sources:
        if not _SLUG.fullmatch(programme):
            raise ValueError(f"{shown(programme)} is no name of a programme")
