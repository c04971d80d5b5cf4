"""How the board answers: headers, what is kept as it was rendered, and errors as one sentence."""

import gzip
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from cachetools import LRUCache
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.text import one_line
from streams.web.read_model import NotFoundError

logger = logging.getLogger("milepost.board")

#: Pages load what the worker serves, and nothing else; no script or style stands in a page.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTML, JSON = "text/html", "application/json"
#: More requests than this at once are turned away: nobody's looking may cost those that record their time.
MAX_CONCURRENT_REQUESTS: Final = 100
_MIN_GZIP_BYTES: Final = 1024
#: Of zlib: beyond it, a page becomes little smaller and takes much longer.
_GZIP_LEVEL: Final = 4
_MAX_CACHE_BYTES: Final = 16 * 1024 * 1024

#: Does something off the event loop.
RunInExecutor = Callable[[Callable[[], bytes]], Awaitable[bytes]]
#: Returns an error as a body, given the status and one sentence.
ErrorResponder = Callable[[web.Request, HTTPStatus, str], web.Response]


class BadQuery(web.HTTPBadRequest):
    """A question that cannot be answered as it was put; the text is one sentence."""


def uncached_response(body: bytes, content_type: str) -> web.Response:
    """Return a body that nobody is to keep."""
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers={hdrs.CACHE_CONTROL: "no-store"})


class _CachedBody(NamedTuple):
    etag: str
    body: bytes
    #: The same, packed; empty when that is not worth it.
    gzipped: bytes


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0) if len(body) >= _MIN_GZIP_BYTES else b""


class ResponseCache:
    """Rendered responses by URL, valid while their entity tag stays the same; the least recently used are evicted."""

    def __init__(self, run_in_executor: RunInExecutor) -> None:
        self._run_in_executor = run_in_executor
        self._bodies = LRUCache[str, _CachedBody](
            _MAX_CACHE_BYTES, getsizeof=lambda cached: len(cached.body) + len(cached.gzipped)
        )

    async def respond(
        self, request: web.Request, content_type: str, etag: str, render: Callable[[], Awaitable[bytes]]
    ) -> web.Response:
        """Return the cached or newly rendered response, or 304 when the client has it already."""
        if any(client_etag.value in {etag, "*"} for client_etag in request.if_none_match or ()):
            response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers={hdrs.CACHE_CONTROL: "no-cache"})
            response.etag = etag
            return response
        cached = self._bodies.get(request.path_qs)
        if cached is None or cached.etag != etag:
            body = await render()
            cached = _CachedBody(etag, body, await self._run_in_executor(lambda: _gzip(body)))
            with suppress(ValueError):  # Too large for the cache.
                self._bodies[request.path_qs] = cached
        # The browser revalidates each time, which costs little with an entity tag.
        headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.VARY: hdrs.ACCEPT_ENCODING}
        body = cached.body
        if cached.gzipped and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            headers[hdrs.CONTENT_ENCODING], body = "gzip", cached.gzipped
        response = web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)
        response.etag = etag
        return response


class RequestGuard:
    """What stands around the board's own handlers: not too many at once, and errors as one sentence."""

    def __init__(self, error_response: ErrorResponder, is_board_request: Callable[[web.Request], bool]) -> None:
        self._error_response, self._is_board_request = error_response, is_board_request
        self._active_requests = 0

    @web.middleware
    async def error_middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have a request answered."""
        if not self._is_board_request(request):
            return await handler(request)
        if self._active_requests >= MAX_CONCURRENT_REQUESTS:
            response = self._error_response(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are asking at once.")
            response.headers[hdrs.RETRY_AFTER] = "1"
            return response
        self._active_requests += 1
        try:
            return await handler(request)
        except Exception as error:
            if (told := _error_status_and_message(error)) is None:
                # A bug of a page is told, and ends nothing: recording does not depend on whoever looks.
                logger.exception("%s cannot be shown because of a bug", request.path)
                told = HTTPStatus.INTERNAL_SERVER_ERROR, "This page has a bug; the worker's log has the details."
            elif told[0] is HTTPStatus.SERVICE_UNAVAILABLE:
                logger.warning("%s cannot be shown: %s", request.path, one_line(error))
            return self._error_response(request, *told)
        finally:
            self._active_requests -= 1


def _error_status_and_message(error: Exception) -> tuple[HTTPStatus, str] | None:
    """Return what an error is to whoever asked; None for a bug."""
    match error:
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, str(error)
        case BadQuery():
            return HTTPStatus.BAD_REQUEST, error.text or "This cannot be answered."
        case web.HTTPMethodNotAllowed():
            return HTTPStatus.METHOD_NOT_ALLOWED, "The board only shows: ask with GET."
        case web.HTTPException() if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return HTTPStatus.NOT_FOUND, "There is no such page."
        case DatabaseError() | SQLAlchemyError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; the page comes back with it."
        case _:
            return None


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Have every answer of the worker say what a browser may do with it."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


def encode_json(value: object) -> bytes:
    """Return a value as JSON."""
    return msgspec.json.encode(value)


def int_parameter(request: web.Request, name: str, default: int, maximum: int, minimum: int = 0) -> int:
    """Return a number that the query names; raises `BadQuery`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < len(str(1 << 63)) and minimum <= int(text) <= maximum):
        raise BadQuery(text=f"{name} is a number from {minimum} to {maximum}.")
    return int(text)
