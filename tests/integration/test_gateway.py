"""The gateway as a process, with a real Kafka: what it acknowledges is in the log, and what it needs is said."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from consumers.client import TopicError, admin_client
from deploy.gateway import run_gateway
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.errors import MilepostError
from models.settings import Settings
from streams.gateway.tokens import parse_tokens
from tests.helpers.gateway import OFFICE, TOKENS, gateway_process, report
from tests.helpers.workers import free_port, read_topic, wait_until


@pytest.fixture
def settings(sqlite_settings: Settings, tmp_path: Path) -> Settings:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(TOKENS)
    return sqlite_settings.model_copy(update={"gateway_tokens": tokens, "gateway": "127.0.0.1:0"})


def test_what_is_acknowledged_is_in_the_log_under_the_name_of_its_programme(settings: Settings, tmp_path: Path) -> None:
    with gateway_process(settings, tmp_path) as gateway:
        assert gateway.get("/live")[0] == 200
        assert json.loads(gateway.get("/ready")[1]) == {"ok": True, "reasons": {}}
        client = gateway.client
        assert client.post_batch([report(str(number)) for number in range(300)]).json == {"accepted": 300}
        assert client.post_binary(report("300", correlationid="a b")).json == {"accepted": 1}
        assert client.post_structured(report("301", subject="south/plant")).json == {"accepted": 1}
        assert client.post_structured(report("302"), path="/events?check=true").json == {"valid": 1}
        largest = report("302", extension="x" * (256 * 1024 - len(json.dumps(report("302", extension="")))))
        assert client.post_structured(largest).json == {"accepted": 1}
        page = gateway.scrape()
        assert page.value("milepost_gateway_events_total", token="office", outcome="accepted") == 303  # noqa: S106 - a name
        assert page.value("milepost_gateway_events_total", token="office", outcome="checked") == 1  # noqa: S106 - as above
        assert page.value("milepost_gateway_request_seconds_count") == 5
        assert page.value("milepost_gateway_kafka_up") == 1
        assert gateway.stop() < settings.stop_seconds
    assert gateway.process.returncode == 0
    records = read_topic(settings, settings.events_topic)
    events: list[Any] = [decode(record.headers, record.value) for record in records]
    assert all(isinstance(event, Event) for event in events)
    assert sorted(int(event.id) for event in events) == list(range(303))
    assert {(record.key, event.programme) for record, event in zip(records, events, strict=True)} == {
        (b"north", "north"),
        (b"south", "south"),
    }


def test_metrics_and_probes_have_a_listener_of_their_own(settings: Settings, tmp_path: Path) -> None:

    port = free_port()
    with gateway_process(settings.model_copy(update={"metrics": f"127.0.0.1:{port}"}), tmp_path, port) as gateway:
        assert gateway.get("/metrics")[0] == 200
        assert gateway.client.get("/metrics").status == 404
        assert gateway.client.post_structured(report()).status == 202


def test_the_tokens_file_is_read_again_when_it_changes(settings: Settings, tmp_path: Path) -> None:
    assert settings.gateway_tokens is not None
    with gateway_process(settings, tmp_path) as gateway:
        settings.gateway_tokens.write_text("[[token]")
        wait_until(lambda: "warnings" in json.loads(gateway.get("/ready")[1]), "the broken file shows")
        assert gateway.get("/ready")[0] == 200
        assert gateway.scrape().value("milepost_gateway_tokens_file_broken") == 1
        assert gateway.client.post_structured(report()).status == 202

        # As an editor does: half of a file would be another broken one.
        (tmp_path / "new.toml").write_text(TOKENS.partition("\n\n")[2])
        (tmp_path / "new.toml").replace(settings.gateway_tokens)
        wait_until(lambda: gateway.client.post_structured(report()).status == 401, "the first token is gone")
        assert gateway.get("/ready")[1] == '{"ok": true, "reasons": {}}'

        def counted_tokens() -> set[str]:
            return {labels["token"] for labels in gateway.scrape().labels("milepost_gateway_requests_total")}

        wait_until(lambda: counted_tokens() == {"-", "other"}, "the counters of the first token are gone")
        assert gateway.log_text.count("the tokens before it stay in force") == 1


def test_events_that_kafka_refuses_do_not_keep_others_out(settings: Settings, tmp_path: Path) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, settings.events_topic, {"max.message.bytes": "4000"})
    with admin_client(settings) as admin:
        admin.alter_configs([resource])
    with gateway_process(settings, tmp_path) as gateway:
        incompressible = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))  # noqa: S311 - no secret
        for number in range(3):
            response = gateway.client.post_structured(report(f"large-{number}", extension=incompressible))
            assert response.status == 503
            assert "Kafka refuses events" in response.json["detail"]
            # Without another producer, the broker would refuse whatever follows in this partition.
            assert gateway.client.post_structured(report(f"small-{number}")).status == 202
        assert gateway.log_text.count("the producer is replaced") == 3
    assert len(read_topic(settings, settings.events_topic)) == 3


def test_a_gateway_that_cannot_work_says_why_and_does_not_start(settings: Settings, tmp_path: Path) -> None:
    for overrides, error, message in (
        ({"gateway_tokens": None}, MilepostError, "the gateway needs tokens: MILEPOST_GATEWAY_TOKENS names their file"),
        ({"gateway_tokens": tmp_path / "none"}, MilepostError, "none cannot be read"),
        ({"prefix": "elsewhere"}, TopicError, "topic elsewhere.events is missing"),
        ({"kafka": "127.0.0.1:1"}, MilepostError, "Kafka at 127.0.0.1:1 does not answer"),
    ):
        with pytest.raises(error, match=message):
            run_gateway(settings.model_copy(update=overrides))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli.app import main; main()", "gateway", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd="/",
    )


def test_a_token_is_printed_with_its_block_and_works(settings: Settings, tmp_path: Path) -> None:
    made = command("token", "office", "--source", "//office.example", "--programme", "north", "--rate", "50")
    [token] = made.stderr.split()
    assert len(token) == 43
    found = parse_tokens(made.stdout).find(token)
    assert found is not None
    assert (found.name, found.sources, found.programmes, found.rate) == (
        "office",
        ("//office.example",),
        ("north",),
        50,
    )
    assert token not in made.stdout
    assert command("token", "office").stderr != made.stderr
    plain = parse_tokens(command("token", "office").stdout).tokens[0]
    assert (plain.sources, plain.programmes, plain.rate) == (("//office.example",), ("*",), None)

    assert settings.gateway_tokens is not None
    settings.gateway_tokens.write_text(made.stdout)
    with gateway_process(settings, tmp_path) as gateway:
        assert gateway.client.post_structured(report(), token=token).status == 202
        assert gateway.client.post_structured(report(), token=OFFICE).status == 401


def test_a_wrong_name_of_a_token_is_said_in_one_line() -> None:
    done = command("token", "a b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "milepost: 'a b' is no name of a token: at most 64 letters, digits, dots, dashes and underscores\n"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--source", "*"), "token 'office': source '*' is no prefix: a prefix ends in /*, as //office.example/*"),
        (("--source", ""), "token 'office': source '' has no characters"),
        (("--programme", "North"), "token 'office': programme 'North' is no name of a programme, nor '*'"),
        (("--rate", "inf"), "token 'office': Expected `float` <= 1000000000.0"),
    ],
)
def test_no_block_is_printed_that_the_file_would_be_refused_for(option: Sequence[str], message: str) -> None:
    done = command("token", "office", *option)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"milepost: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_a_large_rate_is_printed_as_it_is() -> None:
    assert parse_tokens(command("token", "office", "--rate", "1234567").stdout).tokens[0].rate == 1_234_567


def test_a_gateway_beyond_loopback_warns_of_tokens_in_clear(settings: Settings, tmp_path: Path) -> None:
    with gateway_process(settings, tmp_path, host="0.0.0.0") as gateway:
        assert "tokens are in clear unless something in front of it ends TLS" in gateway.log_text
        assert "MILEPOST_METRICS puts them elsewhere" in gateway.log_text
        assert gateway.stop(signal.SIGINT) < settings.stop_seconds
