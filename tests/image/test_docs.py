"""The commands of docs/container.md run."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.container_images import CHECKOUT
from tests.helpers.containers import RESTRICTIONS, ContainerImage, Setup
from tests.helpers.workers import WorkerProcess
from tests.image.conftest import System
from tests.image.installation import FOLDER, free_ports

PAGE: Final = (CHECKOUT / "docs" / "container.md").read_text(encoding="utf-8")
COMMANDS: Final = [
    shlex.split(command.replace("\\\n", " "))
    for block in re.findall(r"```sh\n(podman run.*?)```", PAGE, re.DOTALL)
    for command in re.split(r"\n(?=podman)", block.strip())
]
#: What the page says of restrictions, and not of this machine.
SAID: Final = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")


def documented(command: list[str]) -> tuple[list[str], list[str]]:
    """Return a command's options, and the arguments behind the image."""
    image = next(index for index, word in enumerate(command) if word.startswith("milepost:"))
    return command[2:image], command[image + 1 :]


def setup_of(options: list[str], settings: Setup, folder: Path) -> Setup:
    """Return what a container gets with the page's options, on this machine's network."""
    of_page = dict(pairwise(options))
    file = folder / Path(of_page["--env-file"]).name
    file.write_text("".join(f"{name}={text}\n" for name, text in settings.environment.items()))
    assert of_page["--volume"] == f"{FOLDER}:{FOLDER}:ro"
    return Setup(mounts=settings.mounts, options=["--env-file", str(file)])


def test_the_page_has_what_the_tests_run_with() -> None:
    assert [documented(command)[1][0] for command in COMMANDS] == ["init", "doctor", "worker"]
    for command in COMMANDS:
        assert all(word in documented(command)[0] for word in SAID)
        assert all(word in RESTRICTIONS for word in SAID)


@pytest.mark.parametrize("number", [0, 1])
def test_a_command_of_the_page_ends_well(
    number: int, system: System, milepost_image: ContainerImage, tmp_path: Path
) -> None:
    options, arguments = documented(COMMANDS[number])
    settings = system.installation.setup("init" if arguments == ["init"] else "worker")
    result = milepost_image.run(*arguments, setup=setup_of(options, settings, tmp_path))

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_worker_of_the_page_is_ready(system: System, milepost_image: ContainerImage, tmp_path: Path) -> None:
    options, arguments = documented(COMMANDS[2])
    ports = free_ports()
    setup = setup_of(options, system.installation.setup("worker", ports), tmp_path)
    with milepost_image.running(*arguments, log_folder=tmp_path, setup=setup) as container:
        WorkerProcess(container.process, ports.metrics, container.log_path).wait_until_ready()

        assert container.stop() == 0


def test_the_pages_table_has_the_ports_of_the_image(milepost_image: ContainerImage) -> None:
    script = (
        "import json, os; print(json.dumps({name: text for name, text in os.environ.items() if 'MILEPOST' in name}))"
    )
    rows = dict(re.findall(r"\| (\d+) \| `(\w+)` \|", PAGE))

    assert milepost_image.run_python(script) == {name: f"0.0.0.0:{port}" for port, name in rows.items()}
