"""Reads bodies of requests in bounded memory and time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from streams.web.connections import Connection

#: How long the body of a request may take to arrive.
BODY_SECONDS: Final = 30.0
#: What the bodies of all requests may hold together, from their first byte until they are answered.
MAX_HELD_BYTES: Final = 16 * 1024 * 1024


class BodyTooLargeError(Exception):
    """A body is longer than its limit."""


class BodyTooSlowError(Exception):
    """A body did not arrive in time, or took the place of others that did."""


class NoRoomError(Exception):
    """The bodies of requests that are being published take all of the room."""


class HeldBody:
    """The body of a request, and the room that it takes."""

    def __init__(self) -> None:
        self.content = bytearray()


class BodyReader:
    """Reads bodies; when there is no room left, the one that has arrived for longest gives way."""

    def __init__(self, max_held_bytes: int = MAX_HELD_BYTES, seconds: float = BODY_SECONDS) -> None:
        self._max_held_bytes, self._seconds = max_held_bytes, seconds
        self._held_bytes = 0
        #: Those that arrive, the oldest first, each with its deadline.
        self._arriving: dict[HeldBody, asyncio.Timeout] = {}

    @contextmanager
    def hold(self) -> Iterator[HeldBody]:
        """Give a place for a body, and free its room at the end of the block."""
        body = HeldBody()
        try:
            yield body
        finally:
            self._held_bytes -= len(body.content)

    async def read(self, request: web.Request, body: HeldBody, limit: int) -> bytes:
        """Return the body of a request.

        Raises `BodyTooLargeError`, `BodyTooSlowError`, `NoRoomError`, `SmallChunksError`, and aiohttp's
        `RequestPayloadError`.
        """
        stream = request.content
        if stream.is_eof():
            self._add(body, stream.read_nowait(), limit)
            return bytes(body.content)
        if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await _ask_for_body(request)
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                self._arriving[body] = deadline
                with _connection(request).reading_body():
                    while chunk := await stream.readany():
                        self._add(body, chunk, limit)
        except TimeoutError:
            raise BodyTooSlowError from None
        finally:
            self._arriving.pop(body, None)
        return bytes(body.content)

    @staticmethod
    async def discard(request: web.Request, seconds: float) -> None:
        """Return after so many seconds; what arrives of the body meanwhile takes no room."""
        connection, stream = _connection(request), request.content
        # As one that waits: its connection gives way before those whose events are being published.
        with suppress(TimeoutError), connection.reading_body():
            async with asyncio.timeout(seconds):
                with suppress(web.RequestPayloadError):
                    while await stream.readany():
                        pass
                await asyncio.Event().wait()

    def _add(self, body: HeldBody, chunk: bytes, limit: int) -> None:
        if len(body.content) + len(chunk) > limit:
            raise BodyTooLargeError
        while self._held_bytes + len(chunk) > self._max_held_bytes:
            self._displace(body)
        self._held_bytes += len(chunk)
        body.content += chunk

    def _displace(self, newest: HeldBody) -> None:
        """Free the room of the body that has arrived for longest; raises `NoRoomError` when there is no other."""
        oldest = next((body for body in self._arriving if body is not newest), None)
        if oldest is None:
            raise NoRoomError
        self._arriving.pop(oldest).reschedule(asyncio.get_running_loop().time())
        self._held_bytes -= len(oldest.content)
        oldest.content.clear()


async def _ask_for_body(request: web.Request) -> None:
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # As aiohttp's own: this was no part of the answer.
    request.writer.output_size = 0


def _connection(request: web.Request) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101 - the only kind that the web server has
    return connection
