"""Composes the board: its read model, pages, API, static files and change feed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from models.database.engine import make_engine
from models.settings import Settings
from streams.web import responses, urls
from streams.web.api import Api
from streams.web.openapi import build_openapi
from streams.web.pages import HtmlPages
from streams.web.pipeline_status import PipelineMonitor, ReadNewest
from streams.web.read_model import ReadModel
from streams.web.schemas import ErrorSchema
from streams.web.server import AddRoutes, WorkerProbes
from streams.web.sse import stream_handler

STATIC_DIR: Final = Path(__file__).parent / "static"


def create_board(settings: Settings, today: Callable[[], date], read_newest: ReadNewest) -> AddRoutes:
    """Return a function that adds the board to a worker's web application; it opens nothing before that starts."""

    def add_board(application: web.Application, worker: WorkerProbes) -> None:
        read_model, pipeline = ReadModel(make_engine(settings.database), today), PipelineMonitor(worker, read_newest)
        cache = responses.ResponseCache(read_model)
        worker_paths = {resource.canonical for resource in application.router.resources()}
        static = application.router.add_static("/static", STATIC_DIR, append_version=True)
        static_urls = {path.name: str(static.url_for(filename=path.name)) for path in sorted(STATIC_DIR.iterdir())}

        pages = HtmlPages(read_model, cache, pipeline, static_urls)
        api = Api(read_model, cache, pipeline)
        description = build_openapi(api.operations)

        def error_response(request: web.Request, status: HTTPStatus, message: str) -> web.Response:
            if request.path.startswith(f"{urls.API_PATH}/"):
                return responses.uncached_response(msgspec.json.encode(ErrorSchema(message)), responses.JSON, status)
            return pages.error_response(status, message)

        async def serve_openapi(_request: web.Request) -> web.Response:
            return responses.uncached_response(description, responses.JSON)

        async def poll_while_running(_application: web.Application) -> AsyncIterator[None]:
            polling = asyncio.create_task(read_model.change_feed.poll())
            yield
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling
            read_model.close()

        async def end_subscriptions(_application: web.Application) -> None:
            read_model.change_feed.stop()

        # Monitoring must get an answer from a worker whose board is busy; the stream has a limit of its own.
        guard = responses.RequestGuard(error_response, unlimited_paths={*worker_paths, urls.STREAM_PATH})
        application.middlewares.extend([guard.error_middleware, responses.static_file_middleware(static_urls.values())])
        application.on_response_prepare.append(responses.add_security_headers)
        application.on_shutdown.append(end_subscriptions)
        application.cleanup_ctx.append(poll_while_running)
        application.router.add_routes(pages.routes())
        application.router.add_routes([web.get(operation.path, operation.handler) for operation in api.operations])
        application.router.add_get(urls.OPENAPI_PATH, serve_openapi)
        application.router.add_get(urls.STREAM_PATH, stream_handler(read_model.change_feed, error_response))

    return add_board
