"""What a client asked wrongly, or too often."""

from aiohttp import web


class NotFoundError(Exception):
    """A programme or milestone does not exist; the message is one sentence for users."""


class BadQuery(web.HTTPBadRequest):
    """An invalid query; the text is one sentence."""


class TooManyRequests(web.HTTPServiceUnavailable):
    """No more of this kind are answered at once; the text is one sentence."""
