"""`GET /api/stream`: a server-sent event for each recalculated programme.

With the query parameter `programme`, the stream contains the notices of this programme, first its current version.
Without it, the stream also contains the version of all programmes, first and after every change: a client that shows
this version need not request anything.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from streams.web.change_feed import ChangeFeed, FeedUpdate
from streams.web.responses import ErrorResponder
from streams.web.schemas import ProgrammeUpdateSchema, VersionSchema

MAX_SUBSCRIBERS: Final = 200
#: A comment now and then keeps proxies from closing an idle connection, and detects clients that are gone.
SSE_HEARTBEAT_SECONDS: Final = 15.0


def stream_handler(change_feed: ChangeFeed, error_response: ErrorResponder) -> Handler:
    """Return a handler that sends updates until the client disconnects or the worker stops."""

    async def serve(request: web.Request) -> web.StreamResponse:
        if len(change_feed.subscribers) >= MAX_SUBSCRIBERS:
            return error_response(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are listening at once.")
        headers = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        with change_feed.subscribe(request.query.get("programme")) as subscriber, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            async for update in subscriber.updates(SSE_HEARTBEAT_SECONDS):
                await response.write(_encode_sse(update) or b": here\n\n")
        return response

    return serve


def _encode_sse(update: FeedUpdate) -> bytes:
    events = [
        (b"drawn", msgspec.json.encode(ProgrammeUpdateSchema(programme, *version)))
        for programme, version in sorted(update.forecast_versions.items())
    ]
    if update.version:
        events.append((b"turn", msgspec.json.encode(VersionSchema(update.version))))
    return b"".join(b"event: %b\ndata: %b\n\n" % event for event in events)
