"""Tells a system: each change as a CloudEvent in structured mode, signed, over HTTP."""

import os
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

from models.text import one_line
from streams.clock import Clock
from streams.notify.addresses import CheckedResolver, RefusedAddressError
from streams.notify.deliveries import MAX_UNDER_WAY, Answer, Outcome
from streams.notify.signatures import sign
from streams.notify.targets import Target

CONTENT_TYPE: Final = "application/cloudevents+json"
#: How long a system may take to answer: Standard Webhooks recommends 15 to 30 s.
ANSWER_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 5.0
#: Of an answer, whose content says nothing to us, so much is read that the connection can be used again.
_MAX_ANSWER_BYTES: Final = 16 * 1024
_MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
#: Answers after which the same request may succeed, besides all of 500 and more.
_TRY_AGAIN: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_SUCCESS: Final = range(200, 300)
_SERVER_ERROR: Final = 500


class SignedEvent(NamedTuple):
    """What a system is sent."""

    id: str
    content: bytes


class WebhookSender:
    """Sends to one system; to be used within a running event loop, and closed."""

    def __init__(self, target: Target, clock: Clock, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._target, self._clock = target, clock
        connector = TCPConnector(
            resolver=None if target.is_private_allowed else CheckedResolver(),
            # Each connection is made to an address that was checked for it.
            use_dns_cache=False,
            limit=MAX_UNDER_WAY,
        )
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=answer_seconds, sock_connect=_CONNECT_SECONDS),
            headers={hdrs.USER_AGENT: f"milepost/{version('milepost')}", hdrs.CONTENT_TYPE: CONTENT_TYPE},
            auto_decompress=False,
            max_line_size=_MAX_ANSWER_BYTES,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(self, event: SignedEvent) -> Answer:
        """Send an event, once."""
        headers = sign(self._target.secrets, event.id, round(self._clock.now()), event.content)
        try:
            async with self._session.post(
                self._target.url, data=event.content, headers=headers, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get(hdrs.RETRY_AFTER, "")
                with suppress(ClientError, TimeoutError):
                    await response.content.read(_MAX_ANSWER_BYTES)
        except TimeoutError:
            return Answer(Outcome.FAILED, "no answer in time")
        except (ClientError, OSError, ValueError) as error:
            return Answer(Outcome.FAILED, _describe(error))
        return self._judge(status, retry_after)

    def _judge(self, status: int, retry_after: str) -> Answer:
        detail = f"the answer is {status}"
        if status in _SUCCESS:
            return Answer(Outcome.DELIVERED)
        if status == HTTPStatus.GONE:
            return Answer(Outcome.SWITCHED_OFF, detail)
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            return Answer(Outcome.FAILED, detail, self._parse_retry_after(retry_after))
        return Answer(Outcome.PASSED_OVER, detail)

    def _parse_retry_after(self, text: str) -> float:
        """Return the seconds that `Retry-After` asks for; 0 for what cannot be read."""
        seconds = 0.0
        if text.isascii() and text.isdigit():
            seconds = float(text[:9])
        else:
            with suppress(ValueError, TypeError):
                when = parsedate_to_datetime(text)
                seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - self._clock.now()
        return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _describe(error: Exception) -> str:
    """Return why there is no answer, without the address, which may be a secret."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    number = getattr(cause, "errno", None) or 0
    # asyncio's text repeats the call and the address. Errors of names have negative numbers, and texts that say why.
    text = os.strerror(number) if number > 0 else getattr(cause, "strerror", None) or str(cause)
    return one_line(f"it cannot be reached: {text or type(cause).__name__}")


async def find_refusal(target: Target) -> str:
    """Return why nothing is sent to the address of a target, as its name is resolved now; empty where it may be.

    A name that cannot be resolved now may be later: each connection asks again.
    """
    if target.is_private_allowed:
        return ""
    try:
        await CheckedResolver().resolve(urlsplit(target.url).hostname or "")
    except RefusedAddressError as error:
        return f"{error}: say private = true if it is meant"
    except OSError:
        pass
    return ""
