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

FOLDER: Final = Path(__file__).parent
#: What is copied; consoles are served from where they are.
FILES: Final = (
    "prometheus.yml",
    "alertmanager.yml",
    *(f"rules/{path.name}" for path in sorted((FOLDER / "rules").glob("*.yml"))),
)
#: Nothing that ends a line, a quoted text or a list.
_FIT: Final = re.compile(r"[A-Za-z0-9.:/_~%?=&\[\]-]+")
#: How long something is waited for, or how often it is done. Ranges in expressions are no waits.
_WAIT: Final = re.compile(
    r"^(?P<key> *(?:- )?(?:for|keep_firing_for|(?:\w+_)?interval|scrape_timeout|group_wait): )"
    r"(?P<number>\d+)(?P<unit>[smhd])$",
    re.MULTILINE,
)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class PlaceError(MilepostError):
    """An address that cannot stand in the files; the message is one line."""


@dataclass(frozen=True)
class Places:
    """Where everything is; by default as the files have it."""

    workers: Sequence[str] = ("127.0.0.1:8090",)
    alertmanagers: Sequence[str] = ("127.0.0.1:9093",)
    #: Of these, what stands before the path, for the links in alerts.
    board: str = "http://127.0.0.1:8090"
    grafana: str = "http://127.0.0.1:3000"
    runbook: str = "https://milepost.example/docs/runbook.md"
    #: Where Alertmanager sends to: below it /operators, /projects and /watchdog.
    receiver: str = "http://127.0.0.1:9095"


_AS_WRITTEN: Final = Places()


def placed(places: Places, hurry: int = 1) -> Mapping[str, str]:
    """Return the text of each file for these places, every wait divided by `hurry`, to whole seconds, at least one.

    Raises `PlaceError` for what is no address.
    """
    for address in (
        *places.workers,
        *places.alertmanagers,
        places.board,
        places.grafana,
        places.runbook,
        places.receiver,
    ):
        if not _FIT.fullmatch(address):
            raise PlaceError(f"{address!r} is no address: say host:port, or a URL without spaces and quotes")
    exchanged = {
        _targets(_AS_WRITTEN.workers): _targets(places.workers),
        _targets(_AS_WRITTEN.alertmanagers): _targets(places.alertmanagers),
        **{getattr(_AS_WRITTEN, name): getattr(places, name) for name in ("board", "grafana", "runbook", "receiver")},
    }
    # All at once: what is put in is not looked at again.
    written = re.compile("|".join(map(re.escape, exchanged)))

    def hurried(wait: re.Match[str]) -> str:
        seconds = int(wait["number"]) * _SECONDS[wait["unit"]]
        return f"{wait['key']}{max(1, seconds // hurry) if seconds else 0}s"

    def fit(text: str) -> str:
        text = written.sub(lambda found: exchanged[found[0]], text)
        return _WAIT.sub(hurried, text) if hurry != 1 else text

    return {name: fit((FOLDER / name).read_text(encoding="utf-8")) for name in FILES}


def write(folder: Path, places: Places, hurry: int = 1) -> None:
    """Write the files for these places into a folder."""
    for name, text in placed(places, hurry).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _targets(addresses: Sequence[str]) -> str:
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f"targets: [{listed}]"
