"""The files that pages load: read once, named by what is in them, so that a browser keeps each for as long as it is so.

Nothing comes from elsewhere. ECharts is a copy of what npm has; `static/VENDORED.md` says which.
"""

import gzip
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import hdrs, web

_CONTENT_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: What pages ask for, and nothing else in the folder.
STATIC_FILE_NAMES: Final = ("board.css", "board.js", "board.svg", "charts.js", "echarts.simple.min.js")
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


class StaticFile(NamedTuple):
    """A file as it is sent."""

    content_type: str
    digest: str
    body: bytes
    gzipped: bytes


class StaticFiles:
    """The files, and their addresses."""

    def __init__(self) -> None:
        folder = files("streams.web") / "static"
        self._files = {name: _load_static_file(name, (folder / name).read_bytes()) for name in STATIC_FILE_NAMES}

    @property
    def digest(self) -> str:
        """What names all of them as they are."""
        return sha256("".join(file.digest for file in self._files.values()).encode()).hexdigest()[:12]

    def url(self, name: str) -> str:
        """Return where a page finds a file."""
        return f"/static/{self._files[name].digest}/{name}"

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with a file."""
        file = self._files.get(request.match_info["name"])
        if file is None or request.match_info["digest"] != file.digest:
            raise web.HTTPNotFound
        headers = {hdrs.CACHE_CONTROL: _IMMUTABLE, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        body = file.body
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            headers[hdrs.CONTENT_ENCODING], body = "gzip", file.gzipped
        return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=headers)


def _load_static_file(name: str, body: bytes) -> StaticFile:
    kind = _CONTENT_TYPES[name.rpartition(".")[2]]
    return StaticFile(kind, sha256(body).hexdigest()[:12], body, gzip.compress(body, 9, mtime=0))
