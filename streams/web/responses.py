"""How the board answers: headers, what is kept as it was rendered, and errors as one sentence."""

import gzip
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.text import one_line
from streams.web.read_model import NotThereError

logger = logging.getLogger("milepost.board")

#: Pages load what the worker serves, and nothing else; no script or style stands in a page.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
SECURITY: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTML, JSON = "text/html", "application/json"
#: More requests than this at once are turned away: nobody's looking may cost those that record their time.
MOST_AT_ONCE: Final = 100
_WORTH_PACKING: Final = 1024
#: Of zlib: beyond it, a page becomes little smaller and takes much longer.
_PACKING: Final = 4
_KEPT_BYTES: Final = 16 * 1024 * 1024

#: Does something off the event loop.
Run = Callable[[Callable[[], bytes]], Awaitable[bytes]]
#: Returns an error as a body, given the status and one sentence.
Sorry = Callable[[web.Request, HTTPStatus, str], web.Response]


class Asked(web.HTTPBadRequest):
    """A question that cannot be answered as it was put; the text is one sentence."""


def tag_matches(request: web.Request, tag: str) -> bool:
    """Return whether whoever asks has this very answer already."""
    return any(found.value in {tag, "*"} for found in request.if_none_match or ())


def answer(body: bytes, kind: str) -> web.Response:
    """Return a body that nobody is to keep."""
    return web.Response(body=body, content_type=kind, charset="utf-8", headers={hdrs.CACHE_CONTROL: "no-store"})


class _Body(NamedTuple):
    tag: str
    body: bytes
    #: The same, packed; empty when that is not worth it.
    packed: bytes


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, _PACKING, mtime=0) if len(body) >= _WORTH_PACKING else b""


def _send(request: web.Request, kept: _Body, kind: str) -> web.Response:
    """Return what is kept; it is to be asked for each time, which costs little with a tag."""
    headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.VARY: hdrs.ACCEPT_ENCODING}
    body = kept.body
    if kept.packed and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        headers[hdrs.CONTENT_ENCODING], body = "gzip", kept.packed
    response = web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
    response.etag = kept.tag
    return response


def unchanged(tag: str) -> web.Response:
    """Return that there is nothing new."""
    response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers={hdrs.CACHE_CONTROL: "no-cache"})
    response.etag = tag
    return response


class Kept:
    """Answers as they were rendered, by address, until their tag is another; the oldest go when there are too many."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._bodies: OrderedDict[str, _Body] = OrderedDict()

    async def give(
        self, request: web.Request, kind: str, tag: str, render: Callable[[], Awaitable[bytes]]
    ) -> web.Response:
        """Answer with what is rendered, or was before; with nothing when the other side has it."""
        if tag_matches(request, tag):
            return unchanged(tag)
        where = request.path_qs
        kept = self._bodies.get(where)
        if kept is None or kept.tag != tag:
            body = await render()
            kept = self._bodies[where] = _Body(tag, body, await self._run(lambda: _pack(body)))
        self._bodies.move_to_end(where)
        size = sum(len(one.body) + len(one.packed) for one in self._bodies.values())
        while size > _KEPT_BYTES:
            gone = self._bodies.popitem(last=False)[1]
            size -= len(gone.body) + len(gone.packed)
        return _send(request, kept, kind)


class Guard:
    """What stands around the board's own handlers: not too many at once, and errors as one sentence."""

    def __init__(self, sorry: Sorry, is_mine: Callable[[web.Request], bool]) -> None:
        self._sorry, self._is_mine = sorry, is_mine
        self._busy = 0

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have a request answered."""
        if not self._is_mine(request):
            return await handler(request)
        if self._busy >= MOST_AT_ONCE:
            response = self._sorry(request, HTTPStatus.SERVICE_UNAVAILABLE, "Too many are asking at once.")
            response.headers[hdrs.RETRY_AFTER] = "1"
            return response
        self._busy += 1
        try:
            return await handler(request)
        except Exception as error:
            if (told := _told(error)) is None:
                # A bug of a page is told, and ends nothing: recording does not depend on whoever looks.
                logger.exception("%s cannot be shown because of a bug", request.path)
                told = HTTPStatus.INTERNAL_SERVER_ERROR, "This page has a bug; the worker's log has the details."
            elif told[0] is HTTPStatus.SERVICE_UNAVAILABLE:
                logger.warning("%s cannot be shown: %s", request.path, one_line(error))
            return self._sorry(request, *told)
        finally:
            self._busy -= 1


def _told(error: Exception) -> tuple[HTTPStatus, str] | None:
    """Return what an error is to whoever asked; None for a bug."""
    match error:
        case NotThereError():
            return HTTPStatus.NOT_FOUND, str(error)
        case Asked():
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
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)


def encode(value: object) -> bytes:
    """Return a value as JSON."""
    return msgspec.json.encode(value)


def whole_number(request: web.Request, name: str, default: int, most: int, least: int = 0) -> int:
    """Return a number that the query names; raises `Asked`."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < len(str(1 << 63)) and least <= int(text) <= most):
        raise Asked(text=f"{name} is a number from {least} to {most}.")
    return int(text)
