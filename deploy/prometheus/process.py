"""A Prometheus on this machine that watches Milepost, with its rules."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from deploy.child_process import free_port, run_child_process
from deploy.prometheus.render import Addresses, write_prometheus_config
from models.errors import MilepostError

_HOST: Final = "127.0.0.1"
_DEFAULT_PORT: Final = 9090
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 30.0, 5.0


class PrometheusError(MilepostError):
    """Prometheus cannot run."""


def find_prometheus() -> str | None:
    """Return the path of the program, or None when it is not on the PATH."""
    return shutil.which("prometheus")


@contextmanager
def run_prometheus(program: str, data_dir: Path, addresses: Addresses, *, speedup: int = 1) -> Iterator[str]:
    """Run Prometheus until the block or this process ends; yield its address once it answers.

    Its data stays in the folder. Its port is 9090 when that is free, else another. Raises `PrometheusError`.
    """
    data_dir = data_dir.absolute()
    write_prometheus_config(data_dir, addresses, speedup)
    address = f"{_HOST}:{free_port(_HOST, _DEFAULT_PORT)}"
    log = data_dir / "prometheus.log"
    command = [
        program,
        f"--config.file={data_dir / 'prometheus.yml'}",
        f"--storage.tsdb.path={data_dir / 'data'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}/",
        "--log.level=warn",
    ]
    with log.open("wb") as output, run_child_process(command, data_dir, output, output, _STOP_TIMEOUT_S) as child:
        if problem := child.startup_problem(lambda: _responds(address), _START_TIMEOUT_S):
            raise PrometheusError(f"Prometheus {problem}: {log} tells why")
        yield address


def alerts_url(address: str) -> str:
    """Return the URL of the page that lists alerts: Debian's Prometheus has only the classic one."""
    path = "/alerts" if _responds(address, "/alerts") else "/classic/alerts"
    return f"http://{address}{path}"


def _responds(address: str, path: str = "/-/ready") -> bool:
    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
