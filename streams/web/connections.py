"""Bounds what the connections of a listener take: files, memory and time.

Recording needs files and memory too, so a listener has no more connections than leave a reserve, and closes those that
send or read too slowly. When the table of connections is full, the one that waited longest gives way: a probe always
gets in. The module is long because the table decides by states and deadlines that the connections keep for it.
"""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from itertools import chain
from operator import attrgetter
from typing import Any, Final, cast

from aiohttp import web

from streams.web.guard import SECURITY_HEADERS, CountHttpError, ErrorResponder
from streams.web.small_chunks import READ_DELAY_SECONDS, PieceCounter

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
#: How long a connection may stay whose body is refused: nothing is read from it, so its client's end is not noticed.
REFUSED_SECONDS: Final = 10.0
#: What may wait for the clients of a listener to read; beyond, the one that has not read for longest gives way.
MAX_UNREAD_BYTES: Final = 64 * 1024 * 1024
#: For so long one that was just accepted gives way to none.
GRACE_SECONDS: Final = 0.25
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


class ConnectionState(Enum):
    """What a connection does."""

    #: No request is complete.
    WAITING = auto()
    #: The head of a request is complete, and a handler waits for its body.
    READING = auto()
    #: A request is being answered.
    ANSWERING = auto()
    #: A response waits for the client to read it.
    UNREAD = auto()


class ConnectionTable:
    """The open connections of a listener."""

    def __init__(self, limit: int, count_error: CountHttpError, error_response: ErrorResponder) -> None:
        self._limit, self.count_error, self.error_response = limit, count_error, error_response
        #: By state; what entered the state first stands first.
        self._connections: dict[ConnectionState, dict[Connection, None]] = {state: {} for state in ConnectionState}

    def __len__(self) -> int:
        return sum(map(len, self._connections.values()))

    def __iter__(self) -> Iterator["Connection"]:
        return chain.from_iterable(self._connections.values())

    def add(self, connection: "Connection") -> None:
        """Add a connection; a full table closes the one that waited longest."""
        if len(self) >= self._limit:
            self.displace(connection.since)
        self._connections[connection.state][connection] = None

    def displace(self, now: float) -> None:
        """Close the connection that waited longest, if there is any."""
        if len(self):
            self._close(self._find_longest_waiting(now), "displaced")

    def _find_longest_waiting(self, now: float) -> "Connection":
        first = {state: next(iter(known)) for state, known in self._connections.items() if known}
        answering = first.pop(ConnectionState.ANSWERING, None)
        longest = min(first.values(), key=attrgetter("since"), default=None)
        # In a rush of connections, one that came just now is to be answered.
        if longest is None or (answering is not None and now - longest.since < GRACE_SECONDS):
            longest = min((one for one in (longest, answering) if one is not None), key=attrgetter("since"))
        return longest

    def move(self, connection: "Connection", state: ConnectionState, now: float) -> None:
        """Note what a connection does from now on."""
        if self.discard(connection):
            connection.state, connection.since = state, now
            self._connections[state][connection] = None

    def discard(self, connection: "Connection") -> bool:
        """Forget a connection; return whether it was known."""
        known = self._connections[connection.state]
        if connection not in known:
            return False
        del known[connection]
        return True

    async def enforce_deadlines(self) -> None:
        """Close connections that send or read too slowly, for as long as the listener is open."""
        time = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_SECONDS)
            self._close_overdue(time())

    def _close_overdue(self, now: float) -> None:
        for connection in [one for one in self if one.is_overdue(now)]:
            self._close(connection, "deadline")
        unread = sorted(self, key=attrgetter("since"))
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

    __slots__ = (
        "_delayed_read",
        "_head_since",
        "_pieces",
        "_refused_since",
        "_table",
        "_tcp",
        "_unread",
        "_unread_since",
        "since",
        "state",
    )

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
        #: What the connection does, and since when.
        self.state, self.since = ConnectionState.WAITING, self._loop.time()
        #: When the head of a request began to arrive, if it did.
        self._head_since: float | None = None
        #: What waited to be read when it was seen to shrink last, and when that was; infinity when nothing waits.
        self._unread, self._unread_since = 0, float("inf")
        self._pieces = PieceCounter()
        #: Since when the body of a request is refused, if it is.
        self._refused_since: float | None = None
        #: When reading goes on, while it is delayed.
        self._delayed_read: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place in the table."""
        super().connection_made(transport)
        self._tcp = cast("asyncio.Transport", transport)
        self._head_since = self.since
        self._table.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the table."""
        if self._table.discard(self) and self.state is not ConnectionState.WAITING:
            self._table.count_error("client-gone")
        super().connection_lost(exc)
        self._tcp = None
        if self._delayed_read is not None:
            self._delayed_read.cancel()
            self._delayed_read = None
        self._pieces = PieceCounter()

    def data_received(self, data: bytes) -> None:
        """Note when the head of a request began to arrive, and bound what small pieces cost."""
        if self._head_since is None and self.state is ConnectionState.WAITING:
            self._head_since = self._loop.time()
        size, start = len(data), 0
        while self._refused_since is None:
            end = min(size, start + self._pieces.next_piece_bytes)
            self._parse(data if end - start == size else data[start:end])
            start = end
            if start == size:
                break
        if data and self._pieces.is_read_small(size) and self._delayed_read is None and self._tcp is not None:
            self._tcp.pause_reading()
            self._delayed_read = self._loop.call_later(READ_DELAY_SECONDS, self._read_again)

    def _parse(self, piece: bytes) -> None:
        known = len(self._messages)
        super().data_received(piece)
        if len(self._messages) > known:
            self._pieces.begin_body(self._messages[-1][1])
        else:
            self._pieces.count_parsed(len(piece))
        # While reading is paused, the parser keeps what it was given: nothing can be said yet.
        if not self._reading_paused and self._pieces.has_small_chunks():
            # Where no handler reads the body, the connection stays for as long as such a body may go on.
            self._refused_since = self._loop.time()
            if self.state is ConnectionState.READING:
                self._pieces.refuse()
            if self._tcp is not None:
                self._tcp.pause_reading()

    def _read_again(self) -> None:
        self._delayed_read = None
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        # aiohttp asks for that whenever a body is read.
        if self._delayed_read is None and self._refused_since is None:
            super()._resume_transport_reading()

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is answered."""
        super().pause_writing()
        self._move(ConnectionState.UNREAD)

    def resume_writing(self) -> None:
        """Note that the client has read what waited."""
        super().resume_writing()
        self._move(ConnectionState.ANSWERING)

    @contextmanager
    def reading_body(self) -> Iterator[None]:
        """Give way to others within the block, in which the handler of a request waits for its body.

        How long the body may take is for the handler to limit.
        """
        self._move(ConnectionState.READING)
        if self._refused_since is not None:
            self._pieces.refuse()
        try:
            yield
        finally:
            self._move(ConnectionState.ANSWERING)

    def _move(self, state: ConnectionState) -> None:
        self._table.move(self, state, self._loop.time())

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
        if self._refused_since is not None and now - self._refused_since > REFUSED_SECONDS:
            return True
        if self.writing_paused or self._tcp.is_closing():
            if self.unread_bytes <= self._unread - MIN_BYTES_READ or self._unread_since > now:
                self._unread, self._unread_since = self.unread_bytes, now
            return now - self._unread_since > WRITE_SECONDS
        self._unread, self._unread_since = 0, float("inf")
        # aiohttp itself closes a connection that is idle.
        return self._head_since is not None and now - self._head_since > HEADER_SECONDS

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        self._head_since = None
        self._move(ConnectionState.ANSWERING)
        try:
            answered = await super()._handle_request(request, start_time, request_handler)
            # Otherwise one that does not read could ask for page after page.
            await self._drain_helper()
            if self._messages:
                # The client sent more requests before it had this response. Browsers and scrapers do not, and a crowd
                # that does would take the whole event loop; HTTP has clients send again what was not answered.
                self.close()
        except ConnectionError as error:
            # aiohttp holds it in what its traceback names, and so would keep the connection in memory until the garbage
            # collector looks, which is seldom.
            error.__traceback__ = None
            return web.StreamResponse(), True
        else:
            return answered
        finally:
            self._pieces.end_request()
            self._move(ConnectionState.WAITING)

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
        if exc is not None:
            exc.__traceback__ = None  # As in `_handle_request`.
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the response is sent already.")
        text = "This page has a bug; the log has the details." if is_bug else "This is no valid HTTP request."
        response = self._table.error_response(request, status, text)
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - aiohttp's signature
        """Count what a client did wrong, and log everything else."""
        if isinstance(kw.get("exc_info"), (web.RequestPayloadError, ConnectionError)):
            self._table.count_error("bad-request")
        else:
            super().log_exception(*args, **kw)
