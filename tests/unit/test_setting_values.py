"""Values of settings: every part reads them alike, and what is refused says what to write instead."""

import os
from pathlib import Path
from typing import Any

import pytest

from models.secrets import read_secret
from models.settings import Settings, SettingsError, read_settings
from models.tls import create_ssl_context


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, which is the home folder too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def complaint(**flags: Any) -> str:  # noqa: ANN401 - any value may be wrong
    """Return the one line about a wrong value, which none of the libraries wrote."""
    with pytest.raises(SettingsError) as error:
        read_settings(**flags)
    line = str(error.value)
    assert line.isprintable()
    assert "Value error" not in line
    assert "Input should" not in line
    return line


# Addresses


@pytest.mark.parametrize("name", ["web", "metrics", "gateway"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("http://h:80", "say host:port without http://"),
        ("HTTPS://h:80/", "say host:port without HTTPS://"),
        ("h h:80", "'h h' is no host name"),
        ("h:8 0", "does not end with a port from 0 to 65535"),
        ("::1:8090", "write an IPv6 address in brackets: [::1]:8090"),
        ("2001:db8::7:80", "write an IPv6 address in brackets: [2001:db8::7]:80"),
        ("a:b:80", "too many colons: say host:port"),
        ("[::g]:80", "'[::g]' is no IPv6 address"),
        ("[::1:80", "is no host name"),
        (":8090", "0.0.0.0:8090 is every IPv4 address"),
        ("*:8090", "0.0.0.0:8090 is every IPv4 address"),
        ("h:80/path", "does not end with a port"),
        ("h:\uff18\uff10", "does not end with a port"),
        ("h:+80", "does not end with a port"),
        ("h:8_0", "does not end with a port"),
        ("a..b:80", "'a..b' is no host name"),
        (f"{'a' * 64}:80", "is no host name"),
        (f"{'a.' * 130}b:80", "is no host name"),
        ("bücher.example:80", "is no host name"),
        ("h\n:80", r"it holds the control character \n"),
        ("h:80\x1b[31m", r"it holds the control character \x1b"),
    ],
)
def test_the_address_of_a_listener_that_is_refused_says_how_to_write_it(name: str, written: str, said: str) -> None:
    line = complaint(**{name: written})
    assert line.startswith(f"setting {name}: ")
    assert said in line


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("http://a:1", "say host:port without http://"),
        ("a:1,HTTP://b:1", "say host:port without HTTP://"),
        ("zookeeper://a:1", "say host:port without zookeeper://"),
        ("SSL://a:1", "SSL:// contradicts kafka_security_protocol, which is PLAINTEXT"),
        ("::1:9092", "write an IPv6 address in brackets: [::1]:9092"),
        ("a:1,h h:80", "'h h' is no host name"),
        ("a..b:9092", "'a..b' is no host name"),
        ("a:0", "does not end with a port from 1 to 65535"),
        ("a:1;b:2", "too many colons"),
        ("[fe80::1%eth0]:9092", "has a zone"),
        ("a:1,\nb:2", r"it holds the control character \n"),
        (" ", "say host:port, or several separated by commas"),
    ],
)
def test_a_kafka_server_that_is_refused_says_how_to_write_it(written: str, said: str) -> None:
    line = complaint(kafka=written)
    assert line.startswith("setting kafka: ")
    assert said in line


@pytest.mark.parametrize(
    "url", ["http://h h", "http://a..b", "http://::1:80", "http://a:", "http://a\\b", "http://[::1"]
)
def test_a_url_of_the_board_without_a_proper_host_is_refused(url: str) -> None:
    assert "say http://host or https://host" in complaint(board_url=url)


@pytest.mark.parametrize(
    "url", ["http://[::1]", "https://milepost.example/board", "http://a:8090", "http://127.0.0.1:80"]
)
def test_a_url_of_the_board_stays_as_it_is(url: str) -> None:
    assert read_settings(board_url=url).board_url == url


# Numbers


NO_WHOLE_NUMBERS = [
    "1_000",
    "+5",
    "-5",
    "\uff11\uff12",
    "1.0",
    "1e3",
    "0x10",
    "",
    "ten",
    "1" * 19,
    "1\n",
    True,
    12.0,
    [1],
    "1\x00",
]


@pytest.mark.parametrize("name", ["partitions", "batch", "max_series", "keep_days"])
@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
def test_a_whole_number_has_digits_alone(name: str, value: object) -> None:
    line = complaint(**{name: value})
    assert line.startswith(f"setting {name}: ")
    assert "say a whole number in the digits 0-9" in line or "control character" in line


@pytest.mark.parametrize("name", ["sweep_seconds", "log_end_seconds", "stop_seconds", "stuck_seconds"])
@pytest.mark.parametrize(
    "value", ["1_0.5", "+20", "-20", "\uff12\uff10", "2e1", ".5", "20.", "inf", "nan", "20s", "", True, "٢٠"]
)
def test_seconds_are_digits_with_a_point_between_them(name: str, value: object) -> None:
    line = complaint(**{name: value})
    assert line.startswith(f"setting {name}: ")
    assert "say a number of seconds like 30 or 0.5" in line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("partitions", "0", "it must be at least 1"),
        ("partitions", "10001", "it must be at most 10000"),
        ("sweep_seconds", "0", "it must be more than 0"),
        ("sweep_seconds", "999999999", "it must be at most 31536000"),
        ("stuck_seconds", "11.9", "it must be at least 12"),
        ("stuck_seconds", float("inf"), "it must be at most"),
        ("group", "x" * 250, "it must have at most 249 characters"),
        ("group", " ", "it must not be empty"),
        ("kafka_security_protocol", "TLS", "say PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("prefix", "a b", "say 1 to 200 letters a-z and A-Z, digits, dots, underscores and hyphens"),
        ("group", 5, "say a text in quotes"),
        ("kafka_ssl_cafile", 5, "say a path in quotes"),
        ("web_hosts", 5, "say a list of texts"),
        ("allowed_sources", ["a"], "say a table of programmes"),
        ("allowed_sources", {"north": "a"}, "at north: say a list of texts"),
        ("allowed_sources", {"north": [1]}, "at north.0: say a text in quotes"),
    ],
)
def test_a_value_out_of_bounds_or_of_another_kind_says_what_it_must_be(name: str, value: object, said: str) -> None:
    line = complaint(**{name: value})
    assert line.startswith(f"setting {name}: {said}")
    assert line.endswith(f"(MILEPOST_{name.upper()}, or {name} in milepost.toml)")


# Blanks and characters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka", "a:1"),
        ("database", "sqlite:///x.db"),
        ("web", "h:80"),
        ("metrics", "h:80"),
        ("web_hosts", "one.example"),
        ("board_url", "http://h"),
        ("group", "g"),
        ("partitions", "10"),
        ("prefix", "p"),
        ("kafka_security_protocol", "SSL"),
        ("kafka_sasl_mechanism", "PLAIN"),
        ("kafka_sasl_username", "ann"),
        ("kafka_ssl_cafile", "ca.pem"),
        ("allowed_sources", '{"north": []}'),
        ("sweep_seconds", "1.5"),
        ("failpoint", "before-commit=kill"),
    ],
)
def test_blanks_around_a_value_do_not_count_wherever_it_stands(
    name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = getattr(read_settings(**{name: value}), name)
    assert getattr(read_settings(**{name: f" {value}\t"}), name) == expected
    monkeypatch.setenv(f"MILEPOST_{name.upper()}", f"  {value} ")
    assert getattr(read_settings(), name) == expected
    monkeypatch.delenv(f"MILEPOST_{name.upper()}")
    (folder / "milepost.toml").write_text(f"{name} = ' {value} '\n")
    assert getattr(read_settings(), name) == expected


def test_a_password_keeps_its_blanks() -> None:
    password = read_settings(kafka_sasl_password=" a ").kafka_sasl_password  # noqa: S106 - of no Kafka
    assert password is not None
    assert password.get_secret_value() == " a "


@pytest.mark.parametrize("name", ["kafka", "database", "group", "prefix", "kafka_sasl_username", "kafka_sasl_password"])
def test_a_value_that_is_not_utf_8_is_refused_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MILEPOST_{name.upper()}", "s3cr3t\udcff")
    line = complaint()
    assert f"setting {name}: it is not UTF-8" in line
    assert "s3cr3t" not in line


# Files and folders


def test_a_tilde_is_the_home_folder_in_every_setting_that_names_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(
        database="sqlite:///~/x.db?timeout=5", kafka_ssl_cafile="~/ca.pem", kafka_ssl_keyfile=" ~/key.pem"
    )
    assert settings.database == f"sqlite:///{folder}/x.db?timeout=5"
    assert (settings.kafka_ssl_cafile, settings.kafka_ssl_keyfile) == (folder / "ca.pem", folder / "key.pem")

    (folder / "password").write_text("s3cr3t\n")
    monkeypatch.setenv("MILEPOST_KAFKA_SASL_PASSWORD_FILE", "~/password")
    assert read_secret(read_settings(), "kafka_sasl_password") == "s3cr3t"


@pytest.mark.parametrize(
    "database", ["sqlite:///x~/y.db", "sqlite:////tmp/~/x.db", "postgresql://~h/~x", "sqlite:///x.db"]
)
def test_a_tilde_elsewhere_is_a_character_of_a_name(database: str) -> None:
    assert read_settings(database=database).database == database


def test_a_home_folder_that_does_not_exist_is_said() -> None:
    assert "there is no such home folder" in complaint(kafka_ssl_cafile="~nobody-of-this-name/ca.pem")
    assert "there is no such home folder" in complaint(database="sqlite:///~nobody-of-this-name/x.db")
    assert "say a path" in complaint(kafka_ssl_cafile="")


def test_a_certificate_that_cannot_be_opened_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ca.pem").touch()

    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SettingsError, match=r"setting kafka_ssl_cafile: \S*ca.pem cannot be read: Permission denied"):
        create_ssl_context(Settings(kafka_security_protocol="SSL", kafka_ssl_cafile=folder / "ca.pem"))


def test_a_secret_file_may_begin_with_a_byte_order_mark_and_have_any_case_of_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "url").write_bytes(b"\xef\xbb\xbfsqlite:///x.db\r\n")
    monkeypatch.setenv("milepost_database_file", str(folder / "url"))
    assert read_settings().database == "sqlite:///x.db"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Is a directory"), (b"\xff\xfea\0", "it is not UTF-8"), (b"caf\xe9", "it is not UTF-8")],
)
def test_a_secret_file_that_cannot_be_read_is_one_line(
    content: bytes | None, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (folder / "secret").write_bytes(content)
    monkeypatch.setenv("MILEPOST_DATABASE_FILE", "secret" if content else str(folder))
    line = complaint()
    assert line.startswith("setting database_file: ")
    assert f" cannot be read: {said} (MILEPOST_DATABASE_FILE, or database_file in " in line


# Allowed sources


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("office", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"north": ["a"], "north": ["b"]}', "a name stands twice in one object"),
        ('{"North": ["a"]}', "'North' is no name of a programme"),
        ('{"": []}', "'' is no name of a programme"),
        ('["office"]', "say a table of programmes"),
        ("1", "say a table of programmes"),
    ],
)
def test_allowed_sources_that_would_not_do_what_they_say_are_refused(
    written: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_ALLOWED_SOURCES", written)
    assert said in complaint()


def test_allowed_sources_of_the_environment_are_not_joined_with_those_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "milepost.toml").write_text('[allowed_sources]\nnorth = ["office"]\n')
    monkeypatch.setenv("MILEPOST_ALLOWED_SOURCES", '{"south": ["plans"]}')
    assert read_settings().allowed_sources == {"south": ["plans"]}


# milepost.toml


def test_a_file_with_a_byte_order_mark_is_read(folder: Path) -> None:
    (folder / "milepost.toml").write_bytes(b"\xef\xbb\xbfgroup = 'a'\r\n")
    assert read_settings().group == "a"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"group = 'a'\nprefix\n", "line 2: this is not TOML: expected '=' after a key"),
        (b"group = 'a'\ngroup = 'b'\n", "line 2: this is not TOML: cannot overwrite a value"),
        (b"group = [1,\n2,\n", "line 2: this is not TOML: "),
        (b"kafka: a:1\n", "line 1: this is not TOML: "),
        (b"group = 'a\x1b'\n", r"line 1: this is not TOML: "),
        (b"group = " + b"1" * 5000, "this is not TOML: "),
        (b"group = " + b"[" * 5000, "it nests too deep"),
        (b"# a\ngroup = 'caf\xe9'\n", "line 2: it is not UTF-8: save the file as UTF-8"),
        ("group = 'a'\n".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        ("group = 'a'\n".encode("utf-16-be"), "line 1: a zero byte, as in UTF-16: save the file as UTF-8"),
        (b"#" * 1024 * 1024 + b"#", "it has more than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(folder: Path, content: bytes, said: str) -> None:
    (folder / "milepost.toml").write_bytes(content)
    line = complaint()
    assert line.startswith("milepost.toml: ")
    assert said in line


def test_a_folder_a_pipe_and_a_link_to_nothing_are_no_file_of_settings(folder: Path) -> None:
    path = folder / "milepost.toml"
    path.mkdir()
    assert complaint().startswith("milepost.toml: it is a folder: move it away")
    path.rmdir()
    os.mkfifo(path)
    assert complaint().startswith("milepost.toml: it is no file: move it away")
    path.unlink()
    path.symlink_to("nowhere.toml")
    assert complaint() == "milepost.toml: it cannot be read: No such file or directory"
    path.unlink()
    path.symlink_to(path)
    assert complaint().startswith("milepost.toml: it cannot be read: ")


@pytest.mark.parametrize(
    ("content", "name", "nearest"),
    [
        ("grupp = 'a'", "grupp", "group"),
        ("MILEPOST_KAFKA = 'a:1'", "MILEPOST_KAFKA", "kafka"),
        ("kafka-security = 'SSL'", "kafka-security", "kafka_security_protocol"),
        ("[databse]\nurl = 'x'", "databse", "database"),
        ('"\\u001b[31m" = 1', r"\x1b[31m", ""),
    ],
)
def test_a_name_in_the_file_that_is_no_setting_is_refused_with_the_nearest(
    folder: Path, content: str, name: str, nearest: str
) -> None:
    (folder / "milepost.toml").write_text(f"{content}\n")
    line = complaint()
    assert line.startswith(f"setting {name}: there is none of this name; the nearest one is {nearest}")
    assert line.endswith("(milepost.toml)")
