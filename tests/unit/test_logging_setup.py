"""Log lines as JSON: one object a line, whatever is logged; and nothing that a process says goes around them."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.logging_setup import JsonFormatter

#: What a process does with a JSON log, in a program of its own: hooks and handlers are global.
PROGRAM = """
import asyncio, gc, logging, os, sys, threading, warnings
from deploy.logging_setup import logged_errors
from models.errors import MilepostError

class Unraisable:
    def __del__(self):
        raise ValueError("in a finalizer")

def fail_in_thread():
    raise ValueError("in a thread")

async def fail_in_task():
    asyncio.get_running_loop().call_soon(fail_in_thread)
    await asyncio.sleep(0.01)

def record_from_two_lines():
    logging.getLogger("library").warning("first\\nsecond")

def wrong_call():
    logging.getLogger("library").warning("%d records", "some")

def thread():
    one = threading.Thread(target=fail_in_thread)
    one.start()
    one.join()

def finalizer():
    Unraisable()
    gc.collect()

ACTIONS = {
    "lines": record_from_two_lines,
    "wrong-call": wrong_call,
    "warning": lambda: warnings.warn("outdated"),
    "thread": thread,
    "finalizer": finalizer,
    "callback": lambda: asyncio.run(fail_in_task()),
    "errors": lambda: (_ for _ in ()).throw(MilepostError("one\\nmilepost: two")),
    "file": lambda: open("/nowhere/x"),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "bug": lambda: 1 / 0,
}

with logged_errors("json"):
    ACTIONS[sys.argv[1]]()
"""


def run(action: str) -> tuple[int, list[dict[str, str]]]:
    """Do something in a process that logs JSON; return its exit status and its lines."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, action], capture_output=True, text=True, check=False)
    assert ran.stdout == ""
    return ran.returncode, [json.loads(line) for line in ran.stderr.splitlines()]


def record(message: Any, *arguments: object, **more: Any) -> logging.LogRecord:  # noqa: ANN401 - whatever is logged
    made = logging.LogRecord("milepost.tests", logging.WARNING, __file__, 1, message, arguments, None)
    vars(made).update(more)
    return made


def test_a_line_has_time_level_logger_and_message() -> None:
    created = datetime(2026, 11, 23, 12, 0, 0, 5000, UTC).timestamp()

    line = JsonFormatter().format(record("%s is away", "é\u202e", created=created))

    assert line.isascii()
    assert json.loads(line) == {
        "time": "2026-11-23T12:00:00.005Z",
        "level": "WARNING",
        "logger": "milepost.tests",
        "message": "é\u202e is away",
    }


def test_a_traceback_is_a_field_of_the_line() -> None:
    try:
        int("no\nnumber")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))

    entry = json.loads(line)
    assert "\n" not in line
    assert entry["message"] == "failed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("with base 10: 'no\\nnumber'")


@pytest.mark.parametrize("message", ["\ud800", "\x00\x1b[31m", "a\r\nb\u2028c", '"}{'])
def test_any_text_makes_one_line_that_a_strict_reader_takes(message: str) -> None:
    line = JsonFormatter().format(record(message))

    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"].encode()


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        ("lines", 0, [("WARNING", "library", "first\nsecond")]),
        ("wrong-call", 0, [("WARNING", "library", "%d records ('some',)")]),
        ("errors", 1, [("CRITICAL", "milepost", "one"), ("CRITICAL", "milepost", "two")]),
        ("file", 1, [("CRITICAL", "milepost", "/nowhere/x: No such file or directory")]),
        ("interrupt", 1, [("WARNING", "milepost", "interrupted before it was ready")]),
    ],
)
def test_what_ends_a_process_and_what_libraries_say_is_a_line(
    action: str, status: int, expected: list[tuple[str, str, str]]
) -> None:
    returncode, lines = run(action)

    assert (returncode, [(line["level"], line["logger"], line["message"]) for line in lines]) == (status, expected)


@pytest.mark.parametrize(
    ("action", "status", "part"),
    [
        ("thread", 0, "ValueError: in a thread"),
        ("finalizer", 0, "ValueError: in a finalizer"),
        ("callback", 0, "ValueError: in a thread"),
        ("bug", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_an_exception_that_nothing_catches_is_one_line_with_its_traceback(action: str, status: int, part: str) -> None:
    returncode, [line] = run(action)

    assert (returncode, part in line["exception"]) == (status, True)


def test_a_warning_is_a_line() -> None:
    _, [line] = run("warning")

    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert "UserWarning: outdated" in line["message"]


def test_settings_that_are_wrong_are_said_in_the_format_of_the_log(tmp_path: Path) -> None:
    program = "from deploy.cli.app import main; main()"
    for command in ("worker", "board"):
        ran = subprocess.run(
            [sys.executable, "-c", program, command, "--web", "nowhere"],
            cwd=tmp_path,
            env={"MILEPOST_LOG": "json"},
            capture_output=True,
            text=True,
            check=False,
        )
        [line] = ran.stderr.splitlines()
        assert ran.returncode == 1
        assert json.loads(line)["message"].startswith("setting web: ")
