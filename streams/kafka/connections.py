"""Connections of aiokafka, with what its own lack.

- The TLS context and the password come from functions, called for each connection: files that were replaced, such as a
  renewed certificate, count from the next login on.
- A broker may end a login after a time (KIP-368). aiokafka does not log in again, and the broker then hangs up in the
  middle of a request. Here a connection is closed before that, when no answer is awaited on it; the next request opens
  another.
- A token that a broker refuses is an error. aiokafka takes the broker's explanation for success.
- No connection waits for long for a broker to agree to its end.
- No connection outlives its client. aiokafka leaves one open when a client is interrupted while it asks for the first
  metadata, and one that is still being opened while the client is closed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any, Final

from aiokafka import client
from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest

from models.errors import MilepostError
from models.text import one_line

#: After which share of a login's lifetime its connection is replaced: not all at the same moment.
_RENEWAL_SHARES: Final = (0.6, 0.8)
#: How long the end of a connection may take. (TLS: until the other side has said so, or for half a minute.)
_ABORT_SECONDS: Final = 0.25
#: How long the end of a connection that failed may take.
_CLOSE_SECONDS: Final = 1.0


class _Start:
    """A start of a client, and what it has opened."""

    def __init__(self) -> None:
        self.is_over = False
        self.connections: list[AIOKafkaConnection] = []


#: That of the present task. Tasks that it creates inherit it, and go on after it.
_start: Final = ContextVar[_Start | None]("start", default=None)
_bootstrap, _get_connection, _close = AIOKafkaClient.bootstrap, AIOKafkaClient._get_conn, AIOKafkaClient.close  # noqa: SLF001 - it has no other way


def patch_connections() -> None:
    """Have every aiokafka client of this process connect in this way; may be called again."""
    client.create_conn = _connect
    AIOKafkaClient.bootstrap = _bootstrap_or_close
    AIOKafkaClient._get_conn = _get_connection_unless_closed  # noqa: SLF001 - as above
    AIOKafkaClient.close = _close_for_good


async def _bootstrap_or_close(self: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Start a client; leave no connection open when that is interrupted."""
    self.is_closed_for_good = False
    start = _Start()
    reset = _start.set(start)
    try:
        await _bootstrap(self)
    except BaseException:
        for connection in start.connections:
            connection.close()
        raise
    finally:
        _start.reset(reset)
        start.is_over = True
        start.connections.clear()


async def _get_connection_unless_closed(self: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as above
    """Return a connection to a broker; None when the client was closed while it was made."""
    connection = await _get_connection(self, *arguments, **options)
    if connection is not None and getattr(self, "is_closed_for_good", False):
        connection.close()
        return None
    return connection


async def _close_for_good(self: Any) -> None:  # noqa: ANN401 - as above
    """Close a client, and what it still opens."""
    self.is_closed_for_good = True
    await _close(self)


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Gives aiokafka the token of a function, which may wait for the network."""

    def __init__(self, read_token: Callable[[], str]) -> None:
        self._read_token = read_token

    async def token(self) -> str:
        """Return the token to log in with now."""
        return await asyncio.to_thread(self._read_token)


async def _connect(
    host: str,
    port: int,
    *,
    ssl_context: Callable[[], SSLContext] | SSLContext | None = None,
    sasl_plain_password: Callable[[], str] | str | None = None,
    **options: Any,  # noqa: ANN401 - aiokafka's
) -> "_Connection":
    """Return an open connection; raises what aiokafka takes for a broker that does not answer."""
    try:
        if callable(ssl_context):
            ssl_context = await asyncio.to_thread(ssl_context)
        if callable(sasl_plain_password):
            sasl_plain_password = await asyncio.to_thread(sasl_plain_password)
        options |= {"ssl_context": ssl_context, "sasl_plain_password": sasl_plain_password}
        connection = _Connection(host, port, **options)
        try:
            await connection.connect()
        except BaseException:
            await connection.wait_until_closed()
            raise
    except MilepostError as error:
        raise KafkaConnectionError(str(error)) from error
    if (start := _start.get()) is not None and not start.is_over:
        start.connections.append(connection)
    return connection


class _Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection that ends before its login does."""

    _is_expiring = False
    _expiry: asyncio.TimerHandle | None = None

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: ANN401, FBT001, FBT002 - aiokafka's
        """Send a request; return its answer when that is there."""
        answer: Awaitable[Any] = super().send(request, expect_response)
        return self._note_lifetime(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    async def _note_lifetime(self, answer: Awaitable[Any]) -> Any:  # noqa: ANN401 - as above
        response = await answer
        lifetime_ms = getattr(response, "session_lifetime_ms", 0)
        if lifetime_ms > 0:
            seconds = lifetime_ms / 1000 * random.uniform(*_RENEWAL_SHARES)  # noqa: S311 - no secret
            self._expiry = self._loop.call_later(seconds, self._expire)
        return response

    def _expire(self) -> None:
        self._is_expiring = True
        self._close_if_expiring()

    def _close_if_expiring(self) -> None:
        if self._is_expiring and not self._requests:
            self.close(CloseReason.IDLE_DROP)

    def _handle_frame(self, resp: bytes) -> None:
        super()._handle_frame(resp)
        self._close_if_expiring()

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:  # noqa: ANN401 - as above
        """Close the connection: by force, when the broker does not answer that soon."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._writer is not None:
            self._loop.call_later(_ABORT_SECONDS, self._writer.transport.abort)
        return super().close(reason, exc)

    async def wait_until_closed(self) -> None:
        """Wait a moment for the end of a connection that was closed: its socket would outlive a loop that ends now."""
        if self._protocol is not None:
            await asyncio.wait([self._closed_fut], timeout=_CLOSE_SECONDS)

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """Return what logs in with a token."""
        return _TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _TokenAuthenticator(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            # RFC 7628, section 3.2.2: the broker says why it refuses.
            raise SaslAuthenticationFailed(
                f"the broker refuses the token: {one_line(payload.decode(errors='replace'))}"
            )
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step
