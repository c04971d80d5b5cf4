"""The whole system, each part in a container, against a Kafka and a PostgreSQL that want TLS and logins."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest

from tests.helpers.containers import Container, ContainerImage
from tests.helpers.postgresql_servers import running_server
from tests.helpers.secure_kafka import SecureKafka
from tests.helpers.webhooks import Receiver, receiver
from tests.helpers.workers import WorkerProcess
from tests.image.installation import Installation, Ports, free_ports


class Part(NamedTuple):
    """A part that runs in a container, and answers."""

    container: Container
    ports: Ports
    #: How long it took from the command to the first answer of `/ready` that says so.
    start_seconds: float

    @property
    def probes(self) -> WorkerProcess:
        """Its listener of metrics and probes."""
        return WorkerProcess(self.container.process, self.ports.metrics, self.container.log_path)

    @property
    def web(self) -> WorkerProcess:
        """Its listener of the board."""
        return WorkerProcess(self.container.process, self.ports.web, self.container.log_path)


class System(NamedTuple):
    """An installation that runs."""

    installation: Installation
    init: CompletedProcess[str]
    parts: dict[str, Part]
    told: Receiver


@contextmanager
def running_part(installation: Installation, image: ContainerImage, name: str, logs: Path) -> Iterator[Part]:
    """Run a part in a container until the block ends; ready when it begins."""
    ports = free_ports()
    began = time.monotonic()
    with image.running(name, log_folder=logs, setup=installation.setup(name, ports)) as container:
        part = Part(container, ports, 0.0)
        part.probes.wait_until_ready()
        yield part._replace(start_seconds=time.monotonic() - began)


@pytest.fixture(scope="session")
def installation(secure_kafka: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Give users, roles and files for containers; there are no topics and no tables yet."""
    with running_server() as database:
        folder = tmp_path_factory.mktemp("milepost")
        folder.chmod(0o755)
        yield Installation(secure_kafka, database, folder)


@pytest.fixture(scope="session")
def initialized(installation: Installation, milepost_image: ContainerImage) -> CompletedProcess[str]:
    """Give what `milepost init` said, which made topics and tables."""
    return milepost_image.run("init", setup=installation.setup("init"))


@pytest.fixture(scope="session")
def system(
    installation: Installation,
    initialized: CompletedProcess[str],
    milepost_image: ContainerImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """Give the system: a worker, a board, a gateway and a notifier, each ready."""
    logs = tmp_path_factory.mktemp("containers")
    parts: dict[str, Part] = {}
    with ExitStack() as running:
        told = running.enter_context(receiver())
        installation.tell(told.url)
        for name in ("worker", "board", "gateway", "notify"):
            parts[name] = running.enter_context(running_part(installation, milepost_image, name, logs))
        yield System(installation, initialized, parts, told)
