"""The command line without Kafka: usage, errors, and what it prints."""

import json
import re
import resource
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from consumers.dead_letters import DeadLetterSummary
from deploy.cli import app
from deploy.cli.console import ConsoleColumn, ConsoleLine, print_lines, print_rows
from deploy.cli.dead_letters import print_dead_letter, print_summaries
from deploy.cli.status import print_status
from models.database.engine import make_engine
from models.database.migrate import migrate
from models.domain.dead_letters import DeadLetter
from models.domain.impact import NO_IMPACT
from models.domain.schedule import State
from models.text import printable
from models.views.status import StatusReport, StatusRow

COMMANDS = [
    "demo",
    "kafka",
    "init",
    "worker",
    "board",
    "gateway",
    "notify",
    "publish",
    "check",
    "schema",
    "status",
    "explain",
    "history",
    "report",
    "audit",
    "doctor",
    "rebuild",
    "dead-letters",
]
NOBODY = "127.0.0.1:1"
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "office",
    "type": "milepost.milestone.reported.v1",
    "subject": "north/wharf",
    "time": "2026-01-01T12:00:00Z",
    "data": {"milestone": "site-leased", "classifier": "PLN", "date": "2026-06-01"},
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA", "DATABASE", "PREFIX", "PARTITIONS", "ALLOWED_SOURCES"):
        monkeypatch.delenv(f"MILEPOST_{name}", raising=False)


def milepost(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app.app, arguments, input=given, prog_name="milepost")


def the_line(result: Result) -> str:
    """Give the one line that an error is told in."""
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("milepost: ")
    return line


# Usage


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in COMMANDS), *(["dead-letters", c] for c in ("list", "show", "replay", "discard"))],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = milepost(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: milepost" in result.stdout


def test_the_help_names_every_command() -> None:
    listed = milepost("--help").stdout.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line] == COMMANDS


def test_the_version_is_that_of_the_installed_package() -> None:
    result = milepost("--version")
    assert (result.exit_code, result.stdout) == (0, f"milepost {version('milepost')}\n")


def test_each_line_of_the_help_is_the_first_of_its_commands_own_help() -> None:
    group: Any = get_command(app.app)
    for name, (_, help_line) in app.COMMANDS.items():
        assert group.get_command(None, name).help.partition("\n")[0] == help_line


def test_help_loads_nothing_heavy_and_answers_at_once() -> None:
    program = (
        "import sys; from deploy.cli.app import app; app(['--help'], standalone_mode=False); "
        "sys.exit(str({'faust', 'kafka', 'alembic', 'sqlalchemy', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.stderr.strip() == "set()"
    # 0.1 s of a processor; how long a busy machine takes to give it says nothing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["status", "--nope"],
        ["status", "a", "b"],
        ["status", "--data-date", "2026-1-1"],
        ["status", "--as-of", "yesterday"],
        ["explain"],
        ["explain", "a/b/c", "--data-date", "2026-1-1"],
        ["explain", "a/b/c", "--as-of", "yesterday"],
        ["history"],
        ["history", "a/b/c", "--data-date", "2026-01-01"],
        ["publish"],
        ["check"],
        ["publish", "--mode", "batched", "x"],
        ["kafka", "--port", "0"],
        ["dead-letters", "show"],
        *(
            ["dead-letters", command, *choice]
            for command in ("replay", "discard")
            for choice in ([], ["--all", "key"], ["--reason", "malformed", "key"], ["--reason", "malformed", "--all"])
        ),
    ],
)
def test_wrong_usage_is_reported_with_exit_code_2(arguments: list[str]) -> None:
    result = milepost(*arguments)
    assert result.exit_code == 2
    assert "Usage: milepost" in result.output


# Errors


def test_a_setting_that_cannot_be_is_one_line() -> None:
    assert "setting kafka: " in the_line(milepost("dead-letters", "list", "--kafka", "nowhere"))
    Path("milepost.toml").write_text("partitions = 'many'\n")
    assert "setting partitions: " in the_line(milepost("status"))


def test_flags_win_over_the_environment_and_the_environment_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("milepost.toml").write_text("database = 'sqlite:///file.db'\n")
    assert "there is no database at file.db" in the_line(milepost("status"))
    monkeypatch.setenv("MILEPOST_DATABASE", "sqlite:///environment.db")
    assert "there is no database at environment.db" in the_line(milepost("status"))
    assert "there is no database at flag.db" in the_line(milepost("status", "--database", "sqlite:///flag.db"))


def test_a_database_that_cannot_be_used_is_one_line_without_its_password() -> None:
    assert "run `milepost init`" in the_line(milepost("status"))
    line = the_line(milepost("status", "--database", "postgresql://ann:secret@127.0.0.1:1/x"))
    assert "does not answer" in line
    assert "secret" not in line
    for command in ("explain", "history"):
        assert "run `milepost init`" in the_line(milepost(command, "north/quay/opened"))
    assert "neither sqlite nor postgresql" in the_line(milepost("status", "--database", "mysql://x"))


def test_a_kafka_that_is_not_there_is_one_line_within_seconds() -> None:
    began = time.monotonic()
    line = the_line(milepost("dead-letters", "list", "--kafka", NOBODY))
    assert time.monotonic() - began < 10
    assert line == (
        f"milepost: Kafka at {NOBODY} does not answer: Connection refused; is it running? `milepost kafka` starts one"
    )


def test_what_kafkas_security_needs_is_reported_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    assert "setting kafka_sasl_username: is needed" in the_line(milepost("dead-letters", "list"))
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_USERNAME", "ann")
    assert "setting kafka_sasl_password: is needed" in the_line(milepost("dead-letters", "list"))
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD", "secret")
    monkeypatch.setenv("MILEPOST_KAFKA_SSL_CAFILE", "nowhere.pem")
    assert "setting kafka_ssl_cafile: there is no file nowhere.pem" in the_line(milepost("dead-letters", "list"))


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("deploy.cli.status.read_status", broken)
    assert isinstance(milepost("status").exception, ZeroDivisionError)


# check and publish


def test_check_counts_the_valid_events() -> None:
    Path("a.jsonl").write_text(json.dumps(EVENT) + "\n\n" + json.dumps({**EVENT, "id": "2"}))
    result = milepost("check", "a.jsonl", "-", given=json.dumps(EVENT))
    assert (result.exit_code, result.stdout) == (0, "3 events are valid\n")


def test_check_prints_one_line_for_each_bad_event_and_fails() -> None:
    Path("a.jsonl").write_text(json.dumps(EVENT) + "\n{\n")
    result = milepost("check", "a.jsonl", "-", given='{"specversion": "1.0"}')
    assert result.exit_code == 1
    assert [line.split(": ")[:2] for line in result.stdout.splitlines()] == [
        ["a.jsonl:2", "malformed"],
        ["<stdin>:1", "invalid-envelope"],
    ]


def test_check_warns_of_fields_that_nobody_will_read_but_takes_the_event() -> None:
    odd = {**EVENT, "data": {**EVENT["data"], "colour": "blue"}}  # type: ignore[dict-item]
    result = milepost("check", "-", given=json.dumps(odd))
    assert (result.exit_code, result.stdout) == (0, "1 event is valid\n")
    assert result.stderr == "<stdin>:1: warning: milepost.milestone.reported.v1 does not know `colour`\n"


def test_check_says_that_there_is_no_event_and_in_which_file_but_does_not_fail() -> None:
    Path("a.jsonl").write_text("")
    result = milepost("check", "a.jsonl")
    assert (result.exit_code, result.stdout) == (0, "there is no event to check\n")
    assert result.stderr == "a.jsonl: warning: there is no event in it\n"


def test_check_knows_the_sources_that_are_allowed() -> None:
    Path("milepost.toml").write_text("[allowed_sources]\nnorth = ['registry']\n")
    assert "source-not-allowed" in milepost("check", "-", given=json.dumps(EVENT)).stdout


def test_one_bad_event_keeps_publish_from_even_looking_for_kafka() -> None:
    Path("a.jsonl").write_text(json.dumps(EVENT) + "\n{\n")
    result = milepost("publish", "a.jsonl", "--kafka", NOBODY)
    assert (result.exit_code, result.stdout) == (1, "")
    bad, summary = result.stderr.splitlines()
    assert bad.startswith("a.jsonl:2: malformed: ")
    assert summary == "milepost: 1 of 2 events are not valid: nothing was sent"


def test_a_file_that_is_not_there_is_one_line() -> None:
    for command in ("check", "publish"):
        assert the_line(milepost(command, "x.jsonl")) == "milepost: x.jsonl cannot be read: No such file or directory"


# status


def test_status_of_nothing_is_an_empty_list_or_a_word() -> None:
    engine = make_engine("sqlite:///.milepost/milepost.db")
    migrate(engine)
    engine.dispose()
    assert milepost("status", "--json").stdout == "[]\n"
    result = milepost("status")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "milepost: no milestones yet\n")
    assert "no programme 'north'" in the_line(milepost("status", "north"))


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    program = "from deploy.cli.app import main; main()"
    arguments = [sys.executable, "-c", program, "check", "-"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdin
        assert command.stdout
        assert command.stderr
        command.stdout.close()
        command.stdin.write(b"{}\n" * 10_000)
        command.stdin.close()
        assert command.stderr.read() == b""
        assert command.wait() == 1


# What nobody vouches for


HOSTILE = "\x1b[31mred\x9b2J\r\n\t\x7f\N{RIGHT-TO-LEFT OVERRIDE}"
LETTER = DeadLetter(
    key="milepost.events:0:7",
    reason="malformed",
    detail=HOSTILE,
    topic="milepost.events",
    partition=0,
    offset=7,
    source=HOSTILE,
    value=f"first {HOSTILE}\nsecond é 中 🏗".encode(),
    headers=(("content-type", b"text"), (HOSTILE, HOSTILE.encode()), ("null", None), ("raw", b"\xff\x1b")),
)


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def without_styles(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_what_is_not_printable_is_spelled_out_and_the_rest_stays() -> None:
    assert printable(HOSTILE) == r"\x1b[31mred\x9b2J\r\n\t\x7f\u202e"
    assert printable("é 中 🏗\n\t", keep_line_breaks=True) == "é 中 🏗\n\t"


def test_a_dead_letter_is_shown_whole_and_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_dead_letter(LETTER, as_json=False)
    shown = capsys.readouterr().out
    assert is_harmless(shown.replace("\t", ""))
    lines = shown.splitlines()
    assert lines[0] == "reason: malformed"
    assert "offset: 7" in lines
    assert "header null: null" in lines
    assert r"header raw: \xff\x1b" in lines
    assert lines[-1] == "second é 中 🏗"


def test_a_dead_letter_in_json_keeps_every_byte(capsys: pytest.CaptureFixture[str]) -> None:
    print_dead_letter(LETTER, as_json=True)
    text = capsys.readouterr().out
    assert is_harmless(text.replace("\x7f", ""))
    shown = json.loads(text)
    assert LETTER.value
    assert (shown["key"], shown["offset"], shown["value"]) == (LETTER.key, 7, LETTER.value.decode())
    assert shown["headers"] == [
        {"name": "content-type", "value": "text"},
        {"name": HOSTILE, "value": HOSTILE},
        {"name": "null", "value": None},
        {"name": "raw", "value_base64": "/xs="},
    ]


SUMMARY = DeadLetterSummary(
    key="milepost.events:0:7",
    rejected_ms=1_790_000_000_999,
    source=HOSTILE,
    id="e-1",
    type="milepost.milestone.reported.v1",
    subject="north/plant",
    reason="invalid-data",
    detail=HOSTILE,
    topic="milepost.events",
    partition=0,
    offset=7,
)


def test_the_list_of_dead_letters_has_one_line_for_each_and_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_summaries([SUMMARY], 1, as_json=False)
    header, line, count = capsys.readouterr().out.splitlines()
    assert header.split() == ["time", "source", "id", "type", "subject", "reason", "key", "detail"]
    assert line.startswith("2026-09-21T14:13:20Z  ")
    assert is_harmless(line)
    assert count == "1 dead letter"
    print_summaries([SUMMARY], 1, as_json=True)
    printed = capsys.readouterr()
    [row] = json.loads(printed.out)
    assert (row["key"], row["time"], row["source"]) == (SUMMARY.key, "2026-09-21T14:13:20Z", HOSTILE)
    assert printed.err == ""


def test_the_list_of_dead_letters_says_how_many_it_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    print_summaries([SUMMARY], 12, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 12 dead letters, the newest: --limit shows more"
    print_summaries([SUMMARY], 12, as_json=True)
    assert capsys.readouterr().err == "milepost: 1 of 12 dead letters, the newest: --limit shows more\n"


def test_one_long_value_widens_no_other_line_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_summaries(
        [SUMMARY._replace(source="office", detail="short"), SUMMARY._replace(id="x" * 500)], 2, as_json=False
    )
    header, line, long_line, _ = capsys.readouterr().out.splitlines()
    assert max(len(header), len(line)) < 200
    assert "x" * 500 in long_line


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_refused(since: str) -> None:
    result = milepost("dead-letters", "list", "--since", since)
    assert result.exit_code == 2
    assert "--since" in result.stderr


def test_a_narrow_terminal_folds_cells_and_only_columns_that_are_empty_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    names = ["name", "plan", "note"]
    row = ["a" * 20, "b" * 20, "[red]c[/red]"]

    def printed(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        print_rows([ConsoleColumn(name) for name in (*names, "nothing")], [[*row, ""]])
        _, header, _, *lines = without_styles(capsys.readouterr().out).splitlines()
        assert header.split() == names
        assert max(map(len, lines)) <= width
        starts = [header.index(name) for name in names]
        cells = [slice(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
        # The lines of each cell, put together again
        assert ["".join(line[cell].strip() for line in lines) for cell in cells] == row
        return [line for line in lines if line.strip()]

    assert len(printed(80)) == 1
    assert len(printed(40)) == 2


def test_in_a_terminal_milestones_stand_below_their_project_and_a_pipe_has_it_in_every_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = f"{'d' * 20}/{'m' * 20}"
    names = (("quay", "opened", driver), ("quay", "built", None), ("dock", "built", None))
    nothing = (None,) * 7
    rows = [
        StatusRow("north", project, slug, None, *nothing, State.UNKNOWN, by, 7, 0, *NO_IMPACT)
        for project, slug, by in names
    ]
    report = StatusReport(date(2026, 3, 10), rows, [])
    monkeypatch.setenv("COLUMNS", "80")

    def lines() -> list[list[str]]:
        print_status(report, is_terminal=sys.stdout.isatty())
        return [line.split() for line in without_styles(capsys.readouterr().out).splitlines() if line.strip()]

    assert lines()[1] == ["north", "quay", "opened", *"-------", "unknown", driver]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    title, header, _, *table = lines()
    assert (title, header) == (["north,", "revision", "7"], ["milestone", "state", "driver"])
    unknown = "unknown"
    assert table == [["quay"], ["opened", unknown, driver], ["built", unknown], ["dock"], ["built", unknown]]


def test_lines_wrap_below_where_they_begin_in_a_terminal_and_not_at_all_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [ConsoleLine("first", style="bold"), ConsoleLine(""), ConsoleLine(f"[b]{HOSTILE} " + "word " * 6, indent=3)]
    print_lines(lines)
    pipe = capsys.readouterr().out
    assert pipe.splitlines() == ["first", "", f"   [b]{printable(HOSTILE)} word word word word word word"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_lines(lines)
    terminal = without_styles(capsys.readouterr().out)
    assert is_harmless(terminal)
    wrapped = terminal.splitlines()
    assert wrapped[:2] == ["first", ""]
    assert len(wrapped) > 3
    assert all(line.startswith("   ") and len(line) <= 40 for line in wrapped[2:])
    assert "".join(wrapped[2:]).replace(" ", "") == pipe.splitlines()[2].replace(" ", "")
