"""Tokens of OAuth 2.0: of the client credentials grant (RFC 6749, section 4.4), renewed in time, or of a file.

The expiry of a token that is a JWT (RFC 7519) is read without a check of its signature: a client can only say early,
and in words, what a broker would refuse.
"""

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from functools import lru_cache
from http.client import HTTPException
from time import monotonic
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from models.errors import MilepostError
from models.secrets import read_secret
from models.settings import Settings, setting_error
from models.text import one_line
from models.tls import trusting_context

#: How long the endpoint may take.
_TIMEOUT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1024 * 1024
#: A token is renewed after this share of its lifetime; the old one goes on to count while that fails.
_RENEWAL_SHARE: Final = 0.8
#: The lifetime of a token about which the endpoint says nothing.
_DEFAULT_LIFETIME_SECONDS: Final = 60.0


class TokenError(MilepostError):
    """There is no token that a broker would take."""


def read_token(settings: Settings) -> str:
    """Return the token to log in with now. Raises `TokenError`, and `SettingsError` for what cannot be read."""
    if settings.kafka_oauth_token_file is not None:
        return _read_token_file(settings)
    for name in ("kafka_oauth_token_endpoint", "kafka_oauth_client_id"):
        if getattr(settings, name) is None:
            raise setting_error(name, "is needed for OAUTHBEARER, or kafka_oauth_token_file")
    if read_secret(settings, "kafka_oauth_client_secret") is None:
        raise setting_error("kafka_oauth_client_secret", "is needed for OAUTHBEARER")
    return _cached_token(
        str(settings.kafka_oauth_token_endpoint), str(settings.kafka_oauth_client_id), settings.kafka_oauth_scope
    ).read(settings)


def _read_token_file(settings: Settings) -> str:
    path = settings.kafka_oauth_token_file
    token = (read_secret(settings, "kafka_oauth_token") or "").strip()
    if not token:
        raise setting_error("kafka_oauth_token_file", f"{path} is empty")
    seconds = _seconds_left(token)
    if seconds is not None and seconds <= 0:
        raise TokenError(f"the token in {path} expired {_duration(-seconds)} ago: what keeps it fresh has stopped")
    return token


class _CachedToken:
    """The token of one client, shared by all connections of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token, self._renew_at, self._expires_at = "", 0.0, 0.0

    def read(self, settings: Settings) -> str:
        with self._lock:
            if monotonic() >= self._renew_at:
                try:
                    self._renew(settings)
                except TokenError:
                    if monotonic() >= self._expires_at:
                        raise
            return self._token

    def _renew(self, settings: Settings) -> None:
        asked_at = monotonic()
        token, lifetime = _request_token(settings)
        self._token = token
        self._renew_at, self._expires_at = asked_at + lifetime * _RENEWAL_SHARE, asked_at + lifetime


@lru_cache(maxsize=8)
def _cached_token(_endpoint: str, _client_id: str, _scope: str | None) -> _CachedToken:
    return _CachedToken()


def _request_token(settings: Settings) -> tuple[str, float]:
    """Return a new token and how many seconds it is good for."""
    endpoint = str(settings.kafka_oauth_token_endpoint)
    form = {"grant_type": "client_credentials"}
    if settings.kafka_oauth_scope is not None:
        form["scope"] = settings.kafka_oauth_scope
    client_id, secret = settings.kafka_oauth_client_id or "", read_secret(settings, "kafka_oauth_client_secret") or ""
    # RFC 6749, section 2.3.1: both are encoded like a form before they become a user name and a password.
    credentials = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - the settings take http and https alone
        endpoint,
        urlencode(form).encode(),
        {"Authorization": f"Basic {credentials}", "Accept": "application/json"},
        method="POST",
    )
    try:
        with _open(settings, request) as response:
            answer = _parse_answer(response.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            detail = _parse_answer(error.read(_MAX_ANSWER_BYTES))
        raise TokenError(_refusal(endpoint, client_id, error.code, detail)) from None
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise TokenError(f"the token endpoint {_shown(endpoint)} does not answer: {one_line(reason)}") from None
    token = answer.get("access_token")
    if not isinstance(token, str) or not token.isprintable() or not token:
        raise TokenError(f"the token endpoint {_shown(endpoint)} answers without an access_token")
    lifetime = answer.get("expires_in")
    if not isinstance(lifetime, int | float) or isinstance(lifetime, bool):
        lifetime = _seconds_left(token)
    return token, _DEFAULT_LIFETIME_SECONDS if lifetime is None else float(lifetime)


def _open(settings: Settings, request: urllib.request.Request) -> Any:  # noqa: ANN401 - urllib has no type for it
    context = trusting_context()
    if (file := settings.kafka_oauth_cafile) is not None:
        try:
            context.load_verify_locations(file)
        except ssl.SSLError:
            raise setting_error("kafka_oauth_cafile", f"{file} holds no certificate in PEM form") from None
        except OSError as error:
            raise setting_error("kafka_oauth_cafile", f"{file} cannot be read: {error.strerror}") from None
    handlers = [urllib.request.HTTPSHandler(context=context), _NoRedirect()]
    return urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_SECONDS)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the client's secret is for the endpoint alone."""

    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:  # noqa: ANN401 - urllib's signature
        """Return nothing: the redirect is an error with its status."""


def _parse_answer(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _refusal(endpoint: str, client_id: str, status: int, answer: dict[str, Any]) -> str:
    reason = f"{answer.get('error', '')} {answer.get('error_description', '')}".strip()
    line = f"the token endpoint {_shown(endpoint)} refuses a token for client {one_line(client_id)}: HTTP {status}"
    line = f"{line} {one_line(reason)}" if reason else line
    if status in {400, 401, 403}:
        line += "; check kafka_oauth_client_id, kafka_oauth_client_secret and kafka_oauth_scope"
    return line


def _shown(endpoint: str) -> str:
    """Return the endpoint without its query, which may hold a secret."""
    return one_line(urlsplit(endpoint)._replace(query="").geturl())


def _seconds_left(token: str) -> float | None:
    """Return for how long a token is still good, less than 0 for an expired one; None where it does not say."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(f"{parts[1]}==="))
        return float(claims["exp"]) - time.time()  # noqa: TID251 - the edge: a token's clock is the world's
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes
