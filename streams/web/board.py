"""Composes the board: its read model, pages, API, static files and change feed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from models.configured_engine import make_configured_engine
from models.database.freshness import read_freshness
from models.settings import Settings
from streams.clock import Clock
from streams.monitoring.freshness import MAX_LAG_SECONDS, FreshnessMonitor, Problems
from streams.web import urls
from streams.web.api import Api
from streams.web.feed_key import FeedKey
from streams.web.feeds import Feeds
from streams.web.guard import GuardedApplication
from streams.web.openapi import build_openapi
from streams.web.pages import HtmlPages
from streams.web.picture_parameters import REPEATABLE
from streams.web.pipeline_status import PipelineReader
from streams.web.probes import AddRoutes, Probes
from streams.web.read_model import ReadModel
from streams.web.responses import JSON, ResponseCache, uncached_response
from streams.web.schemas import ErrorSchema
from streams.web.sse import stream_handler
from streams.web.static_files import StaticFiles
from streams.web.unmatched_retractions import PipelineWithRetractions
from streams.web.urls import FeedLinks

STATIC_DIR: Final = Path(__file__).parent / "static"


def create_board(
    settings: Settings, today: Callable[[], date], create_pipeline_reader: Callable[[Probes], PipelineReader]
) -> AddRoutes:
    """Return a function that adds the board to an application; it opens nothing before that starts."""
    feed_key = FeedKey(settings)

    def add_board(guarded: GuardedApplication, probes: Probes) -> None:
        clock = Clock()
        read_model = ReadModel(make_configured_engine(settings), today)
        pipeline = PipelineWithRetractions(create_pipeline_reader(probes), read_model)
        freshness = FreshnessMonitor(
            partial(find_problems, probes, pipeline, clock.now),
            partial(read_model.poll, read_freshness),
            read_model.change_feed.publish_freshness,
            clock.now,
        )
        cache, static_files = ResponseCache(read_model), StaticFiles(STATIC_DIR)
        pages = HtmlPages(
            read_model, cache, pipeline, freshness, static_files.urls, partial(_feed_links, settings, feed_key)
        )
        feeds = Feeds(read_model, cache, feed_key, settings.board_url)
        api = Api(read_model, cache, pipeline, freshness)
        description = build_openapi(api.operations)

        def error_response(request: web.BaseRequest, status: int, message: str) -> web.Response:
            if request.path.startswith(f"{urls.API_PATH}/"):
                return uncached_response(msgspec.json.encode(ErrorSchema(message)), JSON, HTTPStatus(status))
            return pages.error_response(status, message)

        async def serve_openapi(_request: web.Request) -> web.Response:
            return uncached_response(description, JSON)

        async def poll_while_running(_application: web.Application) -> AsyncIterator[None]:
            polling = [
                asyncio.create_task(each) for each in (read_model.change_feed.poll(), freshness.run(), feed_key.watch())
            ]
            yield
            for task in polling:
                task.cancel()
            await asyncio.gather(*polling, return_exceptions=True)
            await read_model.close()

        async def end_subscriptions(_application: web.Application) -> None:
            read_model.change_feed.stop()

        guarded.error_response = error_response
        guarded.application.on_shutdown.append(end_subscriptions)
        guarded.application.cleanup_ctx.append(poll_while_running)
        pages.add_to(guarded)
        feeds.add_to(guarded)
        for operation in api.operations:
            guarded.add_get(operation.path, operation.handler, operation.parameter_names, REPEATABLE)
        guarded.add_get(urls.OPENAPI_PATH, serve_openapi)
        guarded.add_get(urls.STATIC_PATH, static_files.serve, ["v"])
        guarded.add_stream(urls.STREAM_PATH, stream_handler(read_model.change_feed, clock.now), ["programme"])

    return add_board


def _feed_links(settings: Settings, key: FeedKey) -> FeedLinks:
    return FeedLinks(settings.board_url, key.value, key.version)


async def find_problems(probes: Probes, pipeline: PipelineReader, now: Callable[[], float]) -> Problems:
    """Return why this process and the workers are not well, by name, and whether records wait to be read."""
    status = await pipeline.read_status()
    if status is None:
        return {"workers": ("MILEPOST_WORKERS names none", None)} | _without_beginning(probes.problems())
    problems = _without_beginning({**probes.problems(), **status.reasons})
    if status.lag_seconds > MAX_LAG_SECONDS:
        waiting = f"{status.offset_lag:,} records are not read yet"
        problems["lag"] = waiting, round(now() - status.lag_seconds)
    return problems


def _without_beginning(reasons: Mapping[str, str]) -> dict[str, tuple[str, float | None]]:
    return {name: (reason, None) for name, reason in reasons.items()}
