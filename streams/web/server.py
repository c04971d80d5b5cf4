"""A web server on a bound socket: only what is added to its application is served; Faust's own pages are off."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web
from mode import Service

from streams.web.connections import Connection, ConnectionTable
from streams.web.guard import CountHttpError, GuardedApplication

#: Connections that wait in the system to be accepted, at most; they take no files.
_BACKLOG: Final = 4096
#: What the system holds for a connection until it is read; twice as much on Linux. In one turn of the event loop, all
#: that all connections hold can become memory of this process.
_RECEIVE_BUFFER_BYTES: Final = 32 * 1024
#: Connections that are accepted in one turn of the event loop: far fewer than the files that are kept for recording,
#: since those that give way close only in the next turn.
_MAX_ACCEPTED_PER_TURN: Final = 64


def listener_url(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class WebServer(Service):
    """Serves an application on a bound socket for as long as the service runs."""

    def __init__(
        self,
        server_socket: socket.socket,
        guarded: GuardedApplication,
        max_connections: int,
        count_error: CountHttpError,
        **options: Any,  # noqa: ANN401 - mode's own
    ) -> None:
        self._server_socket = server_socket
        self._connections = ConnectionTable(max_connections, count_error, guarded.protocol_error_response)
        self._runner = web.AppRunner(guarded.application, access_log=None, shutdown_timeout=1)
        self._accepting: set[asyncio.Task[Any]] = set()
        super().__init__(**options)

    async def on_start(self) -> None:
        """Start to accept requests."""
        await self._runner.setup()
        self._server_socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        # Before they are accepted, so that connections have it from their start.
        self._server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._server_socket.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._server_socket, self._accept)
        self._deadlines = asyncio.create_task(self._connections.enforce_deadlines())

    async def on_stop(self) -> None:
        """Stop to accept requests, and close what the application opened."""
        asyncio.get_running_loop().remove_reader(self._server_socket)
        self._server_socket.close()
        await self._runner.cleanup()
        self._deadlines.cancel()
        with suppress(asyncio.CancelledError):
            await self._deadlines

    def _accept(self) -> None:
        loop, server = asyncio.get_running_loop(), cast("web.Server", self._runner.server)
        for _ in range(_MAX_ACCEPTED_PER_TURN):
            try:
                client, _ = self._server_socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:  # The process has no files left.
                self._connections.displace(loop.time())
                return
            client.setblocking(False)  # noqa: FBT003 - the standard library's signature
            connecting = loop.connect_accepted_socket(lambda: Connection(server, self._connections), client)
            task = loop.create_task(connecting)
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)
