"""A newcomer's way: a fresh checkout, the two commands, and every command that the documents print."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.kafka.jars import class_path
from tests.helpers.workers import free_port, wait_until

pytestmark = pytest.mark.timing

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted([CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md")])
#: These two are what the fixture and the run of this very suite are.
TWO_COMMANDS = {"make demo", "make test"}
#: Runs until it is stopped.
GATEWAY_COMMAND = "MILEPOST_GATEWAY_TOKENS=tokens.toml .venv/bin/milepost gateway --listen 127.0.0.1:8092"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands() -> list[str]:
    """Return every command that a document prints, in order."""
    blocks = [block for document in DOCUMENTS for block in _BLOCK.findall(document.read_text(encoding="utf-8"))]
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@dataclass
class Newcomer:
    """Someone in a fresh checkout in which the demo runs."""

    folder: Path
    environment: dict[str, str]
    web: str
    gateway: str

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a printed command in a shell of the newcomer's."""
        return subprocess.run(
            ["bash", "-c", command.replace("127.0.0.1:8090", self.web).replace("127.0.0.1:8091", self.gateway)],  # noqa: S607 - whichever bash there is
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """Check out what git knows of, as it is now, and run `make demo` there."""
    folder = tmp_path_factory.mktemp("fresh")
    names = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - whichever git there is
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (CHECKOUT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    # Nothing of this environment may help: neither its programs nor its variables.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MILEPOST_", "PYTEST_", "VIRTUAL_ENV", "MAKE", "MFLAGS"))
    }
    environment["PATH"] = os.pathsep.join(
        part for part in environment["PATH"].split(os.pathsep) if Path(part) != CHECKOUT / ".venv" / "bin"
    )
    subprocess.run(["make", "setup"], cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S607 - the newcomer's own
    class_path(lambda _: None)  # Kafka's jars come once a machine; what is measured below is every other time
    log = folder / "demo.log"
    began = time.monotonic()
    with log.open("wb") as output:
        demo = subprocess.Popen(
            ["make", "demo"],  # noqa: S607 - as above
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def said() -> str:
            text = log.read_text(errors="replace")
            assert demo.poll() is None, f"the demo ended:\n{text}"
            return text

        wait_until(lambda: re.search(r"^metrics\s", said(), re.MULTILINE) is not None, "the demo serves")
        serving_after = time.monotonic() - began
        wait_until(lambda: "That is the story" in said(), "the story is told")
        exports = dict(re.findall(r"^\s*export (MILEPOST_\w+)=(\S+)", said(), re.MULTILINE))
        environment |= {name: shlex.split(value)[0] for name, value in exports.items()}
        assert serving_after < 20
        web, gateway = environment.get("MILEPOST_WEB"), environment.get("MILEPOST_GATEWAY")
        yield Newcomer(folder, environment, web or "127.0.0.1:8090", gateway or "127.0.0.1:8091")
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(30)


def test_the_documents_print_commands() -> None:
    assert set(commands()) > {*TWO_COMMANDS, GATEWAY_COMMAND}


@pytest.mark.parametrize(
    "command", [command for command in commands() if command not in {*TWO_COMMANDS, GATEWAY_COMMAND}]
)
def test_a_printed_command_works(newcomer: Newcomer, command: str) -> None:
    done = newcomer.run(command)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_gateway_runs_with_the_token_that_was_printed(newcomer: Newcomer) -> None:
    port, log = free_port(), newcomer.folder / "gateway.log"
    newcomer.run(next(command for command in commands() if "tee tokens.toml" in command))
    with log.open("wb") as output:
        gateway = subprocess.Popen(
            ["bash", "-c", f"exec env {GATEWAY_COMMAND.replace('8092', str(port))}"],  # noqa: S607 - whichever bash there is
            cwd=newcomer.folder,
            env=newcomer.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: gateway.poll() is None and "serving on" in log.read_text(), "the gateway serves")
    finally:
        gateway.send_signal(signal.SIGINT)
        assert gateway.wait(30) == 0, log.read_text()


def test_the_demo_shows_the_eighteenth_participant(newcomer: Newcomer) -> None:
    done = newcomer.run("curl --silent http://127.0.0.1:8090/metrics/milestones")
    named = 'programme="ulyanovsk-medical-cluster",project="tomographic-scanners",milestone="agreement-signed"'

    assert f"milepost_milestone_actual_timestamp_seconds{{{named}}}" in done.stdout


def test_make_runs_the_whole_suite(newcomer: Newcomer) -> None:
    planned = newcomer.run("make --dry-run test").stdout

    for step in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert step in planned
    assert re.search(r"/pytest .* tests( |$)", planned, re.MULTILINE)
