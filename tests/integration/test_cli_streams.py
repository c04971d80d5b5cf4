"""Every command ends in one line when a standard stream is missing, full, gone, or narrow of encoding."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from deploy.cli.app import COMMANDS
from models.settings import Settings
from tests.helpers.events import date_report, event_database
from tests.helpers.workers import WorkerProcess, free_port, wait_until

TODAY = date(2026, 11, 29)
REMARK = "Срок — 期限 🚧"
EVENT = json.dumps(date_report("k2", "quay/a", "PLN", "2027-01-15"))
#: What a command's output is, in words of the shell, and what the command says of that; None for nothing.
BROKEN_OUTPUTS = {
    ">&-": "Bad file descriptor",
    ">/dev/full": "No space left on device",
    ">&- 2>&-": None,
}
#: Commands that print something other than their help, without Kafka.
PRINTING_COMMANDS = [
    "status",
    "status --json",
    "explain north/quay/a",
    "explain north/quay/a --json",
    "history north/quay/a --json",
    "rebuild --diff",
    "check event.jsonl",
]
#: Loads every command once, and runs each in a copy of the process, with the streams that it was started with.
RUN_ALL = """
import json, os, sys
from importlib import import_module
from deploy.cli import app
for module, _ in app.COMMANDS.values():
    import_module(f"deploy.cli.{module}")
statuses = []
for arguments in json.loads(sys.argv[2]):
    if (pid := os.fork()) == 0:
        sys.argv = ["milepost", *arguments]
        app.main()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with open(sys.argv[1], "w") as results:
    json.dump(statuses, results)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the commands find a database with one milestone, whose remark no 8-bit encoding has."""
    path = tmp_path_factory.mktemp("streams")
    (path / ".milepost").mkdir()
    with event_database(f"sqlite:///{path}/.milepost/milepost.db") as database:
        database.record_and_recalculate([date_report("k1", "quay/a", "PLN", "2027-01-15", remark=REMARK)], TODAY)
    return path


def command_line(*arguments: str) -> str:
    return shlex.join([sys.executable, "-c", "from deploy.cli.app import main; main()", *arguments])


def start(line: str, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a line of the shell; its standard output and error are pipes unless it says otherwise."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.Popen(
        ["/bin/sh", "-c", line], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output.decode(), errors.decode()


def exit_statuses_and_errors(commands: Sequence[str], end: str, folder: Path) -> tuple[list[int], list[str]]:
    """Run commands one after the other with the same streams; return their statuses and the lines of their errors."""
    results = folder / "statuses.json"
    line = shlex.join([sys.executable, "-c", RUN_ALL, str(results), json.dumps([shlex.split(c) for c in commands])])
    process = start(f"{line} {end}", folder)
    _, errors = process.communicate(timeout=60)
    return json.loads(results.read_text()), errors.decode().splitlines()


@pytest.mark.parametrize(("end", "reason"), BROKEN_OUTPUTS.items())
def test_every_command_whose_output_cannot_be_written_says_so_in_one_line(
    end: str, reason: str | None, folder: Path
) -> None:
    (folder / "event.jsonl").write_text(EVENT)
    commands = [*(f"{name} --help" for name in COMMANDS), *PRINTING_COMMANDS]
    statuses, lines = exit_statuses_and_errors(commands, end, folder)
    assert dict(zip(commands, statuses, strict=True)) == dict.fromkeys(commands, 1)
    expected = [] if reason is None else [f"milepost: standard output cannot be written: {reason}"] * len(commands)
    assert lines == expected


def test_a_command_without_standard_input_reads_files_and_says_when_it_has_to_read_standard_input(folder: Path) -> None:
    (folder / "event.jsonl").write_text(EVENT)
    started = [start(f"{command_line('check', name)} <&-", folder) for name in ("event.jsonl", "-")]
    started.append(start(f"{command_line('check', '-')} 0>/dev/null", folder))
    from_file, missing, unreadable = map(outcome, started)
    assert from_file == (0, "1 event is valid\n", "")
    assert missing == unreadable == (1, "", "milepost: standard input cannot be read: Bad file descriptor\n")


@pytest.mark.parametrize("encoding", ["latin1", "ascii:strict"])
def test_what_the_encoding_of_the_output_does_not_have_is_spelled_out(encoding: str, folder: Path) -> None:
    words = ("explain", "north/quay/a")
    started = [
        start(command_line(*words, *options), folder, PYTHONIOENCODING=encoding) for options in ((), ("--json",))
    ]
    started.append(start(command_line("check", "Срок.jsonl"), folder, PYTHONIOENCODING=encoding))
    texts = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 1]
    spelled = REMARK.encode(encoding.partition(":")[0], "backslashreplace")
    assert b"remark: " + spelled + b"\n" in texts[0][0]
    assert REMARK in json.dumps(json.loads(texts[1][0]), ensure_ascii=False)
    assert texts[2][1].startswith("milepost: Срок.jsonl".encode(encoding.partition(":")[0], "backslashreplace"))
    assert [errors for _, errors in texts[:2]] == [b"", b""]


def test_output_to_a_pipe_that_does_not_block_waits_for_its_reader(folder: Path) -> None:
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    program = "from deploy.cli.streams import *\nwith standard_streams(): sys.stdout.write('x' * 300_000)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (
        subprocess.Popen(
            [sys.executable, "-c", f"import sys\n{program}"], cwd=folder, env=environment, stdout=writable
        ) as process,
        os.fdopen(readable, "rb") as reader,
    ):
        os.close(writable)
        assert len(reader.read()) == 300_000
    assert process.returncode == 0


def test_a_worker_whose_log_cannot_be_written_works_and_ends_as_it_is_asked_to(sqlite_settings: Settings) -> None:
    port = free_port()
    environment = {
        "MILEPOST_KAFKA": sqlite_settings.kafka,
        "MILEPOST_DATABASE": sqlite_settings.database,
        "MILEPOST_PREFIX": sqlite_settings.prefix,
        "MILEPOST_GROUP": sqlite_settings.group,
        "MILEPOST_WEB": f"127.0.0.1:{port}",
    }
    line = f"exec {command_line('worker')} <&- >/dev/full 2>/dev/full"
    with start(line, Path(sqlite_settings.database.removeprefix("sqlite:///")).parent, **environment) as process:
        worker = WorkerProcess(process, port, Path(os.devnull))
        wait_until(lambda: worker.get("/ready")[0] == 200, "the worker is ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_embedded_kafka_ends_clearly_when_its_address_cannot_be_written(tmp_path: Path) -> None:
    kafka = command_line("kafka", "--port", str(free_port()), "--data", str(tmp_path / "kafka"))
    assert outcome(start(f"exec {kafka} >/dev/full", tmp_path)) == (
        1,
        "",
        "milepost: standard output cannot be written: No space left on device\n",
    )
