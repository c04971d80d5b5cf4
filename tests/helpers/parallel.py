"""Divides the tests among the processes of pytest-xdist, and shows the logs of what a failed test had started.

A pytest plugin. Each process has its own broker, PostgreSQL server, browser and temporary folder, started when a test
first needs them. More processes than cores pay: most tests wait for Kafka, locks and time-outs.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

#: The longest tests first, so that the processes end together.
_ORDER: Final = ("system", "faults", "integration", "properties", "rules", "unit")
_LOG_LINES: Final = 40
_START_TIME = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; `--dist=loadfile` keeps the tests of a file in one process."""
    items.sort(key=lambda item: _ORDER.index(name) if (name := _room(item)) in _ORDER else len(_ORDER))


def _room(item: pytest.Item) -> str:
    return item.nodeid.split("/")[1] if item.nodeid.count("/") > 1 else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report the end of every log that was written while it ran."""
    report = yield
    if call.when == "setup":
        item.stash[_START_TIME] = call.start
    if report.failed:
        for log in _logs_since(item.stash[_START_TIME], item.config):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            report.sections.append((f"end of {log}", "\n".join(lines)))
    return report


def _logs_since(start_time: float, config: pytest.Config) -> list[Path]:
    # The segments of Kafka's topics are called .log too.
    factory: pytest.TempPathFactory = getattr(config, "_tmp_path_factory")  # noqa: B009 - pytest has no public name
    return sorted(
        log
        for log in factory.getbasetemp().rglob("*.log")
        if not log.stem.isdigit() and log.is_file() and log.stat().st_mtime >= start_time
    )
