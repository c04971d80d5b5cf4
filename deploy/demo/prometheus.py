"""Prometheus beside the demo, when the program is installed: the alerts of the story, while it is played."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.prometheus.process import PrometheusError, alerts_url, find_prometheus, run_prometheus
from deploy.prometheus.render import Addresses
from models.settings import Settings

#: An alert that waits for a minute fires after four seconds: nobody watches a demo that long.
_SPEEDUP: Final = 15


@contextmanager
def run_demo_prometheus(data_dir: Path, settings: Settings) -> Iterator[Sequence[str]]:
    """Run Prometheus, if it is installed, until the block ends; yield the lines that say where its alerts are.

    Nothing depends on it: when it cannot run, the line says why.
    """
    program = find_prometheus()
    if program is None:
        yield ["alerts    not shown: there is no `prometheus` on the PATH"]
        return
    board = settings.board_url or f"http://{settings.web}"
    addresses = Addresses([settings.web], alertmanagers=(), board=board, gateways=[settings.gateway], notifiers=())
    with ExitStack() as stack:
        try:
            address = stack.enter_context(run_prometheus(program, data_dir, addresses, speedup=_SPEEDUP))
            line = f"alerts    {alerts_url(address)}"
        except (PrometheusError, OSError) as error:
            line = f"alerts    not shown: {error}"
        yield [line]
