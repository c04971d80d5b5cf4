"""What the demo says of itself once it serves: where everything is, and how to look at it."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.sample.plans import PROGRAMME
from deploy.sample.telling import MILESTONES
from models.settings import Settings

#: A launch that waits for the park that slips.
TENANT_LAUNCH: Final = f"{PROGRAMME}/tomographic-scanners/production-launched"
#: Settings by which other commands reach what the demo runs.
_SHARED: Final = ("kafka", "kafka_security", "database", "web")


def introduction(settings: Settings, theirs: Settings, pages: Sequence[str], example: Path) -> Iterator[str]:
    """Give the lines; `theirs` are the settings that other commands in this folder read by themselves.

    `pages` are lines on what watches the worker.
    """
    milestones, milepost = f"http://{settings.web}{MILESTONES}", _command()
    yield f"kafka     {settings.kafka}"
    yield f"database  {settings.database}"
    yield f"metrics   {milestones}"
    yield f"board     http://{settings.web}/"
    yield from pages
    for name in _SHARED:
        if (value := getattr(settings, name)) != getattr(theirs, name):
            yield f"export MILEPOST_{name.upper()}={shlex.quote(value)}"
    yield ""
    yield f"Open http://{settings.web}/ in a browser: it shows which gate slips, and whom that holds up."
    yield "To look at it, in this folder:"
    yield f"  curl -s {milestones} | grep 'actual.*tomographic-scanners.*agreement-signed'"
    yield f"  {milepost} status {PROGRAMME}"
    yield f"  {milepost} explain {TENANT_LAUNCH}"
    yield f"  {milepost} history {TENANT_LAUNCH}"
    yield f"  {milepost} dead-letters list"
    yield f"  {milepost} publish {example}"
    yield ""


def _command() -> str:
    """Return how `milepost` is called from this folder."""
    script = Path(sys.executable).with_name("milepost")
    if shutil.which("milepost") == str(script):
        return "milepost"
    folder = Path.cwd()
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))
