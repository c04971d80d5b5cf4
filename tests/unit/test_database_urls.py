"""URLs of databases: a fault is one line, and no line has a password."""

import pytest

from models.database.engine import DatabaseError, make_engine, redacted_url

SECRET = "s3cr3t"  # noqa: S105 - of no database


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://app:{SECRET}@h/mp", "postgresql+psycopg://app:***@h/mp"),
        (f"postgresql://app@h/mp?password={SECRET}", "postgresql+psycopg://app@h/mp?password=***"),
        (f"postgresql://h/mp?sslPassword={SECRET}&sslmode=require", "?sslPassword=***&sslmode=require"),
        (f"postgresql://h/mp?password={SECRET}&password={SECRET}", "?password=***"),
        (f"postgresql://app:x%2F{SECRET}%40y@h/mp", "postgresql+psycopg://app:***@h/mp"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    text = redacted_url(make_engine(url)).replace("%2A", "*")

    assert SECRET not in text
    assert text.endswith(shown)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://app:x@{SECRET}@h/mp",
        f"postgresql://app:x@{SECRET}:y@h:5432/mp",
        f"postgresql://app@h:{SECRET}/mp",
        f"postgresql://app:x@y/{SECRET}@h/mp",
        f"postgres//{SECRET}",
    ],
)
def test_a_url_that_cannot_be_read_is_one_line_without_what_may_be_a_password(url: str) -> None:
    try:
        text = redacted_url(make_engine(url))
    except DatabaseError as error:
        text = str(error)
        assert text.startswith("MILEPOST_DATABASE")
    assert "\n" not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("one:5432,two:5433", "one,two", "5432,5433"),
        ("one,two", "one,two", ","),
        ("one:1,two", "one,two", "1,"),
        ("[::1]:5432,two:5433", "::1,two", "5432,5433"),
    ],
)
def test_several_hosts_stand_in_a_url_as_libpq_has_them(hosts: str, host: str, port: str) -> None:
    engine = make_engine(f"postgresql://app:x%2Fy@{hosts}/mp?target_session_attrs=read-write")

    _, options = engine.dialect.create_connect_args(engine.url)

    assert {name: options[name] for name in ("host", "port", "user", "password", "dbname", "target_session_attrs")} == {
        "host": host,
        "port": port,
        "user": "app",
        "password": "x/y",
        "dbname": "mp",
        "target_session_attrs": "read-write",
    }
