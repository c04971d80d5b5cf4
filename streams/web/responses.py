"""The board's cached responses, and those that no client may store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from cachetools import LRUCache, TTLCache

from models.domain.assumptions import AssumptionError
from models.domain.schedule import MilestoneStatus
from streams.web.encoding import compress, prefers_gzip
from streams.web.errors import BadQuery
from streams.web.overview import OverviewVersion
from streams.web.picture_parameters import ASSUME, PictureRequest, read_picture
from streams.web.programme_view import ProgrammeView
from streams.web.read_model import ReadModel

HTML, JSON = "text/html", "application/json"
#: What is kept of rendered responses; each counts as so many bytes at least, which bounds their number.
_MAX_CACHE_BYTES: Final = 16 * 1024 * 1024
_MIN_ENTRY_BYTES: Final = 8 * 1024
#: How long an unfinished page is served to whoever asks for the same, and how many of them are kept.
_UNFINISHED_SECONDS: Final = 2.0
_MAX_UNFINISHED: Final = 20
#: Responses that are rendered at once.
_MAX_RENDERING: Final = 2

#: Returns a parameter of a request for a programme's view; raises `BadQuery` and `NotFoundError`.
Parameter = Callable[[web.Request, Any], Any]


class CachedResponse(NamedTuple):
    """A rendered response."""

    etag: str
    body: bytes
    compressed: bytes


class UnfinishedPage(Exception):  # noqa: N818 - no error: what is there already is shown
    """A page of which a part is still being calculated: it is shown as it is, and kept by nobody."""

    def __init__(self, body: bytes) -> None:
        super().__init__("a part of the page is still being calculated")
        self.body = body


def uncached_response(body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return a response that no client may store."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=body, status=status, content_type=content_type, charset="utf-8", headers=headers)


class ResponseCache:
    """Rendered responses by path and parameters, valid while their entity tag stays the same.

    The least recently used are evicted. Two are rendered at once, and each of the two rests for as long as it worked:
    who asks for ever new pages takes no more than one core.
    """

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        self._responses = LRUCache[tuple[Any, ...], CachedResponse](
            _MAX_CACHE_BYTES,
            getsizeof=lambda cached: max(_MIN_ENTRY_BYTES, len(cached.body) + len(cached.compressed)),
        )
        self._unfinished = TTLCache[tuple[Any, ...], tuple[str, UnfinishedPage]](_MAX_UNFINISHED, _UNFINISHED_SECONDS)
        self._rendering = asyncio.Semaphore(_MAX_RENDERING)

    def handler(  # noqa: PLR0913 - each is said by name, or comes first
        self,
        content_type: str,
        render: Callable[..., Awaitable[bytes]],
        parameters: Sequence[Parameter],
        get_tag: Callable[[], str] = str,
        *,
        is_form: bool = False,
        is_history: bool = False,
    ) -> Handler:
        """Return a handler that responds with what is rendered, or with 304 when the client has it already.

        `render` receives the request, the view of the programme in the path (without one: the version of all
        programmes), and the value of each parameter. The entity tags end with what `get_tag` returns. With `is_form`,
        the empty fields of a form count as absent. `is_history` says that an answer is as seldom asked for again as
        another picture than the present, and as limited.
        """

        async def handle(request: web.Request) -> web.Response:
            asked = read_picture(request, self._read_model.today(), is_form=is_form)
            if asked.is_present and not is_history:
                return await respond(request, asked)
            try:
                return await self._read_model.pictures.run(lambda: respond(request, asked))
            except AssumptionError as error:
                raise BadQuery(text=f"{ASSUME}: {error}.") from None

        async def respond(request: web.Request, asked: PictureRequest) -> web.Response:
            view: ProgrammeView | OverviewVersion
            if (programme := request.match_info.get("programme")) is None:
                view = await self._read_model.get_version(asked)
            else:
                view = await self._read_model.get_view(programme, asked)
            etag = f"{view.etag}{get_tag()}"
            # Before the entity tag is compared: an invalid request must not get a 304.
            values = [read(request, view) for read in parameters]
            # The client asks again each time, which costs little with an entity tag.
            headers = {hdrs.CACHE_CONTROL: "no-cache"}
            # What all programmes assume is checked when they are read.
            is_checked = programme is not None or not asked.picture.assumptions
            if is_checked and any(client.value in {etag, "*"} for client in request.if_none_match or ()):
                response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
            else:
                key = (request.path, *map(_cache_key, values)) if asked.is_present and not is_history else None
                try:
                    cached = await self._render(key, etag, lambda: render(request, view, *values))
                except UnfinishedPage as page:
                    return uncached_response(page.body, content_type)
                body = cached.body
                headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
                if prefers_gzip(request):
                    body, headers[hdrs.CONTENT_ENCODING] = cached.compressed, "gzip"
                response = web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)
            response.etag = etag
            return response

        return handle

    async def _render(
        self, key: tuple[Any, ...] | None, etag: str, render: Callable[[], Awaitable[bytes]]
    ) -> CachedResponse:
        """Return what is cached under a key, or is rendered; without a key, that waits for no others."""
        if key is None:
            # The picture of a day seldom asked for: a turn limits it, and its links are the client's own.
            body = await render()
            return CachedResponse(etag, body, await self._read_model.run_in_executor(compress, body))
        cached = self._responses.get(key)
        if cached is None or cached.etag != etag:
            self._raise_if_unfinished(key, etag)
            async with self._paced():
                self._raise_if_unfinished(key, etag)
                try:
                    body = await render()
                except UnfinishedPage as page:
                    self._unfinished[key] = etag, page
                    raise
                cached = CachedResponse(etag, body, await self._read_model.run_in_executor(compress, body))
            with suppress(ValueError):  # It is larger than the whole cache.
                self._responses[key] = cached
        return cached

    def _raise_if_unfinished(self, key: tuple[Any, ...], etag: str) -> None:
        """Raise `UnfinishedPage` if another request was answered with it just now."""
        known_etag, page = self._unfinished.get(key, (None, None))
        if page is not None and known_etag == etag:
            raise UnfinishedPage(page.body)

    @asynccontextmanager
    async def _paced(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        await self._rendering.acquire()
        started = loop.time()
        try:
            yield
        finally:
            loop.call_later(loop.time() - started, self._rendering.release)


def _cache_key(value: object) -> object:
    """Return what names a parameter's value, and keeps nothing else in memory."""
    if isinstance(value, MilestoneStatus):
        return value.key
    return tuple(map(_cache_key, value)) if isinstance(value, list) else value
