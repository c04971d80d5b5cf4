"""`GET /api/stream`: server-sent events, one small notice for each programme that is drawn anew."""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from deploy.board.answering import Sorry, encode
from deploy.board.answers import Notice
from deploy.board.watch import Watch

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
        with self._watch.listener() as listener, suppress(ConnectionError):
            await response.prepare(request)
            await response.write(_RETRY)
            async for drawn in listener.notices(SIGN_OF_LIFE_SECONDS):
                told = [encode(Notice(name, its.revision, its.day)) for name, its in sorted(drawn.items())]
                lines = b"".join(b"event: drawn\ndata: " + line + b"\n\n" for line in told)
                await response.write(lines or b": here\n\n")
        return response
