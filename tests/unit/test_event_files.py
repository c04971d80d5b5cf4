"""Files that are no events, or stand for more than memory holds: one line says so, at once."""

import gzip
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.event_files import MAX_LINE_BYTES, EventLine, open_events
from consumers.publish import validate
from models.domain.events import Event, Rejection

HEAD = """id: "1"
source: /erp
type: milepost.milestone.reported.v1
subject: harbour/quay
time: "2026-11-20T10:00:00Z"
"""
DATA = "data: {milestone: permit-approved, classifier: PLN, date: 2027-01-15"
LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "m0: &m0 {k0: v}\n" + "".join(f"m{n}: &m{n} {{k{n}: v, <<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 30))


def read(path: Path | str, stdin: bytes = b"", *, reread: bool = False) -> list[EventLine]:
    with open_events([str(path)], io.BytesIO(stdin), reread=reread) as read_all:
        return list(read_all())


@pytest.mark.parametrize("reread", [False, True])
def test_a_line_that_never_ends_is_one_fault(reread: bool) -> None:  # noqa: FBT001 - a table's column
    [line] = read("/dev/zero", reread=reread)

    assert line.location == "/dev/zero:1"
    assert line.fault is not None
    assert line.fault.startswith(f"a line of more than {MAX_LINE_BYTES} bytes")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "yaml"])
def test_what_stands_before_a_line_that_is_too_long_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.{suffix}"
    first = {"jsonl": "{}\n", "csv": "id,source\n1,/erp\n", "yaml": "---\nid: x\n---\nid: "}[suffix]
    path.write_bytes(first.encode() + b"x" * (MAX_LINE_BYTES + 5) + b"\n{}\n")

    *before, last = read(path)

    assert [line.fault for line in before] == [None]
    assert last.location == f"{path}:{first.count(chr(10)) + 1}"
    assert "a line of more than" in str(last.fault)


def test_a_pipe_that_never_ends_is_not_copied(tmp_path: Path) -> None:
    pipe = tmp_path / "events.jsonl"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write(bytes(50_000_000))"]) as writer:
        [line] = read(pipe, reread=True)
        writer.wait(10)

    assert "a line of more than" in str(line.fault)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress(b"{}", mtime=0), "it is compressed with gzip: decompress it first"),
        (b"PK\x03\x04rest", "it is a ZIP file, or a spreadsheet: save it as CSV in UTF-8"),
        ("id,source\n".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
    ],
    ids=["gzip", "ZIP", "UTF-16"],
)
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "yaml"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, expected: str, suffix: str) -> None:
    path = tmp_path / f"events.{suffix}"
    path.write_bytes(content)

    assert read(path) == [EventLine(f"{path}:1", b"", expected)]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (f"{HEAD}{DATA}}}\nextra: &x [1]\nother: *x\n", False),
        (f"{LAUGHS}{HEAD}{DATA}, remark: *a39}}\n", True),
        (f"{MERGES}{HEAD}{DATA}, remark: *m29}}\n", True),
        (f"{HEAD}{DATA}, remark: &r [*r]}}\n", True),
        (f"{HEAD}{DATA}, remark: {'x' * 300_000}}}\n", True),
    ],
    ids=["aliases", "laughs", "merges", "itself", "large"],
)
def test_an_event_that_its_aliases_make_too_large_is_refused_in_bounded_memory(
    tmp_path: Path,
    text: str,
    is_refused: bool,  # noqa: FBT001 - a table's column
) -> None:
    path = tmp_path / "events.yaml"
    path.write_text(text)
    code = "import sys; from deploy.cli.app import main; sys.argv[0] = 'milepost'; main()"

    def limit_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))

    checked = subprocess.run(
        [sys.executable, "-c", code, "check", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=limit_memory,
    )

    assert checked.returncode == int(is_refused), checked.stderr
    if is_refused:
        assert checked.stdout.startswith(
            f"{path}:1: malformed: more than 262144 bytes once its aliases are written out"
        )


EVENT = (
    '{"specversion":"1.0","id":"1","source":"/erp","type":"milepost.milestone.reported.v1","subject":"harbour/quay",'
    '"time":"2026-11-20T10:00:00Z","data":{"milestone":"a","classifier":"PLN","date":"2027-01-15","x":[{"y":1,"z":2}]}}'
)


@pytest.mark.parametrize(
    ("part", "twice", "name"),
    [
        ('"date":"2027-01-15"', '"date":"2027-01-15","date":"2027-09-15"', "date"),
        ('"id":"1"', '"id":"1","id":"1"', "id"),
        ('"y":1', '"y":1,"\\u0079":1e999999999', "y"),
        ('"data":{', '"data":{},"data":{', "data"),
    ],
)
def test_a_name_that_stands_twice_in_one_object_is_refused_in_a_file(
    tmp_path: Path, part: str, twice: str, name: str
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f"{EVENT}\n{EVENT.replace(part, twice)}\n")

    good, bad = validate(read(path), 1_900_000_000_000, {})

    assert isinstance(good.outcome, Event)
    assert bad.location == f"{path}:2"
    assert isinstance(bad.outcome, Rejection)
    assert bad.outcome.detail == f"the name {name!r} stands twice in one object"
