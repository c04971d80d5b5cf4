"""`/metrics`, `/metrics/milestones`, `/live` and `/ready`, for a bounded part of a process's time and memory."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from streams.metrics.exposition import CONTENT_TYPE
from streams.metrics.store import MetricsStore
from streams.web.encoding import GZIP_LEVEL, prefers_gzip
from streams.web.guard import ConcurrencyLimit, GuardedApplication

#: Scrapes that are answered at once; a page is as large as a worker's milestones are many.
MAX_SCRAPES: Final = 4
#: A page is reused for so many times as long as its rendering took: scraping takes a quarter of a core at most.
REUSE_RATIO: Final = 3
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS

#: Returns the reasons why a process is not ready (or not alive), by name; empty when it is.
HealthCheck = Callable[[], Mapping[str, str]]


class Probes(NamedTuple):
    """The metrics and the health of a process."""

    registry: CollectorRegistry
    liveness: HealthCheck
    readiness: HealthCheck
    #: What does not keep the process from serving, and is to be mended, by name.
    warnings: HealthCheck = dict

    def problems(self) -> dict[str, str]:
        """Return why the process is not alive or not ready, by name; empty when it is both."""
        return {**self.liveness(), **self.readiness()}


#: Adds routes to an application before it starts; what they open is closed with it.
AddRoutes = Callable[[GuardedApplication, Probes], None]


class SharedPage:
    """A page that is rendered once for all who ask while it is rendered, and a little longer."""

    def __init__(self, render: Callable[[], Awaitable[bytes]]) -> None:
        self._render = render
        self._page, self._reused_until = b"", float("-inf")
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        """Return the page."""
        time = asyncio.get_running_loop().time
        async with self._lock:
            if (started := time()) >= self._reused_until:
                self._page = await self._render()
                self._reused_until = time() + REUSE_RATIO * (time() - started)
            return self._page


def add_health(guarded: GuardedApplication, probes: Probes) -> None:
    """Serve a process's health and its metrics."""

    async def render_metrics() -> bytes:
        return generate_latest(probes.registry)

    metrics_page = SharedPage(render_metrics)

    async def serve_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics_page.get(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})

    guarded.add_probe("/metrics", serve_metrics)
    guarded.add_probe("/live", _health_handler(probes.liveness))
    guarded.add_probe("/ready", _health_handler(probes.readiness, probes.warnings))


def add_milestone_metrics(guarded: GuardedApplication, metrics_store: MetricsStore) -> None:
    """Serve the metrics of milestones."""
    limit = ConcurrencyLimit(MAX_SCRAPES, "Too many are scraping at once.")

    async def render_compressed() -> bytes:
        return await asyncio.to_thread(_compress, metrics_store.iter_families())

    compressed_page = SharedPage(render_compressed)

    async def serve(request: web.Request) -> web.StreamResponse:
        headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        is_compressed = prefers_gzip(request)
        if is_compressed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        response = web.StreamResponse(headers=headers)
        if request.method == hdrs.METH_HEAD:
            return response
        with limit:
            if is_compressed:
                page = await compressed_page.get()
                response.content_length = len(page)
                await response.prepare(request)
                await response.write(page)
            else:
                # One snapshot, of which one family at a time is joined (off the event loop, because tens of thousands
                # of lines take time) and waits for the client.
                families = metrics_store.iter_families()
                await response.prepare(request)
                while family := await asyncio.to_thread(next, families, b""):
                    await response.write(family)
            await response.write_eof()
        return response

    guarded.add_probe("/metrics/milestones", serve)


def _compress(families: Iterable[bytes]) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WBITS)
    return b"".join([*map(compressor.compress, families), compressor.flush()])


def _health_handler(check: HealthCheck, find_warnings: HealthCheck = dict) -> Handler:
    async def serve(_request: web.Request) -> web.Response:
        reasons = dict(check())
        warnings = dict(find_warnings())
        details = {"warnings": warnings} if warnings else {}
        return web.json_response({"ok": not reasons, "reasons": reasons} | details, status=503 if reasons else 200)

    return serve
