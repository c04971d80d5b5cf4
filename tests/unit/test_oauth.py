"""Tokens: asked for once and renewed in time, or of a file; what is wrong with them is one line without a secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from models import oauth
from models.errors import MilepostError
from models.oauth import read_token
from models.settings import Settings, SettingsError
from tests.helpers.token_server import Issuer, TokenServer, running_token_server

SECRET = "s:cr3t+ %"  # noqa: S105 - of the test


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def server(issuer: Issuer) -> Iterator[TokenServer]:
    oauth._cached_token.cache_clear()
    with running_token_server(issuer, {"mile post": SECRET}) as server:
        yield server


def client(server: TokenServer, **overrides: Any) -> Settings:  # noqa: ANN401 - any setting
    chosen: dict[str, Any] = {
        "kafka_oauth_token_endpoint": server.endpoint,
        "kafka_oauth_client_id": "mile post",
        "kafka_oauth_client_secret": SecretStr(SECRET),
    }
    return Settings(kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="OAUTHBEARER", **chosen | overrides)


def complaint(settings: Settings) -> str:
    with pytest.raises(MilepostError) as error:
        read_token(settings)
    line = str(error.value)
    assert "\n" not in line
    assert SECRET not in line
    return line


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(oauth, "monotonic", clock)
    return clock


def test_a_token_is_shared_until_it_is_renewed_before_it_expires(server: TokenServer, clock: Clock) -> None:
    settings = client(server, kafka_oauth_scope="kafka write")
    first = read_token(settings)
    clock.now += 239
    assert read_token(client(server, kafka_oauth_scope="kafka write")) == first
    assert server.requests == [{"grant_type": ["client_credentials"], "scope": ["kafka write"]}]
    clock.now += 2
    server.lifetime_seconds = 30
    assert read_token(settings) != first
    assert len(server.requests) == 2
    clock.now += 25
    read_token(settings)
    assert len(server.requests) == 3


def test_a_token_that_cannot_be_renewed_counts_until_it_expires(server: TokenServer, clock: Clock) -> None:
    settings = client(server)
    first = read_token(settings)
    clock.now += 299
    server.failure = 503
    assert read_token(settings) == first
    clock.now += 2
    assert complaint(settings).endswith("refuses a token for client mile post: HTTP 503")
    server.failure = None
    assert read_token(settings)


def test_a_secret_in_a_file_is_read_when_a_token_is_asked_for(
    server: TokenServer, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("old\n")
    settings = client(server, kafka_oauth_client_secret=None, kafka_oauth_client_secret_file=tmp_path / "secret")
    assert complaint(settings) == (
        f"the token endpoint {server.endpoint} refuses a token for client mile post: HTTP 401 invalid_client no such"
        " client, or another secret; check kafka_oauth_client_id, kafka_oauth_client_secret and kafka_oauth_scope"
    )
    (tmp_path / "secret").write_text(SECRET)
    clock.now += 1
    assert read_token(settings)


def test_an_endpoint_that_is_none_is_one_line_without_its_query(server: TokenServer) -> None:
    address = "http://127.0.0.1:1/token"
    assert complaint(client(server, kafka_oauth_token_endpoint=f"{address}?key=hidden")) == (
        f"the token endpoint {address} does not answer: [Errno 111] Connection refused"
    )
    server.failure = 302
    assert "HTTP 302" in complaint(client(server))
    server.failure = 200
    assert complaint(client(server)).endswith("answers without an access_token")
    with pytest.raises(SettingsError, match=r"kafka_oauth_cafile: .*nowhere\.pem cannot be read"):
        read_token(client(server, kafka_oauth_cafile=Path("nowhere.pem")))


def test_settings_that_are_missing_for_a_token_are_named(server: TokenServer) -> None:
    for name in ("token_endpoint", "client_id", "client_secret"):
        line = complaint(client(server, **{f"kafka_oauth_{name}": None}))
        assert line.startswith(f"setting kafka_oauth_{name}: is needed for OAUTHBEARER")


def test_a_token_of_a_file_is_read_each_time_and_an_expired_one_is_named(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for token in (issuer.issue("me"), issuer.issue("me", 200), "opaque"):
        file.write_text(f" {token}\n")
        settings = Settings(kafka_sasl_mechanism="OAUTHBEARER", kafka_oauth_token_file=file)
        assert read_token(settings) == token
    file.write_text(issuer.issue("me", -3600))
    assert complaint(settings) == f"the token in {file} expired 60 min ago: what keeps it fresh has stopped"
    file.write_text("\n")
    assert f"{file} is empty" in complaint(settings)
    file.unlink()
    assert f"{file} cannot be read: No such file or directory" in complaint(settings)
