"""Bounds what the connections of a listener take: files, memory and time.

Recording needs files and memory too, so a listener has no more connections than leave a reserve, and closes those that
send or read too slowly. When the table of connections is full, the one that waited longest gives way: a probe always
gets in.
"""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import web

from streams.web.guard import CountHttpError, plain_error_response

logger = logging.getLogger("milepost.web")

#: Connections of a listener, at most; fewer where the limit of open files is low.
MAX_CONNECTIONS: Final = 512
MIN_CONNECTIONS: Final = 16
#: Files that no connection takes: for Kafka, the database, and connections that are accepted before others are closed.
RESERVED_FILES: Final = 384
#: What a process asks for at most; some systems allow a billion, and some libraries have a table of that size.
MAX_FILES: Final = 65_536
#: How long a request's head may take from the first byte (of a new connection: from its start) to the last.
HEADER_SECONDS: Final = 10.0
#: How long a connection may stay without a request.
IDLE_SECONDS: Final = 75.0
#: How long a client may read fewer than so many bytes of what waits for it.
WRITE_SECONDS: Final = 10.0
MIN_BYTES_READ: Final = 64 * 1024
#: How long the body of a request, which nothing reads, may go on after the response.
BODY_SECONDS: Final = 2.0
#: What may wait for the clients of a listener to read; beyond, the one that has not read for longest gives way.
MAX_UNREAD_BYTES: Final = 64 * 1024 * 1024
_CHECK_INTERVAL_SECONDS: Final = 1.0


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_limit(listeners: int) -> int:
    """Return how many connections each of a process's listeners may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_FILES if soft == resource.RLIM_INFINITY else soft
    return max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, (files - RESERVED_FILES) // listeners))


class ConnectionTable:
    """The open connections of a listener."""

    def __init__(self, limit: int, count_error: CountHttpError) -> None:
        self._limit, self.count_error = limit, count_error
        #: Those without a whole request, and those with one that is being answered; who waited longest stands first.
        self._waiting: dict[Connection, None] = {}
        self._answering: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answering)

    def add(self, connection: "Connection") -> None:
        """Add a connection; a full table closes the one that waited longest."""
        if len(self) >= self._limit:
            self._close(next(iter(self._waiting or self._answering)), "displaced")
        self._waiting[connection] = None

    def move(self, connection: "Connection", *, is_answering: bool) -> None:
        """Note that a connection's request is complete, or answered."""
        if self.discard(connection):
            (self._answering if is_answering else self._waiting)[connection] = None

    def discard(self, connection: "Connection") -> bool:
        """Forget a connection; return whether it was known."""
        known = connection in self._waiting or connection in self._answering
        self._waiting.pop(connection, None)
        self._answering.pop(connection, None)
        return known

    async def enforce_deadlines(self) -> None:
        """Close connections that send or read too slowly, for as long as the listener is open."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_SECONDS)
            for connection in [one for one in (*self._waiting, *self._answering) if one.is_overdue(now())]:
                self._close(connection, "deadline")
            unread = sorted((*self._waiting, *self._answering), key=lambda one: one.unread_since)
            excess = sum(connection.unread_bytes for connection in unread) - MAX_UNREAD_BYTES
            for connection in unread:
                if excess > 0 and connection.unread_bytes:
                    excess -= connection.unread_bytes
                    self._close(connection, "displaced")

    def _close(self, connection: "Connection", kind: str) -> None:
        self.discard(connection)
        self.count_error(kind)
        connection.abort()


class Connection(web.RequestHandler):
    """A connection to a client: aiohttp's, with a place in the table, and deadlines."""

    __slots__ = ("_head_since", "_is_answering", "_table", "_tcp", "_unread", "unread_since")

    def __init__(self, server: web.Server, table: ConnectionTable) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # the annotation forgot what aiohttp's own runner passes
            logger=logger,
            lingering_time=BODY_SECONDS,
            auto_decompress=False,
        )
        self._table = table
        self._tcp: asyncio.Transport | None = None
        self._is_answering = False
        #: When the head of a request began to arrive, if it did.
        self._head_since: float | None = None
        #: What waited to be read when it was seen to shrink last, and when that was; infinity when nothing waits.
        self._unread, self.unread_since = 0, float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the table."""
        super().connection_made(transport)
        self._tcp = cast("asyncio.Transport", transport)
        self._head_since = self._loop.time()
        self._table.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the table."""
        if self._table.discard(self) and self._is_answering:
            self._table.count_error("client-gone")
        super().connection_lost(exc)
        self._tcp = None

    def data_received(self, data: bytes) -> None:
        """Note when the head of a request began to arrive."""
        if self._head_since is None and not self._is_answering:
            self._head_since = self._loop.time()
        super().data_received(data)

    def abort(self) -> None:
        """Close the connection without waiting for the client to read."""
        if self._tcp is not None:
            self._tcp.abort()

    @property
    def unread_bytes(self) -> int:
        """What waits for the client to read it."""
        return 0 if self._tcp is None else self._tcp.get_write_buffer_size()

    def is_overdue(self, now: float) -> bool:
        """Return whether the client has let a deadline pass."""
        if self._tcp is None:
            return False
        if self.writing_paused or self._tcp.is_closing():
            if self.unread_bytes <= self._unread - MIN_BYTES_READ or self.unread_since > now:
                self._unread, self.unread_since = self.unread_bytes, now
            return now - self.unread_since > WRITE_SECONDS
        self._unread, self.unread_since = 0, float("inf")
        # aiohttp itself closes a connection that is idle.
        return self._head_since is not None and now - self._head_since > HEADER_SECONDS

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        self._is_answering, self._head_since = True, None
        self._table.move(self, is_answering=True)
        try:
            answered = await super()._handle_request(request, start_time, request_handler)
            # Otherwise one that does not read could ask for page after page.
            await self._drain_helper()
            return answered
        finally:
            self._is_answering = False
            self._table.move(self, is_answering=False)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the response to what is not HTTP, or to what a handler raised; raises when the client is gone."""
        if isinstance(exc, ConnectionError):
            if self._table.discard(self):
                self._table.count_error("client-gone")
            raise exc
        is_bug = status >= 500  # noqa: PLR2004 - the first status that is the server's fault
        if is_bug:
            logger.error("a request cannot be answered because of a bug", exc_info=exc)
        else:
            self._table.count_error("bad-request")
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the response is sent already.")
        text = "This page has a bug; the log has the details." if is_bug else "This is no valid HTTP request."
        response = plain_error_response(request, status, text)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - aiohttp's signature
        """Count what a client did wrong, and log everything else."""
        if isinstance(kw.get("exc_info"), (web.RequestPayloadError, ConnectionError)):
            self._table.count_error("bad-request")
        else:
            super().log_exception(*args, **kw)
