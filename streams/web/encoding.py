"""Chooses a response's content coding as RFC 9110, section 12.5.3, says."""

import gzip
from typing import Final

from aiohttp import hdrs, web

#: Higher levels of zlib take much longer and make a page only a little smaller.
GZIP_LEVEL: Final = 4


def compress(body: bytes) -> bytes:
    """Return a compressed body."""
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def prefers_gzip(request: web.BaseRequest) -> bool:
    """Return whether to compress a response. Raises `HTTPNotAcceptable` for a client that takes it in neither form."""
    weights: dict[str, float] = {}
    for item in ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])).lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        weights[coding.removeprefix("x-")] = _weight(parameters)
    gzip_weight = weights.get("gzip", weights.get("*", 0.0))
    identity_weight = weights.get("identity", weights.get("*"))
    if gzip_weight > 0 and gzip_weight >= weights.get("identity", 0.0):
        return True
    if identity_weight == 0:
        raise web.HTTPNotAcceptable
    return False


def _weight(parameters: list[str]) -> float:
    """Return the weight of a coding; a weight that cannot be read is 0."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
