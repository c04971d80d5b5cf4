"""Where settings come from: `milepost.toml`, the environment, flags; each is whole from the last that has it."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final

from models.errors import MilepostError
from models.settings_file import CONFIG_FILE, read_secret_file
from models.text import printable

environment: Final = os.environ  # noqa: TID251 - this is the one place that reads it
ENVIRONMENT_PREFIX: Final = "MILEPOST_"
#: Earlier names of settings, which go on to count.
ALIASES: Final[Mapping[str, str]] = {
    "kafka_security": "kafka_security_protocol",
    "kafka_username": "kafka_sasl_username",
    "kafka_password": "kafka_sasl_password",
    "kafka_password_file": "kafka_sasl_password_file",
    "kafka_ca": "kafka_ssl_cafile",
    "kafka_certificate": "kafka_ssl_certfile",
    "kafka_key": "kafka_ssl_keyfile",
}
#: The setting that is both: what the file held at the start, and the file.
_READ_AT_THE_START: Final = "database"
_FILE: Final = "_file"
#: Names that Kubernetes makes for Services, and those of the tests: contract, section 5.
_PASSED_OVER: Final = re.compile(
    r"MILEPOST_(?:(?:.*_)?SERVICE_(?:HOST|PORT(?:_.*)?)|(?:.*_)?PORT_[0-9]+_.*|TEST_.*)|(?P<port>MILEPOST_(?:.*_)?PORT)"
)


class SettingsError(MilepostError):
    """A setting is invalid."""


def variable_of(name: str) -> str:
    """Return the name of a setting in the environment."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


def check_environment_names(fields: Iterable[str]) -> None:
    """Raise `SettingsError` for a name in the environment that is no setting."""
    known = {variable_of(name) for name in (*fields, *ALIASES)}
    for name, value in sorted(environment.items()):
        upper = name.upper()
        if not upper.startswith(ENVIRONMENT_PREFIX) or upper in known:
            continue
        match = _PASSED_OVER.fullmatch(upper)
        if match is not None and (match["port"] is None or value.startswith(("tcp://", "udp://"))):
            continue
        nearest = get_close_matches(upper, known, 1, 0.0)[0]
        raise SettingsError(f"{printable(name)} is no setting; the nearest one is {nearest}")


def read_environment(fields: Collection[str]) -> dict[str, Any]:
    """Return the settings of the environment. Raises `SettingsError` where two of them contradict each other."""
    # The case of a name does not count, and an empty value is none.
    variables: dict[str, Any] = {name.upper(): value for name, value in environment.items() if value}
    names = (*fields, *ALIASES)
    found = {name: variables[variable_of(name)] for name in names if variable_of(name) in variables}
    return _resolve_aliases(found, variable_of)


def merge_sources(config_file: Mapping[str, Any], fields: Collection[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the file, the environment and the flags, of which the later win.

    Pydantic would merge several sources: sources that the file allows would be added to those of the environment.
    """
    merged: dict[str, Any] = {}
    for source in (
        _resolve_aliases(config_file, lambda name: f"{name} in {CONFIG_FILE}"),
        read_environment(fields),
        _resolve_aliases(flags, str),
    ):
        for name in source:
            # A secret and the file that holds it are one setting.
            merged.pop(name.removesuffix(_FILE) if name.endswith(_FILE) else name + _FILE, None)
        merged |= source
    if (path := merged.get(_READ_AT_THE_START + _FILE)) is not None:
        with suppress(ValueError):  # The setting of the file reports it.
            merged[_READ_AT_THE_START] = read_secret_file(path)
    return merged


def _resolve_aliases(source: Mapping[str, Any], written: Callable[[str], str]) -> dict[str, Any]:
    """Return the settings of one source by their own names; raises `SettingsError` for those that are said twice."""
    source = {name: value for name, value in source.items() if value is not None}
    settings = {name: value for name, value in source.items() if name not in ALIASES}
    for alias, name in ALIASES.items():
        if alias in source and settings.setdefault(name, source[alias]) != source[alias]:
            raise SettingsError(f"{written(alias)} and {written(name)} are one setting and differ: say the latter")
    for name in settings:
        if name.endswith(_FILE) and (secret := name.removesuffix(_FILE)) in settings:
            raise SettingsError(f"{written(secret)} and {written(name)} are both set: say one of the two")
    return settings
