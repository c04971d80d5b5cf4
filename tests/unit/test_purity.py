"""What importing does: the pure core stays light, and no module acts before it is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import models.domain

PROGRAM = """
import importlib, json, sys, threading

acted = []

def watch(event, args):
    if event == "subprocess.Popen" and args[0] == "file":
        return  # Faust asks what Python it runs on
    if event in ACTS or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")):
        acted.append([event, repr(args[0])])

ACTS = {
    "os.mkdir", "os.remove", "os.rename", "os.system", "os.fork", "os.posix_spawn", "subprocess.Popen",
    "socket.bind", "socket.connect", "socket.getaddrinfo", "sqlite3.connect", "shutil.rmtree", "signal.signal",
}
sys.dont_write_bytecode = True
sys.addaudithook(watch)
importlib.import_module(sys.argv[1])
print(json.dumps({"modules": list(sys.modules), "acted": acted, "threads": threading.active_count()}))
"""


def imported(module: str) -> dict[str, Any]:
    """Import a module in a fresh interpreter; tell what that loaded and did."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    assert module in told["modules"]
    return told


DOMAIN = Path(models.domain.__file__).parent
HEAVY = {"sqlalchemy", "alembic", "pydantic", "pydantic_settings", "psycopg", "faust", "aiokafka", "kafka", "asyncio"}


@pytest.mark.parametrize("module", sorted(f"models.domain.{file.stem}" for file in DOMAIN.glob("[a-z]*.py")))
def test_the_pure_core_loads_neither_a_database_nor_settings_nor_kafka(module: str) -> None:
    told = imported(module)
    assert HEAVY & set(told["modules"]) == set()
    assert {"models.database.tables", "models.database.recorder", "models.settings"} & set(told["modules"]) == set()
    assert (told["acted"], told["threads"]) == ([], 1)


@pytest.mark.parametrize(
    "module",
    [
        "models.database.recorder",
        "models.settings",
        "models.database.migrate",
        "streams.app",
        "deploy.cli.app",
        "streams.web.board",
        "streams.board",
    ],
)
def test_importing_opens_nothing_starts_nothing_and_writes_nothing(module: str) -> None:
    told = imported(module)
    assert (told["acted"], told["threads"]) == ([], 1)


def test_the_board_loads_no_kafka_client_and_no_faust() -> None:
    for module in ("deploy.board", "streams.board"):
        assert {"faust", "aiokafka", "kafka"} & set(imported(module)["modules"]) == set()


def test_the_command_line_loads_nothing_heavy_before_a_command_needs_it() -> None:
    told = imported("deploy.cli.app")
    assert (HEAVY - {"asyncio"}) & set(told["modules"]) == set()
