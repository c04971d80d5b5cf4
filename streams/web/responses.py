"""How the board responds: security headers, cached responses, static files, and errors as one sentence."""

import gzip
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from cachetools import LRUCache
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.text import one_line
from streams.web.read_model import NotFoundError, ProgrammeView, ReadModel

logger = logging.getLogger("milepost.board")

SECURITY_HEADERS: Final = {
    # Pages load what the worker serves, and nothing else; they contain no inline script or style.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTML, JSON = "text/html", "application/json"
#: Further concurrent requests are refused, so that the board's users never take the time of recording.
MAX_CONCURRENT_REQUESTS: Final = 100
_MIN_GZIP_BYTES: Final = 1024
#: Higher levels of zlib take much longer and make a page only a little smaller.
_GZIP_LEVEL: Final = 4
_MAX_CACHE_BYTES: Final = 16 * 1024 * 1024

#: Returns an error response of a status with a message of one sentence.
ErrorResponder = Callable[[web.Request, HTTPStatus, str], web.Response]
#: Returns a parameter of a request for a programme's view; raises `BadQuery` and `NotFoundError`.
Parameter = Callable[[web.Request, Any], Any]


class BadQuery(web.HTTPBadRequest):
    """An invalid query; the text is one sentence."""


def uncached_response(body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return a response that no client may store."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=body, status=status, content_type=content_type, charset="utf-8", headers=headers)


class ResponseCache:
    """Rendered responses by URL, valid while their entity tag stays the same; the least recently used are evicted."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        #: The entity tag, the body, and the compressed body, which is empty for a small one.
        self._responses = LRUCache[str, tuple[str, bytes, bytes]](
            _MAX_CACHE_BYTES, getsizeof=lambda cached: len(cached[1]) + len(cached[2])
        )

    def handler(
        self, content_type: str, render: Callable[..., Awaitable[bytes]], parameters: Sequence[Parameter], tag: str = ""
    ) -> Handler:
        """Return a handler that responds with what is rendered, or with 304 when the client has it already.

        `render` receives the request, the view of the programme in the path (without one: the version of all
        programmes), and the value of each parameter. `tag` is appended to the entity tags.
        """

        async def handle(request: web.Request) -> web.Response:
            if (programme := request.match_info.get("programme")) is None:
                view: ProgrammeView | str = await self._read_model.get_version()
                etag = f"all-{view}{tag}"
            else:
                view = await self._read_model.get_programme(programme)
                etag = f"{view.etag}{tag}"
            # Before the entity tag is compared: an invalid request must not get a 304.
            values = [read(request, view) for read in parameters]
            # The client asks again each time, which costs little with an entity tag.
            headers = {hdrs.CACHE_CONTROL: "no-cache"}
            if any(client_etag.value in {etag, "*"} for client_etag in request.if_none_match or ()):
                response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
            else:
                cached_etag, body, gzipped = self._responses.get(request.path_qs, ("", b"", b""))
                if cached_etag != etag:
                    body = await render(request, view, *values)
                    gzipped = await self._read_model.run_in_executor(_gzip, body)
                    with suppress(ValueError):  # It is larger than the whole cache.
                        self._responses[request.path_qs] = etag, body, gzipped
                headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
                if gzipped and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
                    body, headers[hdrs.CONTENT_ENCODING] = gzipped, "gzip"
                response = web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)
            response.etag = etag
            return response

        return handle


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0) if len(body) >= _MIN_GZIP_BYTES else b""


def static_file_middleware(versioned_urls: Collection[str]) -> Middleware:
    """Return a middleware that compresses static files and lets clients cache every version of them for good."""
    paths = {url.partition("?")[0] for url in versioned_urls}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.FileResponse):
            if request.path not in paths:
                raise web.HTTPNotFound
            response.enable_compression()
            response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
            if request.path.endswith(".js"):
                response.content_type = "text/javascript"  # Python before 3.12 guesses an obsolete type.
            # A page of another release names another version: its URL must not be cached with this content.
            is_current = request.path_qs in versioned_urls
            response.headers[hdrs.CACHE_CONTROL] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response

    return middleware


class RequestGuard:
    """Limits the number of concurrent requests, and turns exceptions into error responses."""

    def __init__(self, error_response: ErrorResponder, unlimited_paths: Collection[str]) -> None:
        self._error_response, self._unlimited_paths = error_response, unlimited_paths
        self._active_requests = 0

    @web.middleware
    async def error_middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the handler of a request."""
        if request.path in self._unlimited_paths:
            return await handler(request)
        if self._active_requests >= MAX_CONCURRENT_REQUESTS:
            response = self._error_response(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are asking at once.")
            response.headers[hdrs.RETRY_AFTER] = "1"
            return response
        self._active_requests += 1
        try:
            return await handler(request)
        except Exception as error:  # Recording must go on whatever a page does.
            status, message = _error_status_and_message(error)
            if status is HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.exception("%s cannot be shown because of a bug", request.path)
            elif status is HTTPStatus.SERVICE_UNAVAILABLE:
                logger.warning("%s cannot be shown: %s", request.path, one_line(error))
            return self._error_response(request, status, message)
        finally:
            self._active_requests -= 1


def _error_status_and_message(error: Exception) -> tuple[HTTPStatus, str]:
    match error:
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, str(error)
        case BadQuery():
            return HTTPStatus.BAD_REQUEST, error.text or "The query is invalid."
        case web.HTTPMethodNotAllowed():
            return HTTPStatus.METHOD_NOT_ALLOWED, "The board is read-only: use GET."
        case web.HTTPException() if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return HTTPStatus.NOT_FOUND, "There is no such page."
        case DatabaseError() | SQLAlchemyError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; the page comes back with it."
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "This page has a bug; the worker's log has the details."


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add to every response of the worker what a browser may do with it."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
