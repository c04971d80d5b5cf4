"""The worker's web service: what is listed here answers, and nothing else (Faust's own pages are off)."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web
from mode import Service
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from streams.metrics.milestones import CONTENT_TYPE
from streams.metrics.pipeline import Metrics
from streams.metrics.store import Shelf

#: What stands in the way of being ready (or alive), by name; empty when nothing does.
Reasons = Callable[[], Mapping[str, str]]


class Known(NamedTuple):
    """What a worker knows of itself."""

    registry: CollectorRegistry
    alive: Reasons
    ready: Reasons


#: Adds further pages to the web service before it starts; they come and go with it.
Pages = Callable[[web.Application, Known], None]


class Web(Service):
    """Serves `/metrics`, `/metrics/milestones`, `/live`, `/ready` and further pages, on a socket that is bound."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        listening: socket.socket,
        metrics: Metrics,
        shelf: Shelf,
        *,
        alive: Reasons,
        ready: Reasons,
        pages: Pages | None = None,
        **options: Any,  # noqa: ANN401 - mode's own
    ) -> None:
        self._listening, self._metrics, self._shelf = listening, metrics, shelf
        self._alive, self._ready, self._pages = alive, ready, pages
        self._runner: web.AppRunner | None = None
        super().__init__(**options)

    async def on_start(self) -> None:
        """Begin to answer."""
        pages = web.Application()
        pages.router.add_get("/metrics", self._pipeline)
        pages.router.add_get("/metrics/milestones", self._milestones)
        pages.router.add_get("/live", self._live_page)
        pages.router.add_get("/ready", self._ready_page)
        if self._pages is not None:
            self._pages(pages, Known(self._metrics.registry, self._alive, self._ready))
        self._runner = web.AppRunner(pages, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listening).start()

    async def on_stop(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _pipeline(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def _milestones(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        response.enable_compression()
        # Of one moment, and put together off the loop: tens of thousands of lines take their time.
        pages = self._shelf.pages()
        await response.prepare(request)
        while page := await asyncio.to_thread(next, pages, b""):
            await response.write(page)
        await response.write_eof()
        return response

    async def _live_page(self, _request: web.Request) -> web.Response:
        return _verdict(self._alive())

    async def _ready_page(self, _request: web.Request) -> web.Response:
        return _verdict(self._ready())


def _verdict(reasons: Mapping[str, str]) -> web.Response:
    return web.json_response({"ok": not reasons, "reasons": dict(reasons)}, status=503 if reasons else 200)
