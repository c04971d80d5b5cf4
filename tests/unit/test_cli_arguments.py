"""Wrong arguments of the commands that read: an exit status and one line, which cannot steer the terminal."""

import os
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from tests.helpers.events import date_report, event_database

HOSTILE: Final = "\x1b[31mred\r\n\u202e\x07"
LONG: Final = "x" * 100_000
NO_UTF_8: Final = os.fsdecode(b"caf\xe9")
#: What no name is.
NO_NAMES: Final = ("", " ", "North", "a/b", "é", "-", "'; DROP TABLE ledger; --", "\ud800", NO_UTF_8, HOSTILE, LONG)
NO_MILESTONES: Final = (*NO_NAMES, "north", "north/quay", "north/quay/", "/north/quay/opened", "north/quay/opened/x")
NO_DAYS: Final = (
    *(
        "",
        " ",
        "today",
        "2026",
        "2026-1-1",
        "20260101",
        "2026-02-30",
        "2026-13-01",
        "0000-01-01",
        "\uff12\uff10\uff12\uff16-01-01",
    ),
    *("0001-01-01", "1989-12-31", "2101-01-01", "9999-12-31", "10000-01-01", "-2026-01-01", "2026-W01-1"),
    *("2026-01-01T00:00:00Z", " 2026-01-01", HOSTILE, NO_UTF_8, LONG, "9" * 5000),
)
NO_TIMES: Final = (
    *("", "yesterday", "2026-02-30", "2026-01-01T12:00", "2026-01-01T12:00:00", "2026-01-01 12:00:00Z"),
    *("2026-01-01T25:00:00Z", "2026-01-01T12:00:60Z", "2026-01-01T12:00:00+24:00", "0000-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1767225600", HOSTILE, NO_UTF_8, LONG),
)
NO_DATABASES: Final = (
    *("x", "sqlite", "sqlite:", "sqlite:/x.db", "sqlite://x.db", "sqlite://", "sqlite:///", "sqlite:///:memory:"),
    *(
        "sqlite:///nowhere.db",
        "sqlite:///folder",
        "sqlite:///text.txt",
        "sqlite:///text.txt/x.db",
        "sqlite:////dev/null",
    ),
    *(
        "sqlite:///loop",
        "sqlite:///known.db?mode=ro",
        "sqlite:///known.db?timeout=soon",
        "sqlite:///known.db?uri=maybe",
    ),
    *(
        "sqlite:///known.db?isolation_level=x",
        "sqlite:///known.db?uri=true&uri=true",
        "sqlite:///file:nowhere?uri=true&mode=ro",
    ),
    *(
        "sqlite+aiosqlite:///known.db",
        "sqlite+pysqlcipher:///known.db",
        "mysql://h/x",
        "postgresql+asyncpg://h/x",
        "http://h",
    ),
    *(
        f"sqlite:///{'x' * 300}.db",
        f"sqlite:///{LONG}",
        f"sqlite:///{HOSTILE}",
        f"sqlite:///{NO_UTF_8}",
        "sqlite:///\0",
    ),
    *("sqlite:///~no-such-user/x.db", "\ud800", HOSTILE, "postgresql://127.0.0.1:1/x", "postgresql://127.0.0.1:0/x"),
    *("postgresql://127.0.0.1:99999/x", "postgresql://127.0.0.1:x/x", "postgresql://127.0.0.1:1/x?no_such_option=1"),
    *(
        "postgresql://127.0.0.1:1/x?sslmode=maybe",
        "postgresql://127.0.0.1:1/x?row_factory=x",
        "postgresql://h@@127.0.0.1:1/x",
    ),
    *("postgresql://127.0.0.1:1/x?autocommit=1", "postgresql://127.0.0.1:1/x?port=x", "postgresql://[::1/x"),
    *("postgresql://127.0.0.1:1/x?host=127.0.0.1:1&host=127.0.0.1:x", "postgresql:///x?host=127.0.0.1&port=1&port=2"),
    *(
        "postgresql://127.0.0.1:1/x?user=a&user=b",
        "postgresql://127.0.0.1:1/x?connect_timeout=soon",
        "postgresql:///x?host=/nowhere",
    ),
)
NO_FILES: Final = (
    *(
        "",
        " ",
        ".",
        "folder",
        "folder/",
        "nowhere.jsonl",
        "text.txt/x.jsonl",
        "loop",
        f"{'x' * 300}.jsonl",
        LONG,
        "~/x.jsonl",
    ),
    *(
        "text.txt",
        "bytes.jsonl",
        "bytes.csv",
        "bytes.yaml",
        "zip.jsonl",
        "utf16.jsonl",
        HOSTILE,
        NO_UTF_8,
        "/proc/self/mem",
    ),
    *("deep.jsonl", "deep.yaml", "text.csv", "number.yaml", "nul.jsonl", "nul.yaml"),
)
NO_KAFKAS: Final = (
    "",
    "x",
    ":1",
    "h:",
    "h:0",
    "h:99999",
    "h h:1",
    "::1:1",
    "http://h:1",
    "a..b:1",
    HOSTILE,
    NO_UTF_8,
    LONG,
)


def short(value: object) -> str:
    """Return the name of a case: some values are long, and some no environment variable takes."""
    return ascii(value)[:60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a database that knows one milestone, and with what is no database and no file of events."""
    path = tmp_path_factory.mktemp("arguments")
    with event_database(f"sqlite:///{path / 'known.db'}") as database:
        database.record_and_recalculate([date_report("1", "quay/opened", "PLN", "2026-06-01")], date(2026, 3, 10))
    (path / "folder").mkdir()
    (path / "loop").symlink_to("loop")
    for name, content in {
        "text.txt": b"buy milk\n" * 1000,
        "text.csv": b"buy;milk\n1;2\n",
        "bytes.jsonl": b"\xff\xfe\x00\x1b\n",
        "bytes.csv": b"\xff\x1b,\xff\n",
        "bytes.yaml": b"\xff: \x1b\n",
        "zip.jsonl": b"PK\x03\x04\x00",
        "utf16.jsonl": '{"id": "1"}\n'.encode("utf-16"),
        "deep.jsonl": b"[" * 100_000,
        "deep.yaml": b"[" * 10_000,
        "number.yaml": b"17\n",
        "nul.jsonl": b"\0\n",
        "nul.yaml": b"a: \0\n",
    }.items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("MILEPOST_DATABASE", "sqlite:///known.db")


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def the_line(*arguments: str) -> str:
    """Return the one line about wrong arguments; before that of wrong usage there may be Typer's three."""
    result = milepost(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in {1, 2}
    assert all(character.isprintable() or character == "\n" for character in result.output), result.output
    *usage, line = (result.stderr or result.stdout).splitlines()
    assert len(line) < 1000
    if result.exit_code == 2 and usage:
        assert usage.pop(0).startswith("Usage: milepost ")
        assert usage.pop(0).startswith("Try 'milepost ")
        assert usage.pop(0) == ""
    assert usage == []
    return line


def test_the_right_arguments_are_taken() -> None:
    assert milepost("status", "north", "--project", "quay", "--data-date", "2100-12-31").exit_code == 0
    assert milepost("status", "--data-date", "1990-01-01", "--as-of", "9999-12-31").exit_code == 0
    assert milepost("explain", "north/quay/opened", "--as-of", "2026-03-10T00:00:00.5+01:00").exit_code == 0
    assert milepost("history", "north/quay/opened", "--database", "sqlite:///~/known.db?timeout=5").exit_code == 0
    assert milepost("status", "--database", "sqlite:///file:known.db?mode=ro&uri=true").exit_code == 0


@pytest.mark.parametrize("name", NO_NAMES, ids=short)
def test_a_programme_or_a_project_that_cannot_be_is_one_line(name: str) -> None:
    if not name.startswith("-"):
        assert "no programme" in the_line("status", name)
        assert "no programme" in the_line("status", name, "--as-of", "2026-03-10")
    assert "no project" in the_line("status", f"--project={name}")
    assert "no project" in the_line("status", "north", f"--project={name}", "--json")


@pytest.mark.parametrize("command", ["explain", "history"])
@pytest.mark.parametrize("name", NO_MILESTONES, ids=short)
def test_what_is_no_name_of_a_milestone_is_one_line(command: str, name: str) -> None:
    assert "not the name of a milestone" in the_line(command, "--", name)


@pytest.mark.parametrize("command", [("status",), ("explain", "north/quay/opened")])
@pytest.mark.parametrize("day", NO_DAYS, ids=short)
def test_a_day_for_which_nothing_can_be_calculated_is_one_line(command: tuple[str, ...], day: str) -> None:
    assert "Invalid value for --data-date: " in the_line(*command, f"--data-date={day}")


@pytest.mark.parametrize("command", [("status",), ("explain", "north/quay/opened")])
@pytest.mark.parametrize("time", NO_TIMES, ids=short)
def test_a_time_that_does_not_exist_is_one_line(command: tuple[str, ...], time: str) -> None:
    assert "Invalid value for --as-of: " in the_line(*command, f"--as-of={time}")


@pytest.mark.parametrize("url", NO_DATABASES, ids=short)
def test_a_database_that_cannot_be_used_is_one_line(url: str) -> None:
    line = the_line("status", f"--database={url}")
    assert "database" in line.lower()


@pytest.mark.parametrize(
    "command", [("explain", "north/quay/opened"), ("history", "north/quay/opened"), ("audit",), ("rebuild", "--diff")]
)
@pytest.mark.parametrize(
    "url", ["x", "sqlite://x.db", "sqlite:///folder", "sqlite:///text.txt", "postgresql://127.0.0.1:x/x"]
)
def test_every_command_that_reads_the_database_says_the_same(command: tuple[str, ...], url: str) -> None:
    assert the_line(*command, "--database", url) == the_line("status", "--database", url)


@pytest.mark.parametrize("name", NO_FILES, ids=short)
def test_a_file_that_holds_no_events_is_one_line(name: str) -> None:
    result = milepost("check", "--", name)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert all(character.isprintable() or character == "\n" for character in result.output), result.output
    # Of a text, every line that is no event is told.
    assert len(result.output.splitlines()) == (1000 if name == "text.txt" else 1)


@pytest.mark.parametrize("kafka", NO_KAFKAS, ids=short)
def test_a_kafka_that_cannot_be_is_one_line(kafka: str) -> None:
    for command in (("dead-letters", "list"), ("dead-letters", "show", "key"), ("audit",)):
        assert "setting kafka: " in the_line(*command, f"--kafka={kafka}")


@pytest.mark.parametrize(
    "key", [*NO_NAMES, "milepost.events:0", "milepost.events:x:y", "milepost.events:0:" + "9" * 5000], ids=short
)
def test_a_key_of_no_dead_letter_is_one_line(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.dead_letters.read_dead_letters", lambda _settings: [])
    # Which Kafka is asked for first
    monkeypatch.setattr("deploy.cli.dead_letters.require_rights", lambda *_arguments: None)
    assert "there is no dead letter" in the_line("dead-letters", "show", "--", key)
    assert "there is no dead letter" in the_line("dead-letters", "replay", "--", key)
    assert "there is no reason" in the_line("dead-letters", "discard", f"--reason={key}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", f"--{HOSTILE}"),
        ("status", "north", HOSTILE),
        (HOSTILE,),
        (f"--{HOSTILE}",),
        ("", "x"),
        ("status", "--json=yes"),
        ("status", "--data-date"),
        ("explain", "a/b/c", "d/e/f"),
        ("history", "a/b/c", "--as-of", "2026-01-01"),
        ("dead-letters", HOSTILE),
        ("dead-letters", "list", "key"),
        ("dead-letters", "show", "a", HOSTILE),
        ("init", "--partitions", "1_000"),
        ("init", "--partitions", "+5"),
        ("init", "--partitions", "\uff11\uff12"),
        ("init", "--partitions", "0"),
        ("init", "--partitions", "9" * 5000),
        ("init", "--replication", "32768"),
        ("kafka", "--port", "1_000"),
        ("kafka", "--port", "65536"),
        ("kafka", "--port", HOSTILE),
        ("kafka", "--data", "~no-such-user/kafka"),
        ("kafka", "--data", ""),
    ],
    ids=short,
)
def test_wrong_usage_repeats_no_control_character(arguments: tuple[str, ...]) -> None:
    line = the_line(*arguments)
    assert line.startswith("Error: ")
    assert "Value error" not in line
