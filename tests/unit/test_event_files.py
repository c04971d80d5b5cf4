"""Files that are no events, or stand for more than memory holds: one line says so, at once."""

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.csv_events import MAX_ROW_CHARACTERS
from consumers.event_files import EventFileError, EventLine, open_events
from consumers.lines import MAX_COPY_BYTES, MAX_LINE_BYTES
from consumers.publish import ContentMode, validate
from consumers.yaml_events import MAX_DOCUMENT_CHARACTERS, MAX_DOCUMENT_NODES
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "a JSON array"),
        ('[{"id": "1"}, {"id": "2"}]\n', "a JSON array"),
        ('\n [\n{"id": "1"},\n{"id": "2"}\n]\n', "a JSON array"),
        (json.dumps([{"id": "1"}], indent=2), "a JSON array"),
        (json.dumps({"id": "1"}, indent=2), "an event that goes on in the next line"),
        ('{"id": "1"},\n{"id": "2"}\n', "a comma behind an event"),
    ],
    ids=["empty", "one line", "a line each", "spread array", "spread event", "commas"],
)
def test_json_that_is_not_an_event_on_each_line_is_one_fault_for_whoever_has_a_file(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "events.json"
    path.write_text(text)

    [line] = read(path)

    assert line.fault is not None
    assert line.fault.startswith(f"{expected}: in a file each event stands on")
    assert "Kafka" not in line.fault


def test_an_array_among_events_is_one_fault_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"id": "1"}\n[{"id": "2"}]\n{"id": "3"}\n')

    assert [line.fault is None for line in read(path)] == [True, False, True]


@pytest.mark.parametrize("text", ["[1]", "{\n}"])
def test_what_is_sent_as_it_is_may_be_any_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    with open_events([str(path)], io.BytesIO(), reread=False, as_is=True) as read_all:
        assert [(line.value.decode(), line.fault) for line in read_all()] == [(each, None) for each in text.split()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.jsonl", ""),
        ("blank.jsonl", "\n \n"),
        ("empty.csv", ""),
        ("header.csv", "id,source,type,subject,time\n"),
        ("empty.yaml", ""),
        ("list.yaml", "[]\n"),
    ],
)
def test_a_file_without_an_event_is_named_once_however_often_files_are_read(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "events.jsonl").write_text("{}\n")
    names, warnings = [str(tmp_path / each) for each in (name, "events.jsonl")], list[str]()
    with open_events(names, io.BytesIO(), reread=True, warn=warnings.append) as read_all:
        assert [len(list(read_all())) for _ in range(2)] == [1, 1]

    assert warnings == [f"{names[0]}: warning: there is no event in it"]


@pytest.mark.parametrize("reread", [False, True])
def test_a_line_that_never_ends_is_one_fault(reread: bool) -> None:  # noqa: FBT001 - a table's column
    [line] = read("/dev/zero", reread=reread)

    assert line.location == "/dev/zero:1"
    assert line.fault is not None
    assert line.fault.startswith(f"a line of more than {MAX_LINE_BYTES} bytes")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "yaml"])
def test_what_stands_before_a_line_that_is_too_long_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.{suffix}"
    first = {"jsonl": "{}\n", "csv": "id,source,type,subject,time\n1,/erp\n", "yaml": "---\nid: x\n---\nid: "}[suffix]
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


def test_a_pipe_of_short_lines_that_never_ends_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pipe = tmp_path / "events.jsonl"
    os.mkfifo(pipe)
    code = f"out = open({str(pipe)!r}, 'wb'); chunk = b'{{}}\\n' * 100_000\nwhile True: out.write(chunk)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as writer:
        with pytest.raises(EventFileError) as refused:
            read(pipe, reread=True)
        writer.wait(10)

    assert str(refused.value) == (
        f"{pipe}: more than {MAX_COPY_BYTES // 1024**2} MiB in a pipe, which is copied to be read twice:"
        " save it to a file, and name the file"
    )


def test_a_row_whose_quoted_cells_never_end_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    header = "id,source,type,subject,time\n"
    path.write_text(header + "1,a,b,c,d\n" + '"x\n",' * MAX_ROW_CHARACTERS)

    first, last = read(path)

    assert first.fault is None
    assert last.location == f"{path}:3"
    assert str(last.fault).startswith(f"a row of more than {MAX_ROW_CHARACTERS} characters")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a\n" * (MAX_DOCUMENT_NODES + 5), f"more than {MAX_DOCUMENT_NODES} names and values: divide it"),
        ("- " + "a" * 999_990 + "\n", None),
        (("- " + "a" * 999_990 + "\n") * 5, f"more than {MAX_DOCUMENT_CHARACTERS} characters: divide it"),
    ],
    ids=["nodes", "small", "characters"],
)
def test_a_yaml_document_has_bounds_that_say_what_to_do(tmp_path: Path, text: str, fault: str | None) -> None:
    path = tmp_path / "events.yaml"
    path.write_text(text)

    *_, last = read(path)

    assert (fault or "bytes once its aliases") in str(last.fault)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- id: 1\n- id: 2\n  data: " + "[" * 5000 + "]" * 5000 + "\n", 3),
        ("- id: 1\n-\n" + "".join(f"{'  ' * (depth + 1)}a:\n" for depth in range(100)), 67),
        ("- &a0 [x]\n" + "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 3000)), 3000),
    ],
    ids=["brackets", "indents", "aliases"],
)
def test_yaml_that_is_nested_too_deep_is_said_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "events.yaml"
    path.write_text(text)

    *_, last = read(path)

    assert last.fault is not None
    assert last.fault.removeprefix("not YAML: ") == "nested deeper than 64 levels"
    assert last.location == f"{path}:{line}"


COLUMNS = "id,source,type,subject,time,jobs,investment.amount,investment.currency"
PROJECT = "/erp,milepost.project.registered.v1,harbour/quay,2026-11-20T10:00:00Z"


@pytest.mark.parametrize(
    ("written", "jobs"),
    [("9007199254740993", 9007199254740993), ("9007199254740993.0", 9007199254740993), ("1.2e3", 1200), ("12.0", 12)],
)
@pytest.mark.parametrize("suffix", ["csv", "yaml", "jsonl"])
def test_a_number_keeps_its_digits_in_every_kind_of_file(tmp_path: Path, suffix: str, written: str, jobs: int) -> None:
    path = tmp_path / f"events.{suffix}"
    attributes = EVENT[: EVENT.index('{"milestone"')].replace("milestone.reported", "project.registered")
    yaml_attributes = HEAD.replace("milestone.reported", "project.registered")
    path.write_text(
        {
            "csv": f"{COLUMNS}\n1,{PROJECT},{written},{written},EUR\n",
            "yaml": f"{yaml_attributes}data: {{jobs: {written}, investment: {{amount: {written}, currency: EUR}}}}\n",
            "jsonl": f'{attributes}{{"jobs":{written},"investment":{{"amount":{written},"currency":"EUR"}}}}}}\n',
        }[suffix]
    )

    [checked] = validate(read(path), 1_900_000_000_000, {})

    assert isinstance(checked.outcome, Event), checked.outcome
    assert getattr(checked.outcome.data, "jobs", None) == jobs
    same_path = tmp_path / "same.jsonl"
    same_path.write_text(
        f"{attributes}{json.dumps({'jobs': jobs, 'investment': {'amount': jobs, 'currency': 'EUR'}})}}}"
    )
    [same] = validate(read(same_path), 1_900_000_000_000, {})
    assert isinstance(same.outcome, Event)
    assert same.outcome.digest() == checked.outcome.digest()


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("id;source;type;subject;time", "the columns are separated by semicolons: separate them by commas"),
        ("id\tsource\ttype", "the columns are separated by tabs: separate them by commas"),
        (
            "sep=;\nid;source",
            "'sep=;' is a line for spreadsheets alone: take it out, and separate the columns by commas",
        ),
        ("Id,Source,type,subject,time", "the header has 'Id': the name is 'id'"),
        ("id,source,type,SUBJECT,time", "the header has 'SUBJECT': the name is 'subject'"),
        ("id,source,type,subject", "the header does not name time"),
        ("1,/erp,x,harbour,2026-01-01", "the first row is no header: it names none of id, source, type, subject, time"),
        ("id,source,type,subject,time,id", "the header names 'id' twice"),
    ],
)
def test_what_is_wrong_with_a_header_is_said_once(tmp_path: Path, header: str, fault: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"{header}\n" + "1;2;3;4;5\n" * 100)

    assert read(path) == [EventLine(f"{path}:1", b"", fault)]


def test_what_is_checked_is_what_binary_mode_sends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    coded = EVENT[: EVENT.index('"data"')] + '"datacontenttype":"application/cloudevents+json","data":{}}'
    path.write_text(f"{EVENT}\n{coded}\n")

    as_structured = [checked.outcome for checked in validate(read(path), 1_900_000_000_000, {})]
    as_binary = [checked.outcome for checked in validate(read(path), 1_900_000_000_000, {}, ContentMode.BINARY)]

    assert isinstance(as_structured[0], Event)
    assert as_binary[0] == as_structured[0]
    assert isinstance(as_binary[1], Rejection)


def test_a_name_that_stands_twice_is_told_beside_any_other_fault(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(EVENT.replace('"id":"1"', '"id":"","id":""') + "\n")

    [checked] = validate(read(path), 1_900_000_000_000, {})

    assert isinstance(checked.outcome, Rejection)
    assert checked.outcome.detail == "the name 'id' stands twice in one object"
