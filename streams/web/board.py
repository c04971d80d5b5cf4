"""The board put together: what it reads, what it serves, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import date
from http import HTTPStatus

from aiohttp import web

from models.database.engine import connect
from models.settings import Settings
from streams.web import urls
from streams.web.api import Api, problem
from streams.web.dead_letters import LetterBox, ReadNewest
from streams.web.openapi import describe
from streams.web.pages import Pages
from streams.web.pipeline_status import Pipeline, read_pipeline
from streams.web.read_model import Sights
from streams.web.responses import JSON, Guard, Kept, add_security_headers, answer
from streams.web.server import Known
from streams.web.sse import Stream
from streams.web.static_files import Files

#: What answers without the board, and needs none of its care.
_OTHERS = frozenset({"/metrics", "/metrics/milestones", "/live", "/ready"})


def board(
    settings: Settings, today: Callable[[], date], read_newest: ReadNewest
) -> Callable[[web.Application, Known], None]:
    """Return what adds the board to a worker's web service; nothing is opened before that is started."""

    def add(application: web.Application, known: Known) -> None:
        sights, letters = Sights(connect(settings.database), today), LetterBox(read_newest)
        kept, files = Kept(sights.run), Files()

        def pipeline() -> Pipeline:
            return read_pipeline(known.registry, {**known.alive(), **known.ready()})

        pages = Pages(sights, kept, files, letters, pipeline)
        api = Api(sights, kept, letters, pipeline)
        description = describe(api.operations)

        def sorry(request: web.Request, status: HTTPStatus, sentence: str) -> web.Response:
            said = problem if request.path.startswith(f"{urls.API}/") else pages.sorry
            return said(request, status, sentence)

        async def openapi(_request: web.Request) -> web.Response:
            return answer(description, JSON)

        async def running(_application: web.Application) -> AsyncIterator[None]:
            polling = asyncio.create_task(sights.watch.poll())
            yield
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling
            sights.close()
            letters.close()

        async def stop(_application: web.Application) -> None:
            sights.watch.stop()

        guard = Guard(sorry, lambda request: request.path not in {*_OTHERS, urls.STREAM})
        application.middlewares.append(guard.around)
        application.on_response_prepare.append(add_security_headers)
        application.on_shutdown.append(stop)
        application.cleanup_ctx.append(running)
        application.router.add_routes(
            [
                *pages.routes(),
                *(web.get(operation.path, operation.handler) for operation in api.operations),
                web.get(urls.OPENAPI, openapi),
                web.get(urls.STREAM, Stream(sights.watch, sorry).serve),
                web.get("/static/{digest}/{name}", files.serve),
            ]
        )

    return add
