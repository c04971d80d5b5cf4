"""`GET /api/stream`: server-sent events, one small notice for each programme that is drawn anew.

Asked for one `programme`, it tells of that one only, and first of what it is drawn now. Asked for all, it names, first
and with all that is drawn anew, what all are drawn of: whoever shows that already has nothing to ask for.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from streams.web.change_feed import ChangeFeed, FeedUpdate
from streams.web.responses import ErrorResponder, encode_json
from streams.web.schemas import ProgrammeUpdateSchema, VersionSchema

MAX_SUBSCRIBERS: Final = 200
#: A line now and then keeps proxies from closing what they take for dead, and finds out who has gone.
SSE_HEARTBEAT_SECONDS: Final = 15.0
_RETRY_FIELD: Final = b"retry: 2000\n\n"


class EventStream:
    """Tells all who listen."""

    def __init__(self, change_feed: ChangeFeed, error_response: ErrorResponder) -> None:
        self._change_feed, self._error_response = change_feed, error_response

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Tell until the other side, or the worker, ends it."""
        if self._change_feed.subscriber_count >= MAX_SUBSCRIBERS:
            return self._error_response(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are listening at once.")
        headers = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        with self._change_feed.subscribe(request.query.get("programme")) as listener, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(_RETRY_FIELD)
            async for news in listener.updates(SSE_HEARTBEAT_SECONDS):
                await response.write(_encode_sse(news) or b": here\n\n")
        return response


def _encode_sse(update: FeedUpdate) -> bytes:
    """Return news as events."""
    told = [
        (b"drawn", encode_json(ProgrammeUpdateSchema(name, its.revision, its.data_date)))
        for name, its in sorted(update.forecast_versions.items())
    ]
    if update.version:
        told.append((b"turn", encode_json(VersionSchema(update.version))))
    return b"".join(b"event: %b\ndata: %b\n\n" % each for each in told)
