"""Prometheus beside the demo, where the program is there: the alerts of the story, while it is told."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.prometheus.process import PrometheusError, alerts_page, consoles_page, find_prometheus, running_prometheus
from deploy.prometheus.render import Places
from models.settings import Settings

#: Nobody watches a demo for as long as an alert waits: a minute becomes four seconds.
HURRY: Final = 15
_RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "runbook.md"


@contextmanager
def watching(folder: Path, settings: Settings) -> Iterator[Sequence[str]]:
    """Run Prometheus, if it is there, until the block ends; give a line for each page of it that is worth a look.

    Nothing depends on it: when it cannot run, the line says why.
    """
    program = find_prometheus()
    if program is None:
        yield ["alerts    not shown: there is no `prometheus` on the PATH"]
        return
    own = f"http://{settings.web}"
    runbook = _RUNBOOK.as_uri() if _RUNBOOK.exists() else Places.runbook
    places = Places(workers=[settings.web], alertmanagers=(), board=own, runbook=runbook)
    with ExitStack() as running:
        try:
            address = running.enter_context(running_prometheus(program, folder, places, hurry=HURRY))
        except (PrometheusError, OSError) as error:
            lines = [f"alerts    not shown: {error}"]
        else:
            console = consoles_page(address)
            lines = [f"alerts    {alerts_page(address)}", *([f"consoles  {console}"] if console else ())]
        yield lines
