"""Logins to a real Kafka with TLS: every way in, for both clients; and every way to be refused, in one line."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr
from typer.testing import CliRunner

from consumers import client
from consumers.client import KafkaUnreachableError, admin_client, count_partitions
from consumers.topic_reader import open_topic, read_ranges
from deploy.cli import app
from deploy.topics import ensure_topics
from models.settings import Settings, read_settings
from streams.kafka.config import aiokafka_options
from tests.conftest import prepare_settings
from tests.helpers.event_generators import random_events
from tests.helpers.secure_kafka import CLIENT_SECRET, EXPIRY_MS, PASSWORD, Right, SecureKafka, set_environment
from tests.helpers.token_server import Issuer
from tests.helpers.workers import (
    WorkerProcess,
    process_environment,
    publish,
    running_app,
    wait_until,
    wait_until_async,
    worker_process,
)
from tests.integration.test_streams import numbered_report

WRONG: Final = SecretStr("wr0ng")
#: What stands in no log, error, page or list of processes.
SECRETS: Final = (PASSWORD, CLIENT_SECRET, WRONG.get_secret_value(), "k3y-password")
MakeSettings = Callable[[SecureKafka, Path], Settings]


def write(file: Path, text: str) -> Path:
    file.write_text(f"{text}\n")
    return file


def with_token_file(kafka: SecureKafka, folder: Path, token: str) -> Settings:
    return kafka.token_settings(kafka_oauth_token_endpoint=None, kafka_oauth_token_file=write(folder / "token", token))


def with_encrypted_key(kafka: SecureKafka, folder: Path) -> Settings:
    certificate, key = kafka.authority.issue("owner", password="k3y-password")  # noqa: S106 - of the test
    password = write(folder / "key-password", "k3y-password")
    return kafka.certificate_settings(
        kafka_ssl_certfile=certificate, kafka_ssl_keyfile=key, kafka_ssl_key_password_file=password
    )


WAYS_IN: dict[str, MakeSettings] = {
    "PLAIN": lambda kafka, _: kafka.settings(kafka_sasl_mechanism="PLAIN"),
    "SCRAM-SHA-256": lambda kafka, _: kafka.settings(kafka_sasl_mechanism="SCRAM-SHA-256"),
    "SCRAM-SHA-512": lambda kafka, folder: kafka.settings(
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_password=None,
        kafka_sasl_password_file=write(folder / "password", PASSWORD),
    ),
    "a user with odd characters": lambda kafka, _: kafka.settings("odd,user=1"),
    "strict, with key identifiers": lambda kafka, _: kafka.settings(kafka_ssl_strict=True),
    "without key identifiers": lambda kafka, _: kafka.settings(listener="bare"),
    "a certificate": lambda kafka, _: kafka.certificate_settings(),
    "a certificate with an encrypted key": with_encrypted_key,
    "a token of the token server": lambda kafka, _: kafka.token_settings(),
    "a token of a file": lambda kafka, folder: with_token_file(kafka, folder, kafka.tokens.issuer.issue("owner")),
    "a token where logins expire": lambda kafka, _: kafka.token_settings(listener="expiring"),
}


@pytest.fixture(scope="module")
def topic(secure_kafka: SecureKafka) -> Settings:
    """Give the settings, without a login, of topics of this module."""
    secure_kafka.add_users({"odd,user=1": [Right("TOPIC", "logins.events", "ALL")]})
    settings = Settings(kafka=secure_kafka.address("admin"), prefix="logins", partitions=1)
    ensure_topics(settings)
    return settings


async def send(settings: Settings, topic: str, value: bytes) -> None:
    """Send a record with the worker's client."""
    producer = AIOKafkaProducer(**aiokafka_options(settings), enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


@pytest.mark.parametrize("way", WAYS_IN)
def test_both_clients_come_in(way: str, secure_kafka: SecureKafka, topic: Settings, tmp_path: Path) -> None:
    settings = WAYS_IN[way](secure_kafka, tmp_path)
    asyncio.run(send(settings, topic.events_topic, way.encode()))
    with open_topic(settings, topic.events_topic) as (consumer, ranges):
        assert way.encode() in [record.value for record in read_ranges(consumer, topic.events_topic, ranges)]


def stranger_certificate(kafka: SecureKafka, _folder: Path) -> Settings:
    certificate, key = kafka.stranger.issue("owner-of-another")
    return kafka.certificate_settings(kafka_ssl_certfile=certificate, kafka_ssl_keyfile=key)


def expired_certificate(kafka: SecureKafka, _folder: Path) -> Settings:
    certificate, key = kafka.authority.issue("owner-of-yesterday", days=-1)
    return kafka.certificate_settings(kafka_ssl_certfile=certificate, kafka_ssl_keyfile=key)


MISSING = "Missing Authority Key Identifier"
INVALID = "Authentication failed during authentication due to invalid credentials"
IS_IT_PLAINTEXT = "is it running, and is its security PLAINTEXT? `milepost kafka` starts a plain one"
MECHANISM = "The broker does not support the requested SASL mechanism"
CERTIFICATE = "cannot be reached over TLS: it does not take the certificate in kafka_ssl_certfile"
LOGIN_ADVICE = "check the settings kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism"
CLIENT_REFUSED = (
    "HTTP 401 invalid_client no such client, or another secret; check kafka_oauth_client_id, kafka_oauth_client_secret"
    " and kafka_oauth_scope"
)
NOT_TAKEN = (
    'refuses the login of \'owner\': {"status":"invalid_token"}; it takes no token of kafka_oauth_token_file: check the'
    " token's issuer, audience and expiry"
)
#: What is refused, the line of kafka-python, and what aiokafka says of it.
REFUSED: dict[str, tuple[MakeSettings, str, str]] = {
    "a wrong password with PLAIN": (
        lambda kafka, _: kafka.settings(kafka_sasl_mechanism="PLAIN", kafka_sasl_password=WRONG),
        f"refuses the login of 'owner': Authentication failed: Invalid username or password; {LOGIN_ADVICE}",
        "SaslAuthenticationFailed: Authentication failed: Invalid username or password",
    ),
    "a wrong password with SCRAM": (
        lambda kafka, _: kafka.settings(kafka_sasl_password=WRONG),
        f"refuses the login of 'owner': {INVALID} with SASL mechanism SCRAM-SHA-256; {LOGIN_ADVICE}",
        f"SaslAuthenticationFailed: {INVALID}",
    ),
    "an unknown authority": (
        lambda kafka, _: kafka.settings(kafka_ssl_cafile=kafka.stranger.certificate),
        "cannot be reached over TLS: its certificate is signed by no authority in kafka_ssl_cafile ({stranger})",
        "certificate verify failed: unable to get local issuer certificate",
    ),
    "strict, without key identifiers": (
        lambda kafka, _: kafka.settings(listener="bare", kafka_ssl_strict=True),
        f"cannot be reached over TLS: its certificate is not good: {MISSING} (kafka_ssl_strict is true)",
        f"certificate verify failed: {MISSING}",
    ),
    "a certificate of another host": (
        lambda kafka, _: kafka.settings(
            kafka=kafka.address("bare").replace("127.0.0.1", "localhost"),
            kafka_ssl_cafile=kafka.bare_authority.certificate,
        ),
        "cannot be reached over TLS: its certificate is for other names: use one of them",
        "certificate verify failed: Hostname mismatch, certificate is not valid for 'localhost'",
    ),
    "a mechanism that is not enabled": (
        lambda kafka, _: kafka.settings(listener="clear"),
        f"refuses the login of 'owner': {MECHANISM}; {LOGIN_ADVICE}",
        "UnsupportedSaslMechanismError",
    ),
    "no login where there has to be one": (
        lambda kafka, _: kafka.settings(listener="clear", kafka_security_protocol="PLAINTEXT"),
        f"does not answer: socket disconnected; {IS_IT_PLAINTEXT}",
        "Unable to request metadata",
    ),
    "TLS where there is none": (
        lambda kafka, _: kafka.settings(kafka=kafka.address("admin")),
        "cannot be reached over TLS: it does not speak TLS there; is its security SASL_SSL?",
        "Unable connect to",
    ),
    "no TLS where there is": (
        lambda kafka, _: kafka.settings(kafka_security_protocol="SASL_PLAINTEXT"),
        "speaks TLS, and the setting kafka_security_protocol is SASL_PLAINTEXT",
        "Unable connect to",
    ),
    "no certificate": (
        lambda kafka, _: kafka.certificate_settings(kafka_ssl_certfile=None, kafka_ssl_keyfile=None),
        "cannot be reached over TLS: it asks for a certificate: set kafka_ssl_certfile and kafka_ssl_keyfile",
        "Unable connect to",
    ),
    "a certificate of another authority": (
        stranger_certificate,
        f"{CERTIFICATE} ({{folder}}/owner-of-another.pem): expired, or of another authority?",
        "Unable connect to",
    ),
    "an expired certificate": (
        expired_certificate,
        f"{CERTIFICATE} ({{folder}}/owner-of-yesterday.pem): expired, or of another authority?",
        "Unable connect to",
    ),
    "an expired token": (
        lambda kafka, folder: with_token_file(kafka, folder, kafka.tokens.issuer.issue("owner", -7200)),
        "cannot be logged in to: the token in {own}/token expired 120 min ago: what keeps it fresh has stopped",
        "expired 120 min ago",
    ),
    "a token of another issuer": (
        lambda kafka, folder: with_token_file(kafka, folder, Issuer().issue("owner")),
        NOT_TAKEN,
        'SaslAuthenticationFailed: the broker refuses the token: {"status":"invalid_token"}',
    ),
    "a token for another audience": (
        lambda kafka, folder: with_token_file(kafka, folder, kafka.tokens.issuer.issue("owner", audience="other")),
        NOT_TAKEN,
        'SaslAuthenticationFailed: the broker refuses the token: {"status":"invalid_token"}',
    ),
    "a wrong client secret": (
        lambda kafka, _: kafka.token_settings(kafka_oauth_client_id="nobody", kafka_oauth_client_secret=WRONG),
        f"cannot be logged in to: the token endpoint {{endpoint}} refuses a token for client nobody: {CLIENT_REFUSED}",
        "HTTP 401 invalid_client",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_line_that_says_which(
    case: str,
    secure_kafka: SecureKafka,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_settings, line, said_by_aiokafka = REFUSED[case]
    settings = make_settings(secure_kafka, tmp_path)
    # What an operator is given three seconds for
    monkeypatch.setattr(client, "BOOTSTRAP_TIMEOUT_MS", 500)
    with pytest.raises(KafkaUnreachableError) as error, admin_client(settings) as admin:
        admin.describe_cluster()
    words = {
        "stranger": secure_kafka.stranger.certificate,
        "folder": secure_kafka.folder,
        "own": tmp_path,
        "endpoint": secure_kafka.tokens.endpoint,
    }
    for name, value in words.items():
        line = line.replace(f"{{{name}}}", str(value))
    assert str(error.value) == f"Kafka at {settings.kafka} {line}"
    with pytest.raises(KafkaConnectionError, match="Unable to bootstrap"):
        asyncio.run(send(settings, "x", b""))
    logged = [record for record in caplog.records if record.getMessage().startswith("Unable ")]
    assert [record.exc_info for record in logged] == [None]
    assert said_by_aiokafka in logged[0].getMessage()
    assert not any(secret in f"{error.value}{caplog.text}" for secret in SECRETS)


def test_a_password_that_was_changed_counts_from_the_next_login_on(
    secure_kafka: SecureKafka, topic: Settings, tmp_path: Path
) -> None:
    password = write(tmp_path / "password", "not yet")
    settings = secure_kafka.settings(
        "rotated", kafka_sasl_password=None, kafka_sasl_password_file=password, kafka_sasl_mechanism="SCRAM-SHA-512"
    )
    options = aiokafka_options(settings)
    secure_kafka.add_users({"rotated": [Right("TOPIC", topic.events_topic, "READ")]})
    write(password, PASSWORD)

    async def connect() -> None:
        producer = AIOKafkaProducer(**options)
        try:
            await producer.start()
            await producer.client.fetch_all_metadata()
        finally:
            await producer.stop()

    asyncio.run(connect())
    with admin_client(settings) as admin:
        assert count_partitions(admin, [topic.events_topic]) == {topic.events_topic: 1}


def test_no_request_meets_a_login_that_has_ended(
    secure_kafka: SecureKafka, topic: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    options = aiokafka_options(secure_kafka.settings(listener="expiring"))

    async def work() -> int:
        producer = AIOKafkaProducer(**options)
        consumer = AIOKafkaConsumer(topic.events_topic, group_id="logins", auto_offset_reset="latest", **options)
        await producer.start()
        await consumer.start()
        try:
            for partition in consumer.assignment():
                await consumer.position(partition)  # before anything is sent that it should read
            ends_at, count = time.monotonic() + 2.5 * EXPIRY_MS / 1000, 0
            while time.monotonic() < ends_at:
                await producer.send_and_wait(topic.events_topic, b"again")
                await consumer.getone()
                count += 1
            return count
        finally:
            await consumer.stop()
            await producer.stop()

    assert asyncio.run(work()) > 10
    # Without this, a worker's log would have nothing of it either: it keeps back what is tried again.
    assert [record.getMessage() for record in caplog.records if "closed" in record.getMessage()] == []


# Commands and a worker


def test_commands_and_a_worker_log_in_without_tls_too(
    secure_kafka: SecureKafka, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    login = secure_kafka.settings(listener="clear", kafka_sasl_mechanism="PLAIN", prefix="clear", database=sqlite_url)
    set_environment(monkeypatch, login)
    Path("events.jsonl").write_text("\n".join(map(json.dumps, random_events(1, 3))))
    run = CliRunner()
    assert run.invoke(app.app, ["init"]).exit_code == 0
    assert run.invoke(app.app, ["publish", "events.jsonl"]).stdout.startswith("published 3 events")

    async def work() -> None:
        async with running_app(read_settings()) as worker:
            total = worker.metrics.event_delay
            await wait_until_async(lambda: sum(total._counts) == 3, "a worker logs in and records")

    asyncio.run(work())


_PROGRAM = """
import socket
from deploy.logging_setup import set_up_logging
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.errors import MilepostError
from models.settings import read_settings
from streams.worker import run_worker_process
set_up_logging("text")
settings = read_settings()
try:
    run_worker_process(settings, Recorder(make_engine(settings.database)), [socket.create_server(("127.0.0.1", 0))])
except MilepostError as error:
    print(error)
"""


def test_a_worker_that_is_refused_after_its_checks_ends_with_one_line(
    secure_kafka: SecureKafka, sqlite_url: str, tmp_path: Path
) -> None:
    prepared = prepare_settings(secure_kafka.address("admin"), sqlite_url)
    refused = secure_kafka.settings(
        prefix=prepared.prefix, database=prepared.database, kafka_ssl_cafile=secure_kafka.stranger.certificate
    )
    environment = process_environment(refused)
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    [line] = process.stdout.splitlines()
    assert line.startswith(f"Kafka at {refused.kafka} cannot be reached: Unable connect to ")
    assert "certificate verify failed: unable to get local issuer certificate" in line
    assert not [line for line in process.stderr.splitlines() if " INFO " not in line and " WARNING " not in line]


def without_secrets(worker: WorkerProcess, *more: str) -> None:
    """Check that no secret stands in what a worker logs, answers, and is called in the list of processes."""
    pages = [worker.get(path)[1] for path in ("/", "/metrics", "/ready", "/live", "/api/status", "/pipeline")]
    commands = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()]  # noqa: PTH208
    processes = [path.read_bytes().decode(errors="replace") for path in commands if path.exists()]
    for text in (worker.log_text, *pages, *processes):
        assert not [secret for secret in (*SECRETS, *more) if secret in text]


def has_recorded(worker: WorkerProcess, count: int) -> bool:
    return worker.scrape().value("milepost_event_delay_seconds_count") == count


@pytest.mark.timing
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
def test_logins_that_expire_cost_no_event_two_seconds_and_no_line_of_the_log(
    mechanism: str, secure_kafka: SecureKafka, sqlite_url: str, tmp_path: Path
) -> None:
    settings = prepare_settings(secure_kafka.address("admin"), sqlite_url)
    overrides: dict[str, Any] = {
        name: getattr(settings, name) for name in ("database", "prefix", "group", "log_end_seconds")
    }
    if mechanism == "OAUTHBEARER":
        login = secure_kafka.token_settings(listener="expiring", **overrides)
    else:
        login = secure_kafka.settings(listener="expiring", kafka_sasl_mechanism=mechanism, **overrides)
    with worker_process(login, tmp_path) as worker:
        worker.wait_until_ready()
        ends_at, count = time.monotonic() + 5 * EXPIRY_MS / 1000, 0
        while time.monotonic() < ends_at:
            publish(settings, [numbered_report(count)])
            count += 1
            assert wait_until(partial(has_recorded, worker, count), "the event is recorded") < 2
        page = worker.scrape()
        lines = [line for line in worker.log_text.splitlines() if " INFO " not in line]
        assert lines == []
        assert count > 10
        assert page.value("milepost_event_delay_seconds_bucket", le="1.0") == count
        assert worker.log_text.count("partitions are assigned") == 1
        without_secrets(worker, *secure_kafka.tokens.issued)
