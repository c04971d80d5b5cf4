"""What a client asked wrongly, or too often."""

from aiohttp import web


class NotFoundError(Exception):
    """A programme or milestone does not exist; the message is one sentence for users."""


class BadQuery(web.HTTPBadRequest):
    """An invalid query; the text is one sentence."""


class TooManyRequests(web.HTTPServiceUnavailable):
    """No more of this kind are answered at once; the text is one sentence.

    The client is told after a pause: who asks again at once, whatever the answer, costs little.
    """

    def __init__(self, *, text: str, pause_seconds: float = 1.0, retry_seconds: int = 1) -> None:
        super().__init__(text=text)
        self.pause_seconds = pause_seconds
        #: After which the client may ask again.
        self.retry_seconds = retry_seconds
