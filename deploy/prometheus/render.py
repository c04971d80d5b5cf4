"""Renders the configuration files of this folder for other addresses, and with shorter waits.

The files are complete, checked by promtool and amtool, and right for one machine with default ports. Addresses are
replaced in their text, so that comments and order stay; waits are divided for the demo and for tests, which cannot wait
for minutes. Nothing else changes, and no threshold ever.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import MilepostError

#: Where every worker and every board serves the runbook.
RUNBOOK_PATH: Final = "/runbook"
PROMETHEUS_DIR: Final = Path(__file__).parent
CONFIG_FILES: Final = (
    "prometheus.yml",
    "alertmanager.yml",
    *(f"rules/{path.name}" for path in sorted((PROMETHEUS_DIR / "rules").glob("*.yml"))),
)
#: Excludes whatever ends a line, a quoted text or a list.
_ADDRESS_PATTERN: Final = re.compile(r"[A-Za-z0-9.:/_~%?=&\[\]-]+")
#: A wait or an interval. Ranges in expressions are neither.
_DURATION_PATTERN: Final = re.compile(
    r"^(?P<key> *(?:- )?(?:for|keep_firing_for|(?:\w+_)?interval|scrape_timeout|group_wait): )"
    r"(?P<number>\d+)(?P<unit>[smhd])$",
    re.MULTILINE,
)
_SECONDS_BY_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class AddressError(MilepostError):
    """An address cannot stand in the files."""


@dataclass(frozen=True)
class Addresses:
    """The addresses of everything; the defaults are those in the files."""

    workers: Sequence[str] = ("127.0.0.1:8090",)
    alertmanagers: Sequence[str] = ("127.0.0.1:9093",)
    #: URLs without their paths, for the links in alerts.
    board: str = "http://127.0.0.1:8090"
    grafana: str = "http://127.0.0.1:3000"
    #: By default the board's own page.
    runbook: str = ""
    #: Alertmanager sends to /operators, /projects and /watchdog below it.
    receiver: str = "http://127.0.0.1:9095"
    gateways: Sequence[str] = ("127.0.0.1:8091",)
    notifiers: Sequence[str] = ("127.0.0.1:8092",)


def render_config(addresses: Addresses, speedup: int = 1) -> Mapping[str, str]:
    """Return the text of each file for these addresses, every wait divided by `speedup` to whole seconds, at least one.

    Raises `AddressError`.
    """
    replacements: dict[str, str] = {}
    for default, address in zip(_named_values(Addresses()), _named_values(addresses), strict=True):
        for part in [address] if isinstance(address, str) else address:
            if not _ADDRESS_PATTERN.fullmatch(part):
                raise AddressError(f"{part!r} is no address: say host:port, or a URL without spaces and quotes")
        replacements[_as_written(default)] = _as_written(address)
    # In one pass, so that a replacement is not replaced again; the longest first, as the board's address begins others.
    pattern = re.compile("|".join(map(re.escape, sorted(replacements, key=len, reverse=True))))

    def shorten(duration: re.Match[str]) -> str:
        seconds = int(duration["number"]) * _SECONDS_BY_UNIT[duration["unit"]]
        return f"{duration['key']}{max(1, seconds // speedup) if seconds else 0}s"

    def render_file(text: str) -> str:
        text = pattern.sub(lambda match: replacements[match[0]], text)
        return _DURATION_PATTERN.sub(shorten, text) if speedup != 1 else text

    return {name: render_file((PROMETHEUS_DIR / name).read_text(encoding="utf-8")) for name in CONFIG_FILES}


def write_prometheus_config(folder: Path, addresses: Addresses, speedup: int = 1) -> None:
    """Write the rendered files into a folder."""
    for name, text in render_config(addresses, speedup).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _named_values(addresses: Addresses) -> Sequence[str | Sequence[str]]:
    """Return every address, with that of the runbook if it has none of its own."""
    values = vars(addresses)
    return list({**values, "runbook": addresses.runbook or f"{addresses.board}{RUNBOOK_PATH}"}.values())


def _as_written(address: str | Sequence[str]) -> str:
    """Return a URL as it is, and a list of targets as the line of the file that holds it."""
    if isinstance(address, str):
        return address
    targets = ", ".join(f'"{target}"' for target in address)
    return f"targets: [{targets}]"
