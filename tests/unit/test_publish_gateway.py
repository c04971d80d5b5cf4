"""`milepost publish --gateway`: the same files and checks; what the gateway cannot take now is sent again."""

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from consumers.gateway import GatewayClient, GatewayError, publish_through_gateway
from consumers.publish import PublishError
from deploy.cli.app import app
from models.settings import Settings
from streams.gateway.acceptance import CheckedRecord
from streams.gateway.producer import UnavailableError
from streams.gateway.tokens import parse_tokens
from tests.helpers.gateway import OFFICE, TOKENS, GatewayServer, SentRecords, report, running_endpoint
from tests.helpers.oracle import JsonEvent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: SentRecords) -> Path:
    """Stand in a folder with a token file."""
    sent.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(f"{OFFICE}\n")
    return tmp_path


def write(path: Path, events: Sequence[JsonEvent]) -> str:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return str(path)


def publish(gateway: GatewayServer | str, *arguments: str, token_file: str = "token") -> Result:  # noqa: S107 - a file's name
    url = gateway if isinstance(gateway, str) else gateway.address
    return CliRunner().invoke(app, ["publish", "--gateway", url, "--token-file", token_file, *arguments])


def test_a_file_is_published_in_its_order_and_in_batches(
    gateway: GatewayServer, sent: SentRecords, folder: Path
) -> None:
    before = gateway.count("requests_total", "office", outcome="accepted")
    done = publish(gateway, write(folder / "events.jsonl", [report(str(number)) for number in range(1200)]))
    assert (done.exit_code, done.stdout) == (0, f"published 1,200 events through {gateway.address}/events\n")
    assert [json.loads(record.record.value)["id"] for record in sent] == [str(number) for number in range(1200)]
    assert gateway.count("requests_total", "office", outcome="accepted") == before + 3


def test_large_events_fit_into_requests(gateway: GatewayServer, sent: SentRecords, folder: Path) -> None:
    events = [report(str(number), extension="x" * 250_000) for number in range(9)]
    assert publish(gateway, write(folder / "events.jsonl", events)).exit_code == 0
    assert len(sent) == 9


def test_a_table_is_published_too(gateway: GatewayServer, sent: SentRecords, folder: Path) -> None:
    header = "id,source,type,subject,time,milestone,classifier,date"
    event = "1,//office.example,milepost.milestone.reported.v1,north/plant,2026-11-01T09:00:00Z"
    row = f"{event},permit-approved,PLN,2027-01-15"
    (folder / "events.csv").write_text(f"{header}\n{row}\n")
    assert publish(gateway, "events.csv").exit_code == 0
    assert len(sent) == 1


def test_when_an_event_is_not_valid_nothing_is_sent(gateway: GatewayServer, sent: SentRecords, folder: Path) -> None:
    done = publish(gateway, write(folder / "events.jsonl", [report("1"), report("2", time=None)]))
    assert done.exit_code == 1
    assert "events.jsonl:2: invalid-envelope: time is missing" in done.stderr
    assert "1 of 2 events are not valid: nothing was sent" in done.stderr
    assert sent == []


def test_what_the_gateway_refuses_is_named_by_its_line(gateway: GatewayServer, sent: SentRecords, folder: Path) -> None:
    events = [*(report(str(number)) for number in range(600)), report("x", source="//other.example/a")]
    done = publish(gateway, write(folder / "events.jsonl", events))
    assert done.exit_code == 1
    assert (
        "events.jsonl:601: source-not-allowed: this token may not speak for source '//other.example/a'\n" in done.stderr
    )
    assert "refuses: 403: 1 of 101 events are refused; none is published; 500 events before " in done.stderr
    assert len(sent) == 500


def test_a_wrong_token_and_a_wrong_address_are_said_in_one_line(gateway: GatewayServer, folder: Path) -> None:
    name = write(folder / "events.jsonl", [report()])
    (folder / "wrong").write_text("wrong")
    (folder / "empty").write_text(" \n")
    for url, token_file, message in (
        (gateway, "wrong", f"milepost: {gateway.address}/events refuses: 401: This token is not valid; 0 events"),
        (gateway, "none", "milepost: --token-file: none cannot be read: No such file or directory\n"),
        (gateway, "empty", "milepost: --token-file: empty has no token in one line\n"),
        ("http://127.0.0.1:1", "token", "milepost: http://127.0.0.1:1/events does not answer: Connection refused;"),
        (f"{gateway.address}/elsewhere", "token", "/elsewhere/events refuses: 404: Events go to POST /events"),
        ("ftp://a", "token", "milepost: --gateway: ftp://a is no address"),
        ("a:8091", "token", "milepost: --gateway: a:8091 is no address"),
    ):
        done = publish(url, name, token_file=token_file)
        assert done.exit_code == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [("--no-check",), ("--mode", "binary"), ("--kafka", "a:1")])
def test_options_that_do_not_go_together_are_refused(
    gateway: GatewayServer, folder: Path, options: Sequence[str]
) -> None:
    name = write(folder / "events.jsonl", [report()])
    assert "--gateway goes with none of" in publish(gateway, *options, name).stderr
    assert "belong together" in CliRunner().invoke(app, ["publish", "--gateway", gateway.address, name]).stderr


def client_of(here: GatewayServer, waits: list[float], warnings: list[str]) -> GatewayClient:
    return GatewayClient(here.address, OFFICE, warnings.append, waits.append)


def send_all(client: GatewayClient, events: Sequence[JsonEvent], warnings: list[str]) -> int:
    from consumers.event_files import EventLine  # noqa: PLC0415 - here alone

    lines = [EventLine(f"events:{number}", json.dumps(event).encode()) for number, event in enumerate(events, 1)]
    return publish_through_gateway(client, Settings(), lambda: iter(lines), 1_800_000_000_000, warnings.append)


def test_an_outage_of_kafka_is_waited_out() -> None:
    failures, received = [None] * 3, SentRecords()

    async def publish_later(records: Sequence[CheckedRecord]) -> None:
        if failures:
            failures.pop()
            raise UnavailableError("Kafka did not take events within 10 s")
        await received(records)

    waits: list[float] = []
    warnings: list[str] = []
    with running_endpoint(publish_later) as here:
        assert send_all(client_of(here, waits, warnings), [report()], warnings) == 1
    assert waits == [5, 5, 5]
    reason = "Kafka did not take events within 10 s: send the same again, it counts once"
    assert warnings == [f"events:1: {here.address}/events: 503: {reason}: waiting"]
    assert len(received) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_what_leaves_open_whether_kafka_has_the_events_is_sent_again(status: int) -> None:
    statuses, bodies = [status, 202], list[bytes]()

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

    waits: list[float] = []
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            assert send_all(client_of(GatewayServer(server.server_port), waits, []), [report()], []) == 1
        finally:
            server.shutdown()
            serving.join()
    assert waits == [1]
    assert bodies[0] == bodies[1]


def test_an_outage_that_does_not_end_ends_the_command() -> None:
    async def fail(_: Sequence[CheckedRecord]) -> None:
        raise UnavailableError("Kafka did not take events within 10 s")

    waits: list[float] = []
    with (
        running_endpoint(fail) as here,
        pytest.raises(PublishError, match="for 10 minutes; 0 events were acknowledged"),
    ):
        send_all(client_of(here, waits, []), [report()], [])
    assert sum(waits) == 600


def test_a_rate_is_waited_for(folder: Path) -> None:
    table = parse_tokens(TOKENS.replace('programmes = ["*"]', 'programmes = ["*"]\nrate = 250'))
    received = SentRecords()
    with running_endpoint(received, tokens=table) as here:
        name = write(folder / "events.jsonl", [report(str(number)) for number in range(1100)])
        done = publish(here, name)
        assert done.exit_code == 0
        assert "429: This token may publish 250 events a second: waiting" in done.stderr
    assert len(received) == 1100


def test_a_gateway_that_goes_away_in_between_is_waited_for() -> None:
    warnings: list[str] = []
    with running_endpoint(SentRecords()) as here:
        client = client_of(here, [], warnings)
        assert send_all(client, [report()], warnings) == 1
    with pytest.raises(PublishError, match="no answer"):
        send_all(client, [report()], warnings)
    assert len(warnings) == 1


def test_a_token_in_clear_to_another_machine_is_warned_of() -> None:
    warnings: list[str] = []
    GatewayClient("http://gateway.example:8091", "t", warnings.append)
    assert warnings == ["warning: the token goes to gateway.example:8091 in clear: use https://"]
    assert GatewayClient("https://a/base/", "t", pytest.fail).url == "https://a/base/events"
    with pytest.raises(GatewayError):
        GatewayClient("https://user@a", "t", pytest.fail)
