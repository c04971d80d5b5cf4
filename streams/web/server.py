"""A web server on a bound socket, and the paths that every worker serves.

The server runs any aiohttp application, so that `deploy` can give it a worker's paths, the board, or both. Only what
is added to the application is served: Faust's own pages are off.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler
from mode import Service
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from streams.metrics.milestones import CONTENT_TYPE
from streams.metrics.store import MetricsStore

#: Returns the reasons why a worker is not ready (or not alive), by name; empty when it is.
HealthCheck = Callable[[], Mapping[str, str]]


class WorkerProbes(NamedTuple):
    """A worker's metrics and health."""

    registry: CollectorRegistry
    liveness: HealthCheck
    readiness: HealthCheck
    #: What does not keep the worker from serving, and is to be mended, by name.
    warnings: Mapping[str, str] = MappingProxyType({})


#: Adds routes to an application before it starts; what they open is closed with it.
AddRoutes = Callable[[web.Application, WorkerProbes], None]


class WebServer(Service):
    """Serves an application on a bound socket for as long as the service runs."""

    def __init__(self, server_socket: socket.socket, application: web.Application, **options: Any) -> None:  # noqa: ANN401 - mode's own
        self._server_socket = server_socket
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        super().__init__(**options)

    async def on_start(self) -> None:
        """Start to accept requests."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._server_socket).start()

    async def on_stop(self) -> None:
        """Stop to accept requests, and close what the application opened."""
        await self._runner.cleanup()


def create_application(
    probes: WorkerProbes, metrics_store: MetricsStore, add_routes: AddRoutes | None = None
) -> web.Application:
    """Return the application of a worker: `/metrics`, `/metrics/milestones`, `/live`, `/ready`, and further routes."""

    async def serve_pipeline_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(probes.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def serve_milestone_metrics(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        response.enable_compression()
        # One snapshot. It is joined off the event loop, because tens of thousands of lines take time.
        families = metrics_store.iter_families()
        await response.prepare(request)
        while family := await asyncio.to_thread(next, families, b""):
            await response.write(family)
        await response.write_eof()
        return response

    application = web.Application()
    application.router.add_get("/metrics", serve_pipeline_metrics)
    application.router.add_get("/metrics/milestones", serve_milestone_metrics)
    application.router.add_get("/live", _health_handler(probes.liveness))
    application.router.add_get("/ready", _health_handler(probes.readiness, probes.warnings))
    if add_routes is not None:
        add_routes(application, probes)
    return application


def _health_handler(check: HealthCheck, warnings: Mapping[str, str] = MappingProxyType({})) -> Handler:
    details = {"warnings": dict(warnings)} if warnings else {}

    async def serve(_request: web.Request) -> web.Response:
        reasons = dict(check())
        return web.json_response({"ok": not reasons, "reasons": reasons} | details, status=503 if reasons else 200)

    return serve
