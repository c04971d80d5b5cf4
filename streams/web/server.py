"""A web server on a bound socket: only what is added to its application is served; Faust's own pages are off."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web
from mode import Service

from streams.web.connections import Connection, ConnectionTable
from streams.web.guard import CountHttpError

#: Connections that wait to be accepted: fewer than the files that are kept for recording.
_BACKLOG: Final = 128


class WebServer(Service):
    """Serves an application on a bound socket for as long as the service runs."""

    def __init__(
        self,
        server_socket: socket.socket,
        application: web.Application,
        max_connections: int,
        count_error: CountHttpError,
        **options: Any,  # noqa: ANN401 - mode's own
    ) -> None:
        self._server_socket = server_socket
        self._connections = ConnectionTable(max_connections, count_error)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        super().__init__(**options)

    async def on_start(self) -> None:
        """Start to accept requests."""
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(server, self._connections), sock=self._server_socket, backlog=_BACKLOG
        )
        self._deadlines = asyncio.create_task(self._connections.enforce_deadlines())

    async def on_stop(self) -> None:
        """Stop to accept requests, and close what the application opened."""
        self._listener.close()
        await self._runner.cleanup()
        self._deadlines.cancel()
        with suppress(asyncio.CancelledError):
            await self._deadlines
