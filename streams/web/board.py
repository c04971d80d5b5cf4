"""The board put together: what it reads, what it serves, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import date
from http import HTTPStatus

from aiohttp import web

from models.database.engine import make_engine
from models.settings import Settings
from streams.web import urls
from streams.web.api import Api, json_error_response
from streams.web.dead_letters import DeadLetterCache, ReadNewest
from streams.web.openapi import build_openapi
from streams.web.pages import HtmlPages
from streams.web.pipeline_status import PipelineStatus, read_pipeline_status
from streams.web.read_model import ReadModel
from streams.web.responses import JSON, RequestGuard, ResponseCache, add_security_headers, uncached_response
from streams.web.server import WorkerProbes
from streams.web.sse import EventStream
from streams.web.static_files import StaticFiles

#: What answers without the board, and needs none of its care.
_WORKER_PATHS = frozenset({"/metrics", "/metrics/milestones", "/live", "/ready"})


def create_board(
    settings: Settings, today: Callable[[], date], read_newest: ReadNewest
) -> Callable[[web.Application, WorkerProbes], None]:
    """Return what adds the board to a worker's web service; nothing is opened before that is started."""

    def add_to(application: web.Application, worker: WorkerProbes) -> None:
        sights, letters = ReadModel(make_engine(settings.database), today), DeadLetterCache(read_newest)
        kept, files = ResponseCache(sights.run_in_executor), StaticFiles()

        def read_status() -> PipelineStatus:
            return read_pipeline_status(worker.registry, {**worker.liveness(), **worker.readiness()})

        pages = HtmlPages(sights, kept, files, letters, read_status)
        api = Api(sights, kept, letters, read_status)
        description = build_openapi(api.operations)

        def error_response(request: web.Request, status: HTTPStatus, message: str) -> web.Response:
            said = json_error_response if request.path.startswith(f"{urls.API_PATH}/") else pages.html_error_response
            return said(request, status, message)

        async def serve_openapi(_request: web.Request) -> web.Response:
            return uncached_response(description, JSON)

        async def lifecycle(_application: web.Application) -> AsyncIterator[None]:
            polling = asyncio.create_task(sights.change_feed.poll())
            yield
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling
            sights.close()
            letters.close()

        async def end_subscriptions(_application: web.Application) -> None:
            sights.change_feed.stop()

        guard = RequestGuard(error_response, lambda request: request.path not in {*_WORKER_PATHS, urls.STREAM_PATH})
        application.middlewares.append(guard.error_middleware)
        application.on_response_prepare.append(add_security_headers)
        application.on_shutdown.append(end_subscriptions)
        application.cleanup_ctx.append(lifecycle)
        application.router.add_routes(
            [
                *pages.routes(),
                *(web.get(operation.path, operation.handler) for operation in api.operations),
                web.get(urls.OPENAPI_PATH, serve_openapi),
                web.get(urls.STREAM_PATH, EventStream(sights.change_feed, error_response).serve),
                web.get("/static/{digest}/{name}", files.serve),
            ]
        )

    return add_to
