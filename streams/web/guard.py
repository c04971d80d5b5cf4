"""Checks a request before its handler runs, limits how many run at once, and turns exceptions into error responses."""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError, is_unreachable
from models.text import one_line, printable
from streams.web.errors import BadQuery, NotFoundError, TooManyRequests

logger = logging.getLogger("milepost.web")

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
    # aiohttp would name its version and Python's.
    hdrs.SERVER: "milepost",
}
#: Further concurrent requests are refused, so that the board's users never take the time of recording.
MAX_CONCURRENT_REQUESTS: Final = 100
_MAX_LOGGED_PATH: Final = 200
_HOST: Final = re.compile(r"\[([0-9a-f:.]{2,45})\](?::\d{1,5})?|([a-z0-9_.-]{1,254})(?::\d{1,5})?")

#: Counts what a client did wrong, by kind: `milepost_http_errors_total`.
CountHttpError = Callable[[str], None]
#: Returns an error response of a status with a message of one sentence.
ErrorResponder = Callable[[web.BaseRequest, int, str], web.Response]


class ConcurrencyLimit:
    """Allows so many to be inside at once; raises `TooManyRequests` for further ones."""

    def __init__(self, limit: int, message: str) -> None:
        self.limit, self._message = limit, message
        self.active = 0

    def __enter__(self) -> None:
        if self.active >= self.limit:
            raise TooManyRequests(text=self._message)
        self.active += 1

    def __exit__(self, _type: type[BaseException] | None, _value: object, _traceback: TracebackType | None) -> None:
        self.active -= 1


def plain_error_response(_request: web.BaseRequest, status: int, message: str) -> web.Response:
    """Return an error as a line of text."""
    return web.Response(text=f"{message}\n", status=status, headers={hdrs.CACHE_CONTROL: "no-store"})


async def _add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)


class GuardedApplication:
    """A web application that answers only to known names, and only what its routes declare."""

    def __init__(self, hosts: Collection[str] | None, count_error: CountHttpError) -> None:
        #: None for any: where every request has a secret of its own, the name does not matter.
        self._hosts, self._count_error = hosts, count_error
        #: Those of the board are pages, or JSON.
        self.error_response: ErrorResponder = plain_error_response
        #: To what is no HTTP.
        self.protocol_error_response: ErrorResponder = plain_error_response
        self._limit = ConcurrencyLimit(MAX_CONCURRENT_REQUESTS, "Too many are asking at once.")
        #: By the pattern of a path: the names of the query's parameters, and those that may be repeated.
        self._parameters: dict[str, Collection[str]] = {}
        self._repeatable: dict[str, Collection[str]] = {}
        #: Monitoring gets an answer under any name and from a busy board; streams have a limit of their own.
        self._any_host: set[str] = set()
        self._unlimited: set[str] = set()
        #: Paths whose handlers check the query themselves.
        self._any_query: set[str] = set()
        self.application = web.Application(middlewares=[self._middleware])
        self.application.on_response_prepare.append(_add_security_headers)

    def add_get(
        self, path: str, handler: Handler, parameters: Collection[str] = (), repeatable: Collection[str] = ()
    ) -> None:
        """Serve a path, with the query parameters that its handler reads."""
        self.application.router.add_get(path, handler)
        self._parameters[path], self._repeatable[path] = parameters, repeatable

    def add_probe(self, path: str, handler: Handler) -> None:
        """Serve a path under any name, however busy the board is."""
        self.add_get(path, handler)
        self._any_host.add(path)
        self._unlimited.add(path)

    def add_stream(self, path: str, handler: Handler, parameters: Collection[str]) -> None:
        """Serve a path whose handler has a limit of its own."""
        self.add_get(path, handler, parameters)
        self._unlimited.add(path)

    def add_route(self, method: str, path: str, handler: Handler, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        """Serve a method of a path whose handler checks the query, and has a limit of its own."""
        self.application.router.add_route(method, path, handler, **options)
        self._any_query.add(path)
        self._unlimited.add(path)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        pattern = "" if resource is None else resource.canonical
        try:
            if self._hosts is not None and pattern not in self._any_host:
                self._check_host(request, self._hosts)
            if resource is not None and pattern not in self._any_query:
                self._check_parameters(request, pattern)
            if pattern in self._unlimited:
                return await handler(request)
            with self._limit:
                return await handler(request)
        except Exception as error:  # noqa: BLE001 - Recording must go on whatever a page does.
            if isinstance(error, TooManyRequests):
                await asyncio.sleep(error.pause_seconds)
            response = self._respond_to(error, request)
            # The route of an unknown path holds its error, and so would keep request and connection in memory.
            error.__traceback__ = None
            return response

    @staticmethod
    def _check_host(request: web.Request, hosts: Collection[str]) -> None:
        # A page elsewhere can have its own name point here, and would then read the board as its own.
        names = request.headers.getall(hdrs.HOST, [])
        if len(names) != 1:
            raise BadQuery(text="A request names its host once.")
        # The name in an absolute URL counts instead of the header's.
        parts = _HOST.fullmatch((request.host or "").lower())
        name = (parts[1] or parts[2]).removesuffix(".") if parts is not None else ""
        if name not in hosts and not _is_address(name):
            raise web.HTTPMisdirectedRequest

    def _check_parameters(self, request: web.Request, pattern: str) -> None:
        known = self._parameters.get(pattern, ())
        for name, count in Counter(name for name, _ in request.query.items()).items():
            if name not in known:
                names = f"Parameters are {', '.join(known)}." if known else "There are no parameters here."
                raise BadQuery(text=f"The query has an unknown parameter. {names}")
            if count > 1 and name not in self._repeatable[pattern]:
                raise BadQuery(text=f"{name} is given once.")

    def _respond_to(self, error: Exception, request: web.Request) -> web.Response:
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            raise error  # The client is gone.
        status, message = _status_and_message(error)
        path = printable(request.path[:_MAX_LOGGED_PATH])
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s cannot be shown because of a bug", path, exc_info=error)
        elif isinstance(error, (DatabaseError, SQLAlchemyError)):
            # An outage is logged by what asks the database again and again.
            level = logging.DEBUG if is_unreachable(error) else logging.WARNING
            logger.log(level, "%s cannot be shown: %s", path, one_line(error))
        else:
            self._count_error(_ERROR_KINDS.get(status, "bad-request"))
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the response is sent already.")
        response = self.error_response(request, status, message)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers[hdrs.RETRY_AFTER] = str(error.retry_seconds if isinstance(error, TooManyRequests) else 1)
        if isinstance(error, web.HTTPMethodNotAllowed):
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response


_ERROR_KINDS: Final = {
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.FORBIDDEN: "key",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.MISDIRECTED_REQUEST: "host",
    HTTPStatus.SERVICE_UNAVAILABLE: "too-many",
}


_SENTENCES: Final = {
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.FORBIDDEN: "This address needs its key: the page of the programme has it.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Everything here only reads: use GET.",
    HTTPStatus.MISDIRECTED_REQUEST: "This server does not answer to this name; MILEPOST_WEB_HOSTS adds names.",
}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _status_and_message(error: Exception) -> tuple[HTTPStatus, str]:
    match error:
        case NotFoundError():
            return HTTPStatus.NOT_FOUND, str(error)
        case BadQuery() | TooManyRequests():
            return HTTPStatus(error.status), error.text or "The query is invalid."
        case web.HTTPException() if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            status = HTTPStatus(error.status)
            return status, _SENTENCES.get(status, f"{status.phrase}.")
        case DatabaseError() | SQLAlchemyError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; the page comes back with it."
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "This page has a bug; the log has the details."
