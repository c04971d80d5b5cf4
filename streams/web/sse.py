"""`GET /api/stream`: server-sent events, one small notice for each programme that is drawn anew.

Asked for one `programme`, it tells of that one only, and first of what it is drawn now. Asked for all, it names, first
and with all that is drawn anew, what all are drawn of: whoever shows that already has nothing to ask for.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from streams.web.change_feed import News, Watch
from streams.web.responses import Sorry, encode
from streams.web.schemas import Notice, Turn

MOST_LISTENING: Final = 200
#: A line now and then keeps proxies from closing what they take for dead, and finds out who has gone.
SIGN_OF_LIFE_SECONDS: Final = 15.0
_RETRY: Final = b"retry: 2000\n\n"


class Stream:
    """Tells all who listen."""

    def __init__(self, watch: Watch, sorry: Sorry) -> None:
        self._watch, self._sorry = watch, sorry

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Tell until the other side, or the worker, ends it."""
        if self._watch.listening >= MOST_LISTENING:
            return self._sorry(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are listening at once.")
        headers = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        with self._watch.listener(request.query.get("programme")) as listener, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(_RETRY)
            async for news in listener.news(SIGN_OF_LIFE_SECONDS):
                await response.write(_spelled(news) or b": here\n\n")
        return response


def _spelled(news: News) -> bytes:
    """Return news as events."""
    told = [(b"drawn", encode(Notice(name, its.revision, its.day))) for name, its in sorted(news.drawn.items())]
    if news.turn:
        told.append((b"turn", encode(Turn(news.turn))))
    return b"".join(b"event: %b\ndata: %b\n\n" % each for each in told)
