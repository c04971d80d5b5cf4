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
_SHARED_SCOPES: Final = {"class", "module", "package"}
_LOG_LINES: Final = 40
_START_TIME = pytest.StashKey[float]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a fixture in one process; any process takes any other test."""
    items.sort(key=lambda item: _ORDER.index(name) if (name := _room(item)) in _ORDER else len(_ORDER))
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _room(item: pytest.Item) -> str:
    return item.nodeid.split("/")[1] if item.nodeid.count("/") > 1 else ""


def _group(item: pytest.Item) -> str | None:
    module = item.nodeid.partition("::")[0]
    if _room(item) == "unit":
        return module
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - pytest has no public name
    shared = [definition[-1] for definition in definitions if definition[-1].scope in _SHARED_SCOPES]
    if any(fixture.scope == "package" for fixture in shared):
        return module.rpartition("/")[0]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    # No bracket: xdist takes what is before one for a part of the test's id.
    values = [str(parameters[fixture.argname]) for fixture in shared if fixture.argname in parameters]
    return "/".join([module, *values]).replace("]", ")") if shared else None


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
