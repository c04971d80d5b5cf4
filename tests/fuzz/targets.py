"""One function for each thing that outsiders write to, and the promise that holds whatever they write."""

import http.client
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as at_seed
from hypothesis import strategies as st

from consumers.event_files import open_events
from consumers.publish import ContentMode, validate
from deploy.demo.story import build_story
from models.domain.cloudevents import MAX_DETAIL_LENGTH, decode, encode_structured
from models.domain.envelope import Headers
from models.domain.events import Event, Rejection
from tests.helpers.board import running_board
from tests.helpers.event_generators import binary_record, events, structured_record


class FuzzTarget(NamedTuple):
    """What is drawn, and what has to hold for it."""

    strategies: tuple[st.SearchStrategy[Any], ...]
    check: Callable[..., None]

    def run(self, seed: int, examples: int) -> None:
        """Check that many examples; raises what the smallest failing one raises."""
        bounds = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )

        # Hypothesis marks the function that it is given.
        def check(drawn: tuple[Any, ...]) -> None:
            self.check(*drawn)

        at_seed(seed)(bounds(given(st.tuples(*self.strategies))(check)))()


_DAY: Final = date(2026, 11, 23)
_NOW_MS: Final = 1_900_000_000_000
_ANSWER_TIMEOUT_S: Final = 10
_FAULTY_ANSWERS: Final = range(500, 600)
_BUSY: Final = 503

#: What stands where bytes of a valid input stood.
_FRAGMENTS: Final = st.sampled_from(
    [
        *(
            b'"',
            b"\\",
            b"\\u0000",
            b"\\ud800",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\n",
        ),
        *(
            b"\r",
            b"---\n",
            b"- ",
            b"&a ",
            b"*a",
            b"<<: ",
            b"!!x ",
            b"| ",
            b"#",
            b";",
            b"\t",
            b"'",
            b"1e999",
            b"-0",
            b"0x1F",
        ),
        *(b"null", b"NaN", b"true", b"9" * 40, b"[" * 200, b'{"a":' * 200, b"../", b"%00", b"\xe2\x80\xae"),
    ]
) | st.binary(max_size=8)


@st.composite
def _changed(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes that were valid before some of them were replaced, put in, taken out or said again."""
    value = draw(valid)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(value)))
        taken = draw(st.integers(0, 12))
        again = draw(st.sampled_from((b"", value[:place], value[place : place + 40])))
        value = value[:place] + draw(_FRAGMENTS) + again + value[place + taken :]
    return value


@st.composite
def _records(draw: st.DrawFn) -> tuple[Headers, bytes | None]:
    headers, value = draw(st.sampled_from((structured_record, binary_record)))(draw(events()))
    changed: list[tuple[str, bytes | None]] = []
    for name, content in headers:
        fate = draw(st.sampled_from(("kept", "kept", "kept", "kept", "changed", "absent", "null", "renamed")))
        if fate == "renamed":
            changed.append(
                (draw(st.sampled_from(("CE_", "ce-", "cloudEvents:", "x"))) + name.removeprefix("ce_"), content)
            )
        elif fate != "absent":
            changed.append(
                (name, None if fate == "null" else draw(_changed(st.just(content))) if fate == "changed" else content)
            )
    return changed, draw(st.none() | _changed(st.just(value))) if draw(st.booleans()) else value


def _check_record(record: tuple[Headers, bytes | None]) -> None:
    """Any record is an event, which reads the same when it is written again, or a rejection that says why."""
    outcome = decode(*record)
    if isinstance(outcome, Rejection):
        assert outcome.detail.strip()
        assert len(outcome.detail) <= MAX_DETAIL_LENGTH
        assert not any(character < " " for character in outcome.detail)
        return
    again = decode(*encode_structured(outcome))
    assert isinstance(again, Event)
    assert again.digest() == outcome.digest()


def _write_json_lines(documents: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def _write_yaml(documents: list[dict[str, Any]]) -> bytes:
    # JSON is YAML, and block style adds what only YAML has.
    lines = []
    for document in documents:
        members = [f"{name}: {json.dumps(content)}" for name, content in document.items()]
        lines += [f"- {members[0]}", *(f"  {member}" for member in members[1:])]
    return "\n".join([*lines, ""]).encode()


def _write_csv(documents: list[dict[str, Any]]) -> bytes:
    names = ("id", "source", "type", "subject", "time", "recordedtime")
    fields = ("milestone", "classifier", "date", "name", "jobs", "lag_days", "retracts", "reason")
    rows = [[*names, *fields]]
    for document in documents:
        data = document.get("data") or {}
        cells = [str(document.get(name, "")) for name in names] + [str(data.get(name, "")) for name in fields]
        rows.append(['"{}"'.format(cell.replace('"', '""')) for cell in cells])
    return "\n".join([*(",".join(row) for row in rows), ""]).encode()


_WRITERS: Final[Mapping[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    ".jsonl": _write_json_lines,
    ".yaml": _write_yaml,
    ".csv": _write_csv,
}


def _check_file(data: st.DataObject) -> None:
    """Any file is read to its end; each of its events is valid, or a line says where and why it is not."""
    suffix = data.draw(st.sampled_from(sorted(_WRITERS)))
    documents = data.draw(st.lists(events(), min_size=1, max_size=3))
    content = data.draw(_changed(st.just(_WRITERS[suffix](documents))))
    mode = data.draw(st.sampled_from(ContentMode))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"events{suffix}")
        path.write_bytes(content)
        with open_events([str(path)], io.BytesIO(), reread=True) as read_all:
            for checked in validate(read_all(), _NOW_MS, {}, mode):
                assert checked.location.startswith(f"{path}:")
                assert isinstance(checked.outcome, Event) or checked.outcome.detail.strip()


_PATHS: Final = (
    "/",
    "/pipeline",
    "/api/programmes",
    "/api/pipeline",
    "/api/openapi.json",
    "/programmes/{}",
    "/programmes/{}/trend",
    "/programmes/{}/milestones/{}/{}",
    "/programmes/{}/gates/{}/{}",
    "/api/programmes/{}",
    "/api/programmes/{}/moves",
    "/api/programmes/{}/milestones/{}/{}",
    "/static/{}",
    "/metrics/milestones",
    "/{}",
)
_NAMES: Final = (
    "ulyanovsk-medical-cluster",
    "sez-industrial-park",
    "ntm-group",
    "park-commissioned",
    "..",
    "",
    "x",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
    "%",
    "é",
)
_PARAMETERS: Final = (
    "day",
    "as_of",
    "compare",
    "assume",
    "before",
    "after",
    "limit",
    "programme",
    "project",
    "state",
    "x",
)
_VALUES: Final = (
    "",
    "0",
    "-1",
    "1",
    "9" * 19,
    "9" * 400,
    "2026-11-23",
    "2026-02-30",
    "0001-01-01",
    "late",
    "\0",
    "é",
    "NaN",
)

_texts = st.text(max_size=12) | st.sampled_from(_NAMES)
_queries = st.lists(
    st.tuples(st.sampled_from(_PARAMETERS) | st.text(max_size=8), st.sampled_from(_VALUES) | st.text(max_size=20)),
    max_size=4,
)
_request_headers = st.dictionaries(
    st.sampled_from(("Accept-Encoding", "If-None-Match", "Range", "Accept", "Connection", "X-Forwarded-For")),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
    | st.sampled_from(("gzip;q=0", "gzip, br", "*", '"x"', "W/", "bytes=0-5", "close")),
    max_size=3,
)


@st.composite
def _targets(draw: st.DrawFn) -> str:
    pattern = draw(st.sampled_from(_PATHS))
    path = pattern.format(*(quote(draw(_texts), safe="") for _ in range(pattern.count("{}"))))
    query = "&".join(
        f"{quote(name, safe='', errors='replace')}={quote(value, safe='', errors='replace')}"
        for name, value in draw(_queries)
    )
    return f"{path}?{query}" if query else path


def _check_answer(address: str, method: str, target: str, headers: Mapping[str, str]) -> None:
    host = urlsplit(address).netloc
    connection = http.client.HTTPConnection(host, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        # The stream of changes has no end.
        body = b"" if response.getheader("Content-Type", "").startswith("text/event-stream") else response.read()
    finally:
        connection.close()
    assert response.status not in _FAULTY_ANSWERS or response.status == _BUSY, (response.status, target)
    assert method != "HEAD" or not body


@contextmanager
def open_targets() -> Iterator[dict[str, FuzzTarget]]:
    """Give all targets by name, with a board that answers."""
    with tempfile.TemporaryDirectory() as folder, running_board(f"sqlite:///{folder}/board.db", _DAY) as board:
        board.record_events(build_story(_DAY).opening)
        methods = st.sampled_from(("GET", "GET", "GET", "HEAD", "POST", "OPTIONS"))
        yield {
            "decode": FuzzTarget((_records(),), _check_record),
            "files": FuzzTarget((st.data(),), _check_file),
            "web": FuzzTarget((methods, _targets(), _request_headers), partial(_check_answer, board.address)),
        }
