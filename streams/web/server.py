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
from streams.metrics.store import MetricsStore

#: What stands in the way of being ready (or alive), by name; empty when nothing does.
HealthCheck = Callable[[], Mapping[str, str]]


class WorkerProbes(NamedTuple):
    """What a worker knows of itself."""

    registry: CollectorRegistry
    liveness: HealthCheck
    readiness: HealthCheck


#: Adds further pages to the web service before it starts; they come and go with it.
AddRoutes = Callable[[web.Application, WorkerProbes], None]


class WebServer(Service):
    """Serves `/metrics`, `/metrics/milestones`, `/live`, `/ready` and further pages, on a socket that is bound."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        server_socket: socket.socket,
        metrics: Metrics,
        metrics_store: MetricsStore,
        *,
        liveness: HealthCheck,
        readiness: HealthCheck,
        add_routes: AddRoutes | None = None,
        **options: Any,  # noqa: ANN401 - mode's own
    ) -> None:
        self._server_socket, self._metrics, self._metrics_store = server_socket, metrics, metrics_store
        self._liveness, self._readiness, self._add_routes = liveness, readiness, add_routes
        self._runner: web.AppRunner | None = None
        super().__init__(**options)

    async def on_start(self) -> None:
        """Begin to answer."""
        pages = web.Application()
        pages.router.add_get("/metrics", self._serve_pipeline_metrics)
        pages.router.add_get("/metrics/milestones", self._serve_milestone_metrics)
        pages.router.add_get("/live", self._serve_liveness)
        pages.router.add_get("/ready", self._serve_readiness)
        if self._add_routes is not None:
            self._add_routes(pages, WorkerProbes(self._metrics.registry, self._liveness, self._readiness))
        self._runner = web.AppRunner(pages, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._server_socket).start()

    async def on_stop(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_pipeline_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def _serve_milestone_metrics(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        response.enable_compression()
        # Of one moment, and put together off the loop: tens of thousands of lines take their time.
        pages = self._metrics_store.iter_families()
        await response.prepare(request)
        while page := await asyncio.to_thread(next, pages, b""):
            await response.write(page)
        await response.write_eof()
        return response

    async def _serve_liveness(self, _request: web.Request) -> web.Response:
        return _health_response(self._liveness())

    async def _serve_readiness(self, _request: web.Request) -> web.Response:
        return _health_response(self._readiness())


def _health_response(problems: Mapping[str, str]) -> web.Response:
    return web.json_response({"ok": not problems, "reasons": dict(problems)}, status=503 if problems else 200)
