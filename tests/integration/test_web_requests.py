"""Requests as no browser sends them, over a socket: each gets an answer, and costs and changes nothing else."""

import gc
import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import date
from typing import Final, Self

import pytest

from models.domain.events import Classifier, Event, MilestoneReported
from models.domain.timestamps import Instant
from streams.web.connections import Connection
from tests.helpers.board import BoardServer, running_board
from tests.helpers.workers import wait_until

DAY: Final = date(2026, 11, 23)
PROBES: Final = ("/metrics", "/metrics/milestones", "/live", "/ready")
BOARD: Final = (
    *("/", "/programmes/north", "/programmes/north/trend", "/programmes/north/milestones/plant/permit-approved"),
    *("/programmes/north/gates/plant/permit-approved", "/pipeline", "/api/programmes", "/api/programmes/north"),
    *("/api/programmes/north/milestones", "/api/programmes/north/moves", "/api/pipeline", "/api/openapi.json"),
    *("/api/stream", "/static/board.css"),
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('board')}/milepost.db"
    with running_board(url, DAY) as here:
        report = MilestoneReported("permit-approved", Classifier.PLANNED, date(2027, 1, 1))
        stamp = Instant("2026-11-01T00:00:00")
        here.record_events(
            [Event(source="//tests", id="1", programme="north", project="plant", time=stamp, data=report)]
        )
        yield here


class Client:
    """A connection on which one writes bytes."""

    def __init__(self, board: BoardServer) -> None:
        host, port = board.address.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, *lines: str, host: str | None = "localhost") -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the status, the headers and the body of the response."""
        method = lines[0].split(" ")[0]
        named = [*lines, *([] if host is None else [f"Host: {host}"]), "", ""]
        self.socket.sendall("\r\n".join(named).encode("latin-1"))
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        status, *fields = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self._read) < size:
            self._read += self.receive()
        body, self._read = self._read[:size], self._read[size:]
        return int(status.split(" ")[1]), headers, body

    def read_until(self, end: bytes) -> bytes:
        """Return what is received up to some bytes."""
        while end not in self._read:
            self._read += self.receive()
        found, _, self._read = self._read.partition(end)
        return found + end

    def receive(self) -> bytes:
        """Return what comes next; fails at the end."""
        received = self.socket.recv(65536)
        assert received, "the server goes on"
        return received

    def is_closed(self) -> bool:
        """Wait for something; return whether it is the end of the connection."""
        try:
            return self.socket.recv(65536) == b""
        except ConnectionError:
            return True


def errors(board: BoardServer, kind: str) -> float:
    return board.metrics.registry.get_sample_value("milepost_http_errors_total", {"kind": kind}) or 0.0


# HEAD and other methods


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_head_gets_the_headers_alone_and_the_next_request_is_answered(board: BoardServer, coding: str) -> None:
    with Client(board) as client:
        for path in (*PROBES, *BOARD, *BOARD):
            status, headers, _ = client.ask(f"HEAD {path} HTTP/1.1", f"Accept-Encoding: {coding}")
            assert (status, "content-type" in headers) == (200, True), path
            assert "transfer-encoding" not in headers
            assert client.ask("GET /live HTTP/1.1")[2] == b'{"ok": true, "reasons": {}}', path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_told_which_ones_there_are(board: BoardServer, method: str) -> None:
    with Client(board) as client:
        for path in (*PROBES, *BOARD):
            status, headers, body = client.ask(f"{method} {path} HTTP/1.1")
            assert (status, headers["allow"]) == (405, "GET,HEAD"), path
            assert b"use GET" in body


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST:8090",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:1",
            "192.168.7.9:80",
            "[::1]",
            "[::1]:80",
        ),
        *("[2001:db8::1]:8090", "0.0.0.0"),
    ],
)
def test_the_board_answers_to_addresses_and_to_localhost(board: BoardServer, host: str) -> None:
    with Client(board) as client:
        assert client.ask("GET /api/programmes HTTP/1.1", host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8090", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:x", ""),
        *("localhost:123456", "[::1", "::1", "[evil]", "a b", "localhost/", "user@localhost", "127.1", "0x7f000001"),
    ],
)
def test_the_board_answers_to_no_other_name_and_probes_answer_to_any(board: BoardServer, host: str) -> None:
    for path in BOARD:
        with Client(board) as client:
            status, headers, _ = client.ask(f"GET {path} HTTP/1.1", host=host)
            assert (status, "content-security-policy" in headers) == (421, True), path
    for path in PROBES:
        with Client(board) as client:
            assert client.ask(f"GET {path} HTTP/1.1", host=host)[0] == 200, path


def test_the_name_in_the_request_line_counts_rather_than_the_header(board: BoardServer) -> None:
    with Client(board) as client:
        assert client.ask("GET http://evil.example/api/programmes HTTP/1.1")[0] == 421
        assert client.ask("GET http://localhost/api/programmes HTTP/1.1")[0] == 200


def test_no_host_or_two_are_no_request(board: BoardServer) -> None:
    with Client(board) as client:
        assert client.ask("GET /api/programmes HTTP/1.0", host=None)[0] == 400
    with Client(board) as client:
        assert client.ask("GET /api/programmes HTTP/1.1", "Host: localhost")[0] == 400


# Parameters


@pytest.mark.parametrize("query", ["x=1", "x", "=1", "OFFSET=1", "offset[]=1", "%6fffset2=1", "date", "?", "v=1&w=2"])
def test_a_parameter_that_nothing_reads_is_refused(board: BoardServer, query: str) -> None:
    for path in (*PROBES, *BOARD):
        assert board.get(f"{path}?{query}").status == 400, path


@pytest.mark.parametrize(
    "path", ["/?offset=0&offset=0", "/programmes/north?show=all&show=late", "/api/stream?programme=a&programme=b"]
)
def test_a_parameter_given_twice_is_refused(board: BoardServer, path: str) -> None:
    assert board.get(path).status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("before=1", 200),
        ("before=0001", 200),
        (f"before={1 << 62}", 200),
        (f"before={(1 << 62) + 1}", 400),
        ("before=0", 400),
        ("before=-1", 400),
        ("before=+1", 400),
        ("before=1.0", 400),
        (f"before={'0' * 4000}1", 400),
    ],
)
def test_a_number_is_what_its_schema_says(board: BoardServer, path: str, status: int) -> None:
    assert board.get(f"/api/programmes/north/moves?{path}").status == status


def test_a_trend_of_more_milestones_than_it_has_colours_is_refused(board: BoardServer) -> None:
    query = "&".join(["milestone=plant/permit-approved"] * 9)
    assert board.get(f"/programmes/north/trend?{query}").status == 400


# What is not HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        *(b"GET /\x80 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 100),
        *(
            b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"<script>alert(1)</script> / HTTP/1.1\r\n\r\n",
        ),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_counted_and_neither_quoted_nor_traced(
    board: BoardServer, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    counted = errors(board, "bad-request")
    with Client(board) as client, caplog.at_level(logging.INFO):
        client.socket.sendall(request_bytes)
        head = client.read_until(b"\r\n\r\n").decode()
        answer = head + client.read_until(b"\n").decode()
    assert head.startswith(("HTTP/1.0 400", "HTTP/1.1 400"))
    assert answer.endswith("This is no valid HTTP request.\n")
    assert "Content-Security-Policy: default-src 'none'" in head
    assert errors(board, "bad-request") == counted + 1
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/", "/live", "/nowhere", "/api/nowhere", "/live?x", "/static/nothing"])
def test_every_answer_has_the_security_headers_and_names_no_version(board: BoardServer, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        with Client(board) as client:
            _, headers, _ = client.ask(f"{method} {path} HTTP/1.1")
            assert headers["server"] == "milepost"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "broken",
    [
        "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        "Content-Length: 1000000\r\n\r\nnone",
        "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        "Expect: \x1b[31m\r\n\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_a_body_or_an_upgrade_is_not_waited_for_and_not_traced(
    board: BoardServer, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(board) as client, caplog.at_level(logging.INFO):
        client.socket.sendall(f"POST / HTTP/1.1\r\nHost: localhost\r\n{broken}".encode("latin-1"))
        head = client.read_until(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.[01] (4\d\d|100)", head), head
        assert b"\x1b" not in head
    assert caplog.records == []


def test_a_client_that_goes_away_is_counted_and_not_traced(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.metrics.store.MetricsStore.iter_families", lambda _: iter([b"x" * 1_000_000] * 50))
    counted = errors(board, "client-gone")
    with caplog.at_level(logging.INFO):
        with Client(board) as client:
            client.socket.sendall(b"GET /metrics/milestones HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.receive()
        wait_until(lambda: errors(board, "client-gone") > counted, "it is counted")
    assert caplog.records == []


@pytest.mark.parametrize(
    "path", ["/programmes/x%0AERROR%20forged%1b[31m", "/programmes/%E2%80%AEx", "/programmes/%C2%9Bx"]
)
def test_a_path_in_the_log_has_neither_lines_nor_control_characters(
    board: BoardServer, path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.web.read_model.ReadModel.get_programme", None)
    assert board.get(path).status == 500
    [record] = caplog.records
    assert record.getMessage().isprintable()


# Limits


def test_the_connection_that_waited_longest_gives_way(tmp_path: object) -> None:
    with running_board(f"sqlite:///{tmp_path}/milepost.db", DAY, max_connections=5) as board, ExitStack() as closing:
        oldest, *others = [closing.enter_context(Client(board)) for _ in range(5)]
        others[0].socket.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(3):
            with Client(board) as client:
                assert client.ask("GET /live HTTP/1.1")[0] == 200
        assert oldest.is_closed()
        assert errors(board, "displaced") >= 1
        assert board.get("/live").status == 200


@pytest.mark.parametrize(
    "start",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\n"],
)
def test_a_connection_without_a_whole_request_is_closed(
    board: BoardServer, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.web.connections.HEADER_SECONDS", 0.2)
    counted = errors(board, "deadline")
    with Client(board) as fresh, Client(board) as used:
        assert used.ask("GET /live HTTP/1.1")[0] == 200
        for client in (fresh, used):
            client.socket.sendall(start or b"GET")
            assert client.is_closed()
    wait_until(lambda: errors(board, "deadline") == counted + 2, "both are counted")


def test_an_idle_connection_is_closed_which_is_nobodys_mistake(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.web.connections.IDLE_SECONDS", 0.2)
    counted = errors(board, "deadline")
    with Client(board) as client:
        assert client.ask("GET /live HTTP/1.1")[0] == 200
        assert client.is_closed()
    assert errors(board, "deadline") == counted


def test_of_requests_sent_at_once_the_first_is_answered(board: BoardServer) -> None:
    with Client(board) as client:
        client.socket.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        received = client.receive()
        with suppress(AssertionError, ConnectionError):
            while True:
                received += client.receive()
    assert received.count(b"200 OK") == 1


def test_a_client_that_does_not_read_is_closed(board: BoardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.web.connections.WRITE_SECONDS", 0.2)
    monkeypatch.setattr("streams.metrics.store.MetricsStore.iter_families", lambda _: iter([b"x" * 1_000_000] * 50))
    counted = errors(board, "deadline")
    with Client(board) as client:
        client.socket.sendall(b"GET /metrics/milestones HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: errors(board, "deadline") > counted, "it is closed")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from freeing anything: in a worker, it seldom looks."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def count_connections() -> int:
    """Return how many connections are in memory, closed ones included."""
    return sum(isinstance(known, Connection) for known in gc.get_objects())


TINY_CHUNKS: Final = "Transfer-Encoding: chunked\r\n\r\n" + "1\r\n \r\n" * 2000


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("leaves_at_once", [True, False])
@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "GET / HT",
        "GET /live HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /programmes/north HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics/milestones HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /live HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n ",
        f"GET / HTTP/1.1\r\nHost: localhost\r\n{TINY_CHUNKS}",
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "\x80\r\n\r\n",
    ],
)
def test_a_closed_connection_is_freed_before_the_garbage_collector_looks(
    board: BoardServer, request_text: str, *, leaves_at_once: bool
) -> None:
    wait_until(lambda: count_connections() == 0, "those of other tests are freed")
    with Client(board) as client:
        client.socket.sendall(request_text.encode("latin-1"))
        if leaves_at_once:
            pass
        elif "\r\n\r\n" in request_text:
            client.receive()
        else:
            wait_until(lambda: count_connections() == 1, "it is accepted")
    wait_until(lambda: count_connections() == 0, "it is freed")


@pytest.mark.parametrize("path", ["/", "/api/stream"])
def test_a_connection_whose_body_is_refused_is_closed_whatever_is_answered(
    board: BoardServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.web.connections.REFUSED_SECONDS", 0.2)
    with Client(board) as client:
        client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{TINY_CHUNKS}".encode())
        while not client.is_closed():
            pass


def test_four_scrape_at_once_and_the_fifth_is_told_when_to_come_back(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.metrics.store.MetricsStore.iter_families", lambda _: iter([b"x" * 1_000_000] * 50))
    with ExitStack() as closing:
        for _ in range(4):
            client = closing.enter_context(Client(board))
            client.socket.sendall(b"GET /metrics/milestones HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.receive()
        refused = board.get("/metrics/milestones")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert board.get("/metrics/milestones", Accept_Encoding="gzip").status == 503
        assert board.get("/metrics").status == 200
    wait_until(lambda: board.get("/metrics/milestones").status == 200, "the next is answered")


def test_what_differs_in_nothing_that_is_read_is_rendered_once(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[object] = []
    from streams.web.read_model import ReadModel  # noqa: PLC0415 - patched here alone

    render = ReadModel.run_in_executor

    async def count(self: ReadModel, work: object, *arguments: object) -> object:
        rendered.append(work)
        return await render(self, work, *arguments)  # type: ignore[arg-type]

    path = "/api/programmes/north/milestones"
    board.get(f"{path}?limit=77")
    monkeypatch.setattr(ReadModel, "run_in_executor", count)
    for query in ("limit=77", "limit=077", "offset=0&limit=77", "limit=77&offset=00", "limi%74=77"):
        assert json.loads(board.get(f"{path}?{query}").body)["total"] == 1
    assert rendered == []
