"""Containers of the image, as a cluster runs them: nobody's user, no rights, nothing to write to.

A pytest plugin. The containers have the machine's network.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import pytest

from tests.helpers.container_images import (
    CHECKOUT,
    ImageStore,
    current_image,
    open_image_store,
    require_container_tools,
)

#: Longer than any part of Milepost takes to stop.
GRACE_SECONDS: Final = 30
_BUILD_TIMEOUT_SECONDS: Final = 900
RESTRICTIONS: Final = (
    *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--memory", "512m"),
)


class Container:
    """A container that runs, and the log of all that it prints."""

    def __init__(self, store: ImageStore, name: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self._store, self.name, self.process, self.log_path = store, name, process, log_path

    @property
    def log_text(self) -> str:
        """What it printed so far."""
        return self.log_path.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit status; 137 says that it had to be killed after its grace."""
        self._store.run("podman", "stop", "--time", str(GRACE_SECONDS), self.name)
        return self.process.wait(GRACE_SECONDS)

    def inspect(self, template: str) -> str:
        """Return what podman knows of it."""
        return self._store.run("podman", "inspect", "--format", template, self.name)


class Setup(NamedTuple):
    """What a container gets: variables, files and folders of this machine to read, and other options of podman."""

    environment: Mapping[str, str] = {}
    mounts: Mapping[Path, str] = {}
    options: Sequence[str] = ()

    def arguments(self) -> list[str]:
        """Return the options of `podman run`."""
        variables = (f"--env={name}={value}" for name, value in self.environment.items())
        volumes = (f"--volume={path}:{target}:ro" for path, target in self.mounts.items())
        return [*variables, *volumes, *self.options]


NO_SETUP: Final = Setup()


class ContainerImage(NamedTuple):
    """An image that can be run."""

    store: ImageStore
    name: str

    def run(self, *arguments: str, setup: Setup = NO_SETUP) -> subprocess.CompletedProcess[str]:
        """Run a container to its end, and return its exit status and output."""
        command = self._command(_container_name(), arguments, setup)
        return subprocess.run(
            command, env=self.store.environment, capture_output=True, text=True, check=False, timeout=120
        )

    def run_python(self, script: str, *options: str) -> Any:  # noqa: ANN401 - what the script found
        """Run a script with the image's Python; return what it prints as JSON."""
        entry = ("--entrypoint", "/opt/milepost/bin/python", *options)
        result = self.run("-c", script, setup=Setup(options=entry))
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    @contextmanager
    def running(self, *arguments: str, log_folder: Path, setup: Setup = NO_SETUP) -> Iterator[Container]:
        """Run a container until the block ends; nothing is waited for."""
        name = _container_name()
        log = log_folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(name, arguments, setup),
                env=self.store.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Container(self.store, name, process, log)
        finally:
            if process.poll() is None:
                self.store.run("podman", "rm", "--force", "--time", "0", name)
                process.wait(GRACE_SECONDS)

    def _command(self, name: str, arguments: Sequence[str], setup: Setup) -> list[str]:
        options = (*RESTRICTIONS, *setup.arguments())
        return ["podman", "run", "--rm", "--name", name, *options, self.name, *arguments]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the test that comes first the time to build the image."""
    for item in items:
        if isinstance(item, pytest.Function) and "image_store" in item.fixturenames:
            item.add_marker(pytest.mark.timeout(_BUILD_TIMEOUT_SECONDS))


def _container_name() -> str:
    return f"milepost-test-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def image_store() -> ImageStore:
    """Give the images of the tests."""
    require_container_tools()
    return open_image_store(CHECKOUT / ".milepost" / "containers")


@pytest.fixture(scope="session")
def milepost_image(image_store: ImageStore) -> ContainerImage:
    """Give the image of this checkout."""
    return ContainerImage(image_store, current_image(image_store))
