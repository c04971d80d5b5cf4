"""`GET /api/stream`: a server-sent event for each recalculated programme.

With the query parameter `programme`, the stream contains the notices of this programme, first its current version.
Without it, the stream also contains the version of all programmes, first and after every change: a client that shows
this version need not request anything. Both say how fresh what is shown is, first and after every change.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from models.domain.events import SLUG_PATTERN
from streams.web.change_feed import ChangeFeed, FeedUpdate
from streams.web.errors import BadQuery
from streams.web.freshness import freshness_schema
from streams.web.guard import ConcurrencyLimit
from streams.web.schemas import ProgrammeUpdateSchema, VersionSchema

MAX_SUBSCRIBERS: Final = 200
#: A comment now and then keeps proxies from closing an idle connection, and detects clients that are gone.
SSE_HEARTBEAT_SECONDS: Final = 15.0
#: Browsers then ask again by themselves; a client that went away unnoticed takes nobody's place for ever.
MAX_STREAM_SECONDS: Final = 1800.0


def stream_handler(change_feed: ChangeFeed, now: Callable[[], float]) -> Handler:
    """Return a handler that sends updates until the client disconnects, the stream is old or the worker stops.

    Takes what returns the time in seconds since the epoch.
    """
    limit = ConcurrencyLimit(MAX_SUBSCRIBERS, "Too many are listening at once.")

    async def serve(request: web.Request) -> web.StreamResponse:
        programme = request.query.get("programme")
        if programme is not None and not re.fullmatch(SLUG_PATTERN, programme):
            raise BadQuery(text="programme is the name of a programme.")
        headers = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        if request.method == hdrs.METH_HEAD or request.transport is None:
            return response
        loop_time = asyncio.get_running_loop().time
        ends = loop_time() + MAX_STREAM_SECONDS
        # A client that does not read is noticed as soon as the system's own buffers are full.
        request.transport.set_write_buffer_limits(0)
        with limit, change_feed.subscribe(programme) as subscriber, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            async for update in subscriber.updates(SSE_HEARTBEAT_SECONDS):
                await response.write(_encode_sse(update, now()) or b": here\n\n")
                if loop_time() > ends:
                    break
        return response

    return serve


def _encode_sse(update: FeedUpdate, now: float) -> bytes:
    events = [
        (b"drawn", msgspec.json.encode(ProgrammeUpdateSchema(programme, *version)))
        for programme, version in sorted(update.forecast_versions.items())
    ]
    if update.version:
        events.append((b"turn", msgspec.json.encode(VersionSchema(update.version))))
    if update.freshness is not None:
        events.append((b"freshness", msgspec.json.encode(freshness_schema(update.freshness, now))))
    return b"".join(b"event: %b\ndata: %b\n\n" % event for event in events)
