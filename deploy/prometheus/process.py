"""A Prometheus on this machine that watches Milepost, with its rules."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from deploy.child_process import free_port, run_child_process
from deploy.prometheus.render import Addresses, write_prometheus_config
from models.errors import MilepostError

PROMETHEUS_HOST: Final = "127.0.0.1"
DEFAULT_PROMETHEUS_PORT: Final = 9090
_PROMETHEUS_START_TIMEOUT_S: Final = 30.0
_PROMETHEUS_STOP_TIMEOUT_S: Final = 5.0
_READY_POLL_S: Final = 0.05
_STATUS_OK: Final = 200


class PrometheusError(MilepostError):
    """Prometheus cannot run; the message is one line: what, where, what to do."""


def find_prometheus() -> str | None:
    """Return where the program is; None when it is not on the PATH."""
    return shutil.which("prometheus")


@contextmanager
def run_prometheus(program: str, data_dir: Path, addresses: Addresses, *, speedup: int = 1) -> Iterator[str]:
    """Run Prometheus on a folder until the block ends, or this process does; give its address once it answers.

    What it measured is kept in the folder. Its port is 9090 when that is free, else another. Raises `PrometheusError`.
    """
    data_dir = data_dir.absolute()
    write_prometheus_config(data_dir, addresses, speedup)
    address = f"{PROMETHEUS_HOST}:{free_port(PROMETHEUS_HOST, DEFAULT_PROMETHEUS_PORT)}"
    log = data_dir / "prometheus.log"
    command = [
        program,
        f"--config.file={data_dir / 'prometheus.yml'}",
        f"--storage.tsdb.path={data_dir / 'data'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}/",
        "--log.level=warn",
    ]
    with (
        log.open("wb") as output,
        run_child_process(command, data_dir, output, output, _PROMETHEUS_STOP_TIMEOUT_S) as (leash, _),
    ):
        _wait_for_prometheus(address, leash, log)
        yield address


def _wait_for_prometheus(address: str, guard: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + _PROMETHEUS_START_TIMEOUT_S
    while not _responds(address):
        if guard.poll() is not None:
            raise PrometheusError(f"Prometheus ended while it started: {log_file} tells why")
        if time.monotonic() > deadline:
            raise PrometheusError(
                f"Prometheus is not up after {_PROMETHEUS_START_TIMEOUT_S:.0f} s: {log_file} may tell why"
            )
        time.sleep(_READY_POLL_S)


def alerts_url(address: str) -> str:
    """Return the URL of the page that lists alerts: Debian's Prometheus has only the classic one."""
    path = "/alerts" if _responds(address, "/alerts") else "/classic/alerts"
    return f"http://{address}{path}"


def _responds(address: str, path: str = "/-/ready") -> bool:
    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == _STATUS_OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
