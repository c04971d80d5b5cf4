"""Static files, kept in memory: clients may cache each version of them for good."""

import asyncio
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from streams.web import urls
from streams.web.encoding import compress, prefers_gzip

_CONTENT_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class _StaticFile(NamedTuple):
    body: bytes
    content_type: str
    version: str


class StaticFiles:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: _read(path) for path in sorted(folder.iterdir()) if path.is_file()}
        self._compressed = cache(lambda name: compress(self._files[name].body))

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each file, which contains its version."""
        return {name: f"{urls.STATIC_PATH.format(name=name)}?v={file.version}" for name, file in self._files.items()}

    async def serve(self, request: web.Request) -> web.Response:
        """Return a file."""
        name = request.match_info["name"]
        if (file := self._files.get(name)) is None:
            raise web.HTTPNotFound
        # A page of another release names another version: its URL must not be cached with this content.
        is_current = request.query.get("v") == file.version
        headers = {
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if is_current else "no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
        }
        if any(etag.value in {file.version, "*"} for etag in request.if_none_match or ()):
            response = web.Response(status=304, headers=headers)
        else:
            body = file.body
            if prefers_gzip(request):
                body, headers[hdrs.CONTENT_ENCODING] = await asyncio.to_thread(self._compressed, name), "gzip"
            response = web.Response(body=body, content_type=file.content_type, headers=headers)
        response.etag = file.version
        return response


def _read(path: Path) -> _StaticFile:
    body = path.read_bytes()
    content_type = _CONTENT_TYPES.get(path.suffix, "text/plain")
    return _StaticFile(body, content_type, blake2b(body, digest_size=12).hexdigest())
