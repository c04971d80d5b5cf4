"""Prometheus beside the demo, where the program is there: the alerts of the story, while it is told."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.prometheus.process import PrometheusError, alerts_url, find_prometheus, run_prometheus
from deploy.prometheus.render import Addresses
from models.settings import Settings

#: Nobody watches a demo for as long as an alert waits: a minute becomes four seconds.
DEMO_SPEEDUP: Final = 15
_RUNBOOK_FILE: Final = Path(__file__).parents[2] / "docs" / "runbook.md"


@contextmanager
def run_demo_prometheus(data_dir: Path, settings: Settings) -> Iterator[Sequence[str]]:
    """Run Prometheus, if it is there, until the block ends; give a line for each page of it that is worth a look.

    Nothing depends on it: when it cannot run, the line says why.
    """
    program = find_prometheus()
    if program is None:
        yield ["alerts    not shown: there is no `prometheus` on the PATH"]
        return
    own = f"http://{settings.web}"
    runbook = _RUNBOOK_FILE.as_uri() if _RUNBOOK_FILE.exists() else Addresses.runbook
    places = Addresses(workers=[settings.web], alertmanagers=(), board=own, runbook=runbook)
    with ExitStack() as running:
        try:
            address = running.enter_context(run_prometheus(program, data_dir, places, speedup=DEMO_SPEEDUP))
        except (PrometheusError, OSError) as error:
            lines = [f"alerts    not shown: {error}"]
        else:
            lines = [f"alerts    {alerts_url(address)}"]
        yield lines
