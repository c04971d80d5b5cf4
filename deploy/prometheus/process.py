"""A Prometheus on this machine that watches Milepost, with its rules and its consoles."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from deploy.child_process import free_port, leashed
from deploy.prometheus.render import FOLDER, Places, write
from models.errors import MilepostError

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9090
#: Console templates, where there are any.
CONSOLES: Final = FOLDER / "consoles"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_OK: Final = 200


class PrometheusError(MilepostError):
    """Prometheus cannot run; the message is one line: what, where, what to do."""


def find_prometheus() -> str | None:
    """Return where the program is; None when it is not on the PATH."""
    return shutil.which("prometheus")


@contextmanager
def running_prometheus(program: str, folder: Path, places: Places, *, hurry: int = 1) -> Iterator[str]:
    """Run Prometheus on a folder until the block ends, or this process does; give its address once it answers.

    What it measured is kept in the folder. Its port is 9090 when that is free, else another. Raises `PrometheusError`.
    """
    folder = folder.absolute()
    write(folder, places, hurry)
    address = f"{HOST}:{free_port(HOST, DEFAULT_PORT)}"
    log = folder / "prometheus.log"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}/",
        "--log.level=warn",
    ]
    if CONSOLES.is_dir():
        command += [f"--web.console.templates={CONSOLES}", f"--web.console.libraries={CONSOLES}"]
    with log.open("wb") as output, leashed(command, folder, output, output, _STOP_SECONDS) as (leash, _):
        _wait_until_it_answers(address, leash, log)
        yield address


def _wait_until_it_answers(address: str, leash: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(address):
        if leash.poll() is not None:
            raise PrometheusError(f"Prometheus ended while it started: {log} tells why")
        if time.monotonic() > deadline:
            raise PrometheusError(f"Prometheus is not up after {_START_SECONDS:.0f} s: {log} may tell why")
        time.sleep(_LOOK_SECONDS)


def alerts_page(address: str) -> str:
    """Return the URL of the page that lists alerts: Debian's Prometheus has only the classic one."""
    path = "/alerts" if _answers(address, "/alerts") else "/classic/alerts"
    return f"http://{address}{path}"


def consoles_page(address: str) -> str | None:
    """Return the URL of the first console; None when there are none."""
    return f"http://{address}/consoles/index.html" if (CONSOLES / "index.html").exists() else None


def _answers(address: str, path: str = "/-/ready") -> bool:
    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == _OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
