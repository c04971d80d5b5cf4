"""The files of this folder for other addresses, and in a hurry.

The files are the source: complete, checked by promtool and amtool, and right for one machine with default ports. Here
addresses are exchanged in their text, so that comments and order stay; and every wait is shortened for whoever cannot
wait for minutes (the demo, a test). Nothing else is changed, and no threshold ever.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import MilepostError

PROMETHEUS_DIR: Final = Path(__file__).parent
#: What is copied.
CONFIG_FILES: Final = (
    "prometheus.yml",
    "alertmanager.yml",
    *(f"rules/{path.name}" for path in sorted((PROMETHEUS_DIR / "rules").glob("*.yml"))),
)
#: Nothing that ends a line, a quoted text or a list.
_ADDRESS_PATTERN: Final = re.compile(r"[A-Za-z0-9.:/_~%?=&\[\]-]+")
#: How long something is waited for, or how often it is done. Ranges in expressions are no waits.
_DURATION_PATTERN: Final = re.compile(
    r"^(?P<key> *(?:- )?(?:for|keep_firing_for|(?:\w+_)?interval|scrape_timeout|group_wait): )"
    r"(?P<number>\d+)(?P<unit>[smhd])$",
    re.MULTILINE,
)
_SECONDS_BY_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class AddressError(MilepostError):
    """An address that cannot stand in the files; the message is one line."""


@dataclass(frozen=True)
class Addresses:
    """Where everything is; by default as the files have it."""

    workers: Sequence[str] = ("127.0.0.1:8090",)
    alertmanagers: Sequence[str] = ("127.0.0.1:9093",)
    #: Of these, what stands before the path, for the links in alerts.
    board: str = "http://127.0.0.1:8090"
    grafana: str = "http://127.0.0.1:3000"
    runbook: str = "https://milepost.example/docs/runbook.md"
    #: Where Alertmanager sends to: below it /operators, /projects and /watchdog.
    receiver: str = "http://127.0.0.1:9095"


_ADDRESSES_IN_FILES: Final = Addresses()


def render_config(addresses: Addresses, speedup: int = 1) -> Mapping[str, str]:
    """Return the text of each file for these places, every wait divided by `hurry`, to whole seconds, at least one.

    Raises `PlaceError` for what is no address.
    """
    for address in (
        *addresses.workers,
        *addresses.alertmanagers,
        addresses.board,
        addresses.grafana,
        addresses.runbook,
        addresses.receiver,
    ):
        if not _ADDRESS_PATTERN.fullmatch(address):
            raise AddressError(f"{address!r} is no address: say host:port, or a URL without spaces and quotes")
    exchanged = {
        _targets_line(_ADDRESSES_IN_FILES.workers): _targets_line(addresses.workers),
        _targets_line(_ADDRESSES_IN_FILES.alertmanagers): _targets_line(addresses.alertmanagers),
        **{
            getattr(_ADDRESSES_IN_FILES, name): getattr(addresses, name)
            for name in ("board", "grafana", "runbook", "receiver")
        },
    }
    # All at once: what is put in is not looked at again.
    written = re.compile("|".join(map(re.escape, exchanged)))

    def shorten(duration: re.Match[str]) -> str:
        seconds = int(duration["number"]) * _SECONDS_BY_UNIT[duration["unit"]]
        return f"{duration['key']}{max(1, seconds // speedup) if seconds else 0}s"

    def render_file(text: str) -> str:
        text = written.sub(lambda found: exchanged[found[0]], text)
        return _DURATION_PATTERN.sub(shorten, text) if speedup != 1 else text

    return {name: render_file((PROMETHEUS_DIR / name).read_text(encoding="utf-8")) for name in CONFIG_FILES}


def write_prometheus_config(folder: Path, addresses: Addresses, speedup: int = 1) -> None:
    """Write the files for these places into a folder."""
    for name, text in render_config(addresses, speedup).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _targets_line(addresses: Sequence[str]) -> str:
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f"targets: [{listed}]"
