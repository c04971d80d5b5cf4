"""Content codings: what a client takes, as RFC 9110 says."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from streams.web.encoding import prefers_gzip


def request_with(accept_encoding: str | None) -> web.BaseRequest:
    return make_mocked_request("GET", "/", {} if accept_encoding is None else {"Accept-Encoding": accept_encoding})


@pytest.mark.parametrize(
    "header",
    [
        "gzip",
        "GZIP",
        " gzip ",
        "x-gzip",
        "deflate, gzip;q=0.5",
        "br,gzip",
        "*",
        "*;q=0.1",
        "gzip; q=1.0",
        "gzip ; Q = 1",
    ],
)
def test_who_takes_gzip_gets_gzip(header: str) -> None:
    assert prefers_gzip(request_with(header))


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "deflate", "br", "identity", "gzip;q=0", "gzip; q=0.000", "*;q=1, gzip;q=0", "gzipped", "notgzip"),
        *("gzip;q=x", "gzip;q=nan", "gzip;q=-1", "gzip;q=2", "identity, gzip;q=0.5", "identity, *;q=0"),
    ],
)
def test_who_takes_no_gzip_or_something_rather_gets_the_plain_page(header: str | None) -> None:
    assert not prefers_gzip(request_with(header))


@pytest.mark.parametrize("header", ["identity;q=0", "*;q=0", "identity;q=0, gzip;q=0", "br, *;q=0"])
def test_who_takes_neither_is_told(header: str) -> None:
    with pytest.raises(web.HTTPNotAcceptable):
        prefers_gzip(request_with(header))


@pytest.mark.parametrize("header", ["identity;q=0, gzip", "*;q=0, gzip", "identity;q=0, *"])
def test_who_takes_gzip_alone_gets_gzip(header: str) -> None:
    assert prefers_gzip(request_with(header))
