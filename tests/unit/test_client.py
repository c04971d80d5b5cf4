"""How Kafka is reached, and which of the many things a client library says is told."""

import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, codec
from kafka.errors import (
    CorruptRecordError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)
from pydantic import SecretStr

from consumers import client
from consumers.client import KafkaUnreachableError, connection_options, kafka_errors
from consumers.codecs import install_codecs
from models.settings import Settings, SettingsError
from streams.kafka.config import aiokafka_options

SETTINGS = Settings(kafka="broker:9092")
PASSWORD = SecretStr("secret")
LOGIN = Settings(
    kafka="broker:9092",
    kafka_security_protocol="SASL_PLAINTEXT",
    kafka_sasl_username="ann",
    kafka_sasl_password=PASSWORD,
)
REFUSED = KafkaConnectionError("111 ECONNREFUSED")
HUNG_UP = KafkaConnectionError("socket disconnected")
WRONG = SaslAuthenticationFailedError("SaslAuthenticationFailedError: Authentication failed: Invalid password")


def message_of(raised: KafkaError, *logged: Exception, settings: Settings = SETTINGS) -> str:
    def fail() -> None:
        for error in logged:
            logging.getLogger("kafka.net").warning("Bootstrap connection to %s failed: %s", "bootstrap-0", error)
        raise raised

    with pytest.raises(KafkaUnreachableError) as caught, kafka_errors(settings):
        fail()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_record_that_too_few_replicas_take_is_told_by_its_cause_not_by_the_timeout() -> None:
    def fail() -> None:
        # As the library's sender logs it, with the class of the error as text.
        message = "%s: Got error produce response on topic-partition %s, retrying (%s attempts left): %s%s"
        logging.getLogger("kafka.producer.sender").warning(message, "sender", "t-0", 9, "NotEnoughReplicasError", "")
        raise KafkaTimeoutError("Expiring 1 record(s) for t-0: 20000 ms has passed since batch creation")

    with pytest.raises(KafkaUnreachableError) as caught, kafka_errors(SETTINGS):
        fail()
    assert str(caught.value) == (
        "Kafka at broker:9092 takes no records: a partition has fewer in-sync replicas than min.insync.replicas of its"
        " topic: start the brokers that are away"
    )


NEVER = KafkaTimeoutError("Unable to bootstrap from broker:9092")


def test_the_reason_that_is_only_logged_is_reported() -> None:
    assert message_of(NEVER, REFUSED) == (
        "Kafka at broker:9092 does not answer: Connection refused; is it running? `milepost kafka` starts one"
    )
    assert "does not answer: DNS Resolution failure; is it running, and is its security PLAINTEXT?" in message_of(
        NEVER, KafkaConnectionError("DNS Resolution failure")
    )
    assert "Unable to bootstrap" in message_of(NEVER)


@pytest.mark.parametrize("later", [[], [HUNG_UP], [RequestTimedOutError("Request timed out after 37 ms")], [NEVER]])
def test_a_refused_login_is_reported_whatever_fails_after_it(later: list[Exception]) -> None:
    assert message_of(NEVER, HUNG_UP, WRONG, *later, settings=LOGIN) == (
        "Kafka at broker:9092 refuses the login of 'ann': Authentication failed: Invalid password;"
        " check the settings kafka_sasl_username, kafka_sasl_password and kafka_sasl_mechanism"
    )
    assert "does not support the requested SASL mechanism" in message_of(
        NEVER, UnsupportedSaslMechanismError(), *later, settings=LOGIN
    )


def test_a_broker_that_only_hangs_up_on_a_login_may_mean_the_login() -> None:
    assert "kafka_sasl_mechanism right?" in message_of(NEVER, HUNG_UP, settings=LOGIN)


def test_what_a_broker_refuses_is_reported_as_that_and_not_as_silence() -> None:
    assert "does not allow this" in message_of(TopicAuthorizationFailedError("topic x"), REFUSED)
    assert message_of(MessageSizeTooLargeError("too much."), REFUSED) == "Kafka at broker:9092 refuses: too much"


def test_the_library_is_quiet_while_it_is_used_and_as_before_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("kafka")
    before = (list(logger.handlers), logger.propagate)
    message_of(NEVER, REFUSED)
    assert caplog.records == []
    assert (logger.handlers, logger.propagate) == before


def test_what_is_about_records_or_versions_is_not_reported_as_silence() -> None:
    unreadable = message_of(UnsupportedCodecError("Unrecognized compression type: 5"), REFUSED)
    assert unreadable == "Kafka at broker:9092 holds what cannot be read: Unrecognized compression type: 5"
    old = message_of(IncompatibleBrokerVersion("no FetchRequest v4"), REFUSED)
    assert old == "Kafka at broker:9092 is of a version that this client cannot speak with: no FetchRequest v4"


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_what_is_not_compressed_as_it_says_is_corrupt(name: str) -> None:
    install_codecs()
    with pytest.raises(CorruptRecordError, match=f"is said to be {name} and is not"):
        getattr(codec, f"{name}_decode")(b"\xff" * 40)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two certificates, each with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "other"):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        command = ["openssl", "req", "-x509", *kind, *files]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_both_clients_get_what_the_settings_say(certificates: Path) -> None:
    settings = Settings(
        kafka="a:1, b:2",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="ann",
        kafka_sasl_password=PASSWORD,
        kafka_ssl_cafile=certificates / "one.pem",
        kafka_ssl_certfile=certificates / "other.pem",
        kafka_ssl_keyfile=certificates / "other.key",
    )
    options = connection_options(settings)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-256")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]()) == ("ann", "secret")
    for context in (options["ssl_context"], aiokafka_options(settings)["ssl_context"]()):
        assert context.check_hostname
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert [dict(pair[0] for pair in each["subject"]) for each in context.get_ca_certs()] == [{"commonName": "one"}]
    assert not [name for name in connection_options(SETTINGS) if name.startswith(("ssl", "sasl"))]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"cafile": "one.key"},
            r"setting kafka_ssl_cafile: .*one\.key holds no certificate in PEM form \(MILEPOST_KAFKA_SSL_CAFILE, ",
        ),
        (
            {"certfile": "one.pem", "keyfile": "other.key"},
            r"kafka_ssl_keyfile: .*other\.key is not the key of certificate .*one",
        ),
        ({"certfile": "one.pem", "keyfile": "one.pem"}, r"kafka_ssl_certfile: .* are no certificate and key"),
        ({"certfile": "one.pem"}, r"kafka_ssl_certfile: .* are no certificate and key"),
    ],
)
def test_a_certificate_file_that_is_another_is_named(certificates: Path, files: dict[str, str], told: str) -> None:
    paths: Any = {f"kafka_ssl_{name}": certificates / file for name, file in files.items()}
    with pytest.raises(SettingsError, match=told):
        connection_options(Settings(kafka_security_protocol="SSL", **paths))


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="kafka_sasl_username: is needed for SASL_SSL"):
        connection_options(Settings(kafka_security_protocol="SASL_SSL"))
    with pytest.raises(SettingsError, match=r"kafka_ssl_cafile: there is no file nowhere\.pem"):
        connection_options(Settings(kafka_security_protocol="SSL", kafka_ssl_cafile=Path("nowhere.pem")))


def test_the_key_of_a_certificate_may_have_a_password(certificates: Path) -> None:
    command = ["openssl", "pkey", "-in", "one.key", "-aes256", "-passout", "pass:s3cr3t", "-out", "locked.key"]
    subprocess.run(command, cwd=certificates, check=True, capture_output=True)
    (certificates / "password").write_text("s3cr3t\n")
    files: Any = {"kafka_ssl_certfile": certificates / "one.pem", "kafka_ssl_keyfile": certificates / "locked.key"}
    for password in (
        {"kafka_ssl_key_password": SecretStr("s3cr3t")},
        {"kafka_ssl_key_password_file": certificates / "password"},
    ):
        assert "ssl_context" in connection_options(Settings(kafka_security_protocol="SSL", **files, **password))
    with pytest.raises(SettingsError, match=r"kafka_ssl_key_password: \S+ is encrypted, and its password is needed"):
        connection_options(Settings(kafka_security_protocol="SSL", **files))
    wrong = Settings(kafka_security_protocol="SSL", kafka_ssl_key_password=SecretStr("wr0ng"), **files)
    with pytest.raises(SettingsError, match=r"is encrypted, and its password is another one") as error:
        connection_options(wrong)
    assert "wr0ng" not in str(error.value)


def test_certificates_are_checked_strictly_on_request(certificates: Path) -> None:
    ca = certificates / "one.pem"
    settings = Settings(kafka_security_protocol="SSL", kafka_ssl_cafile=ca, kafka_ssl_strict=True)
    for context in (connection_options(settings)["ssl_context"], aiokafka_options(settings)["ssl_context"]()):
        assert context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_password_in_a_file_is_read_at_each_login(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("first")
    settings = Settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="ann",
        kafka_sasl_password_file=tmp_path / "password",
    )
    passwords = [options(settings)["sasl_plain_password"] for options in (connection_options, aiokafka_options)]
    assert [password() for password in passwords] == ["first", "first"]
    (tmp_path / "password").write_text("second\n")
    assert [password() for password in passwords] == ["second", "second"]
    (tmp_path / "password").unlink()
    with pytest.raises(SettingsError, match=r"kafka_sasl_password_file: .*password cannot be read: No such file"):
        passwords[0]()


@pytest.fixture
def silent() -> Iterator[str]:
    """Give the address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []
        threading.Thread(target=lambda: held.append(server.accept()[0]), daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for client in held:
            client.close()


@pytest.mark.parametrize("security", ["PLAINTEXT", "SSL"])
def test_a_server_that_is_no_kafka_is_reported_when_the_time_is_over(
    silent: str, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BOOTSTRAP_TIMEOUT_MS", 500)
    settings = Settings(kafka=silent, kafka_security_protocol=security)  # type: ignore[arg-type]
    with (
        pytest.raises(KafkaUnreachableError, match=f"Kafka at {silent} does not answer: .*{security}"),
        kafka_errors(settings) as options,
    ):
        client.create_client(KafkaAdminClient, **options)
