"""Settings: milepost.toml, then the environment, then flags; the later wins, and a fault is one line."""

from pathlib import Path
from typing import Any

import pytest

from models.secrets import read_secret
from models.settings import Settings, SettingsError, read_log_format, read_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(**flags: Any) -> str:  # noqa: ANN401 - any value may be wrong
    with pytest.raises(SettingsError) as error:
        read_settings(**flags)
    line = str(error.value)
    assert line
    assert len(line.splitlines()) == 1
    return line


def test_without_any_settings_the_defaults_of_the_contract_count() -> None:
    settings = read_settings()
    assert (settings.kafka, settings.web, settings.group) == ("127.0.0.1:9092", "127.0.0.1:8090", "milepost")
    assert settings.database == "sqlite:///.milepost/milepost.db"
    assert (settings.partitions, settings.prefix, settings.allowed_sources) == (12, "milepost", {})
    assert settings.events_topic == "milepost.events"
    assert settings.programmes_topic == "milepost.programmes"
    assert settings.changes_topic == "milepost.changes"
    assert settings.dead_letters_topic == "milepost.dead-letters"


def test_flags_win_over_the_environment_and_the_environment_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_PREFIX", "environment")
    monkeypatch.setenv("MILEPOST_KAFKA", "environment:1")
    (folder / "milepost.toml").write_text('group = "file"\nprefix = "file"\nkafka = "file:2"\npartitions = 4\n')
    settings = read_settings(kafka="flag:3", partitions=None, group=None)
    assert (settings.prefix, settings.group, settings.kafka) == ("environment", "file", "flag:3")
    assert settings.partitions == 4


def test_the_prefix_names_the_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_PREFIX", "team.a")
    settings = read_settings()
    assert (settings.events_topic, settings.dead_letters_topic) == ("team.a.events", "team.a.dead-letters")


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "PARTITIONS", "DATABASE", "ALLOWED_SOURCES", "KAFKA_SASL_PASSWORD"):
        monkeypatch.setenv(f"MILEPOST_{name}", "")
    assert read_settings() == Settings()
    assert read_settings().partitions == 12


def test_variables_of_others_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA", "elsewhere:1")
    for name, value in {
        "MILEPOST_SERVICE_HOST": "10.0.0.1",
        "MILEPOST_WEB_SERVICE_PORT": "80",
        "MILEPOST_SERVICE_PORT_HTTP": "80",
        "MILEPOST_PORT": "tcp://10.0.0.1:80",
        "MILEPOST_DNS_PORT": "udp://10.0.0.1:53",
        "MILEPOST_PORT_80_TCP_ADDR": "10.0.0.1",
        "MILEPOST_TEST_ANYTHING": "1",
        "MILEPOSTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert read_settings().kafka == "127.0.0.1:9092"


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("MILEPOST_KAFKAA", "a:1", "MILEPOST_KAFKA"),
        ("MILEPOST_DATABSE", "", "MILEPOST_DATABASE"),
        ("milepost_partition", "3", "MILEPOST_PARTITIONS"),
        ("MILEPOST_WEB_PORT", "8090", "MILEPOST_WEB_HOSTS"),
        ("MILEPOST_KAFKA_SASL_PASSWORD_FIL", "x", "MILEPOST_KAFKA_SASL_PASSWORD_FILE"),
        ("MILEPOST_PREFIX_FILE", "x", "MILEPOST_PREFIX"),
    ],
)
def test_a_name_that_is_no_setting_is_refused_with_the_nearest(
    name: str, value: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name} is no setting; the nearest one is {nearest}$"):
        read_settings()


def test_a_secret_may_stand_in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "password").write_text("s3cr3t \n")
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD_FILE", str(folder / "password"))
    assert read_secret(read_settings(), "kafka_sasl_password") == "s3cr3t "

    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD", "other")
    with pytest.raises(SettingsError, match="are both set"):
        read_settings()
    monkeypatch.delenv("MILEPOST_KAFKA_SASL_PASSWORD")
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD_FILE", str(folder / "nowhere"))
    with pytest.raises(SettingsError, match="nowhere cannot be read: No such file"):
        read_settings()


def test_the_file_of_a_secret_is_a_setting_in_every_source_and_takes_the_secrets_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "password").write_text("s3cr3t")
    (folder / "milepost.toml").write_text('kafka_sasl_password = "other"\nkafka_ssl_key_password_file = "password"\n')
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD_FILE", "password")
    monkeypatch.setenv("MILEPOST_KAFKA_SSL_KEY_PASSWORD", "third")
    settings = read_settings()
    assert (settings.kafka_sasl_password, settings.kafka_ssl_key_password_file) == (None, None)
    assert read_secret(settings, "kafka_sasl_password") == "s3cr3t"
    assert read_secret(settings, "kafka_ssl_key_password") == "third"
    (folder / "password").write_text("n3w\n")
    assert read_secret(settings, "kafka_sasl_password") == "n3w"


OLD_NAMES = [
    ("KAFKA_SECURITY", "KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "SSL"),
    ("KAFKA_USERNAME", "KAFKA_SASL_USERNAME", "ann", "bob"),
    ("KAFKA_PASSWORD", "KAFKA_SASL_PASSWORD", "a", "b"),
    ("KAFKA_PASSWORD_FILE", "KAFKA_SASL_PASSWORD_FILE", "/dev/null", "/dev/zero"),
    ("KAFKA_CA", "KAFKA_SSL_CAFILE", "a.pem", "b.pem"),
    ("KAFKA_CERTIFICATE", "KAFKA_SSL_CERTFILE", "a.pem", "b.pem"),
    ("KAFKA_KEY", "KAFKA_SSL_KEYFILE", "a.key", "b.key"),
]


@pytest.mark.parametrize("case", OLD_NAMES)
def test_an_earlier_name_of_a_setting_counts_and_must_not_contradict_the_present_one(
    case: tuple[str, str, str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, name, value, other = case
    monkeypatch.setenv(f"MILEPOST_{old}", value)
    first = read_settings()
    monkeypatch.setenv(f"MILEPOST_{name}", value)
    assert read_settings() == first
    monkeypatch.delenv(f"MILEPOST_{old}")
    assert read_settings() == first
    monkeypatch.setenv(f"MILEPOST_{old}", other)
    assert complaint() == f"MILEPOST_{old} and MILEPOST_{name} are one setting and differ: say the latter"
    monkeypatch.delenv(f"MILEPOST_{old}")
    # Of two sources, the later wins as ever.
    (folder / "milepost.toml").write_text(f'{old.lower()} = "{other}"\n')
    assert read_settings() == first
    (folder / "milepost.toml").write_text(f'{old.lower()} = "{other}"\n{name.lower()} = "{value}"\n')
    assert "are one setting and differ" in complaint()


@pytest.mark.parametrize(("written", "is_strict"), [("true", True), ("False", False), (" TRUE ", True)])
def test_a_setting_that_is_on_or_off_is_true_or_false(written: str, is_strict: bool) -> None:  # noqa: FBT001
    assert read_settings(kafka_ssl_strict=written).kafka_ssl_strict is is_strict


@pytest.mark.parametrize("value", ["yes", "1", "", 1, "on", ["true"]])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    assert complaint(kafka_ssl_strict=value).startswith("setting kafka_ssl_strict: say true or false, not ")


def test_a_dot_env_file_is_not_read(folder: Path) -> None:
    (folder / ".env").write_text("MILEPOST_GROUP=other\n")
    assert read_settings().group == "milepost"


def test_allowed_sources_come_as_json_or_as_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_ALLOWED_SOURCES", '{"north": ["office", "plans"]}')
    assert read_settings().allowed_sources == {"north": ["office", "plans"]}
    monkeypatch.delenv("MILEPOST_ALLOWED_SOURCES")
    (folder / "milepost.toml").write_text('[allowed_sources]\nnorth = ["office"]\nsouth = []\n')
    assert read_settings().allowed_sources == {"north": ["office"], "south": []}


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.group = "other"
    assert settings.group == "milepost"


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD", "open-sesame")
    settings = read_settings()
    assert settings.kafka_sasl_password is not None
    assert settings.kafka_sasl_password.get_secret_value() == "open-sesame"
    assert "open-sesame" not in repr(settings)
    assert "open-sesame" not in str(settings.model_dump())


@pytest.mark.parametrize(
    ("web", "address"),
    [
        ("127.0.0.1:8090", ("127.0.0.1", 8090)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8090", ("::1", 8090)),
        ("127.1.2.3:65535", ("127.1.2.3", 65535)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::]:80", ("::", 80)),
        ("milepost.example:80", ("milepost.example", 80)),
    ],
)
def test_web_is_a_host_and_a_port(web: str, address: tuple[str, int]) -> None:
    assert read_settings(web=web).web_address == address


def test_without_a_listener_of_their_own_metrics_have_no_address() -> None:
    assert read_settings().metrics_address is None
    assert read_settings(metrics="[::1]:9090").metrics_address == ("::1", 9090)


def test_workers_are_addresses_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().workers == ()
    monkeypatch.setenv("MILEPOST_WORKERS", "one:9090, [::1]:9091,one:9090,")
    assert read_settings().workers == ("one:9090", "[::1]:9091")


def test_the_format_of_the_log_is_known_where_other_settings_are_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_log_format() == "text"
    (folder / "milepost.toml").write_text('log = "json"\nkafka = 5\n')
    assert read_log_format() == "json"
    monkeypatch.setenv("MILEPOST_LOG", "text")
    assert read_log_format() == "text"
    (folder / "milepost.toml").write_text("no TOML")
    monkeypatch.setenv("MILEPOST_LOG", "")
    assert read_log_format() == "text"


def test_the_board_answers_to_the_names_of_its_listener_its_url_and_its_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_WEB_HOSTS", "one.example, Two.example,")
    settings = read_settings(web="Board:80", board_url="https://Milepost.example:8443/board/")
    assert settings.board_hosts == {"localhost", "board", "milepost.example", "one.example", "two.example"}
    assert settings.board_url == "https://Milepost.example:8443/board"


@pytest.mark.parametrize(
    ("written", "servers"),
    [
        (" a:1, ,b:2,a:1,", "a:1,b:2"),
        ("PLAINTEXT://a:1,kafka://[::1]:9092/", "a:1,[::1]:9092"),
        ("plaintext://A.example:1", "A.example:1"),
    ],
)
def test_both_clients_are_given_the_same_servers(written: str, servers: str) -> None:
    assert read_settings(kafka=written).kafka == servers


def test_a_scheme_agrees_with_the_security() -> None:
    assert read_settings(kafka="SASL_SSL://a:1", kafka_security_protocol="SASL_SSL").kafka == "a:1"
    with pytest.raises(SettingsError, match="PLAINTEXT:// contradicts kafka_security_protocol, which is SSL"):
        read_settings(kafka="PLAINTEXT://a:1", kafka_security_protocol="SSL")


@pytest.mark.parametrize("kafka", ["a:1", "a:1,b:2", "[::1]:9092", "broker.example:65535"])
def test_kafka_is_one_server_or_several(kafka: str) -> None:
    assert read_settings(kafka=kafka).kafka == kafka


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("web", ("", "8090", ":8090", "host", "host:", "host:http", "host:65536", "host:-1", "host:1.0")),
        ("metrics", ("8090", "host:", "host:65536")),
        ("workers", ("host", "host:", "host:0", "host:65536", "http://a:1", "a:1/", "a:1/metrics", "a:1;b:1", "::1:1")),
        ("workers", (",".join(f"a:{port}" for port in range(1, 66)),)),
        ("log", ("", "JSON", "logfmt")),
        ("web_hosts", ("a/b", "http://a", "a:80", "a b", ".", "a,é")),
        ("board_url", ("a", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a/?b", "http://a/#b")),
        ("kafka", ("", "host", ":9092", "host:", "host:0", "host:65536", ",", "a:1;b:2", "a b:1", "u@a:1", "a:1/x")),
        ("kafka", ("SSL://a:1", "a:1,sasl_ssl://b:1", "http://a:1", "a:٩٠", "[::1:9092")),
        ("partitions", ("0", "-1", "10001", "twelve", "1.5")),
        ("prefix", ("", "a b", "a/b", "é", "a\n", "x" * 201)),
        ("group", ("", "x" * 250)),
        ("batch", ("0", "100001", "many")),
        ("max_series", ("-1",)),
        ("sweep_seconds", ("0", "-1", "nan", "soon")),
        ("stuck_seconds", ("0", "-1", "11.9", "nan", "soon")),
        ("kafka_security_protocol", ("ssl", "TLS")),
        ("kafka_sasl_mechanism", ("GSSAPI",)),
        ("kafka_oauth_token_endpoint", ("a", "ftp://a", "https://u:p@a/t", "https://a/t#x")),
        ("allowed_sources", ("office",)),
    ],
)
def test_a_value_that_cannot_be_used_is_reported_in_one_line_that_names_the_setting(
    name: str, values: tuple[str, ...]
) -> None:
    for value in values:
        line = complaint(**{name: value})
        assert line.startswith(f"setting {name}: ")
        assert f"MILEPOST_{name.upper()}" in line
        assert "milepost.toml" in line


@pytest.mark.parametrize(("name", "value"), [("PARTITIONS", "many"), ("WEB", "nowhere"), ("KAFKA", "nowhere")])
def test_a_wrong_variable_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MILEPOST_{name}", value)
    assert f"MILEPOST_{name}" in complaint()


@pytest.mark.parametrize("value", ["office", "{", '["office"]', '{"north": "office"}', '{"north": [1]}', "1"])
def test_wrong_allowed_sources_in_the_environment_are_reported_by_their_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MILEPOST_ALLOWED_SOURCES", value)
    line = complaint()
    assert "allowed_sources" in line.lower()
    # The file is not there: it cannot be to blame.
    assert not line.startswith("milepost.toml")


@pytest.mark.parametrize("content", [b"group =", b"group = 'a'\ngroup = 'b'\n", b"\xff", b"[", b"kafka: a:1\n"])
def test_a_file_that_is_no_toml_is_reported_in_one_line(folder: Path, content: bytes) -> None:
    (folder / "milepost.toml").write_bytes(content)
    assert complaint().startswith("milepost.toml: ")


@pytest.mark.parametrize("content", ["grupp = 'a'\n", "[kafka]\nhost = 'a'\n", "partitions = 'many'\n", "group = 5\n"])
def test_a_setting_of_the_file_that_does_not_exist_or_does_not_fit_is_reported_in_one_line(
    folder: Path, content: str
) -> None:
    (folder / "milepost.toml").write_text(content)
    assert complaint().startswith(f"setting {content.strip('[').split()[0].strip(']')}")


def test_a_flag_that_does_not_exist_is_reported(folder: Path) -> None:
    assert not list(folder.iterdir())
    assert complaint(grupp="a").startswith("setting grupp: ")
