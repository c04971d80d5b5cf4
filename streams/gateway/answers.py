"""The answers of `POST /events`: contract, section 9. What refuses has problem details, RFC 9457."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import hdrs, web

from models.domain.events import RejectionReason
from streams.gateway.acceptance import RefusedEvent
from streams.gateway.content_modes import MAX_BATCH_EVENTS, MAX_REQUEST_BYTES
from streams.gateway.metrics import Outcome
from streams.gateway.tokens import Token

PROBLEM_TYPE: Final = "application/problem+json"
#: When a client may try again that met a Kafka which does not answer, or no room for its body.
KAFKA_RETRY_SECONDS: Final = 5
NO_ROOM_RETRY_SECONDS: Final = 1
_SENTENCES: Final = {
    HTTPStatus.NOT_FOUND: "Events go to POST /events; there is nothing else.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Events are sent with POST.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The gateway has a bug; its log has the details. Send the same again.",
}


class Answer(NamedTuple):
    """An answer, and what it says became of the request."""

    outcome: Outcome
    response: web.Response
    #: Whether the client waits for it, so that one that goes on at once takes little time.
    is_held_back: bool = False


class RefusalError(Exception):
    """Carries the answer that refuses a request."""

    def __init__(self, outcome: Outcome, response: web.Response, *, is_held_back: bool = False) -> None:
        super().__init__(outcome)
        self.answer = Answer(outcome, response, is_held_back)


def problem(
    status: int, detail: str, events: Sequence[RefusedEvent] | None = None, retry_after: int | None = None
) -> web.Response:
    """Return an answer that refuses a request, and names each refused event if any was looked at."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    if events is not None:
        document["events"] = msgspec.to_builtins(events)
    headers = {hdrs.CONTENT_TYPE: PROBLEM_TYPE, hdrs.CACHE_CONTROL: "no-store"}
    if retry_after is not None:
        headers[hdrs.RETRY_AFTER] = str(retry_after)
    # In ASCII: what is quoted may hold anything.
    return web.Response(body=json.dumps(document).encode(), status=status, headers=headers)


def problem_response(_request: web.BaseRequest, status: int, message: str) -> web.Response:
    """Return the answer to what is no request to publish."""
    return problem(status, _SENTENCES.get(HTTPStatus(status), message))


def unauthorized(*, has_credentials: bool) -> RefusalError:
    """Return the refusal of a request without a valid token."""
    if has_credentials:
        challenge, detail = 'Bearer error="invalid_token"', "This token is not valid."
    else:
        challenge, detail = "Bearer", "Say who you are with the header Authorization: Bearer <token>."
    response = problem(HTTPStatus.UNAUTHORIZED, detail)
    response.headers[hdrs.WWW_AUTHENTICATE] = challenge
    return RefusalError(Outcome.UNAUTHORIZED, response)


def bad_request(detail: str, refused: Sequence[RefusedEvent] = (), *, must_close: bool = False) -> RefusalError:
    """Return the refusal of a request that is not as the binding says."""
    response = problem(HTTPStatus.BAD_REQUEST, detail, refused)
    if must_close:
        response.force_close()
    return RefusalError(Outcome.REFUSED, response)


def unsupported_media(detail: str) -> RefusalError:
    """Return the refusal of a media type."""
    response = problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    response.headers[hdrs.ACCEPT_ENCODING] = "identity"
    return RefusalError(Outcome.UNSUPPORTED, response)


def body_too_large(limit: int) -> RefusalError:
    """Return the refusal of a body; what remains of it is not read."""
    what = "A request" if limit == MAX_REQUEST_BYTES else "An event"
    response = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{what} has at most {limit // 1024} KiB.")
    response.force_close()
    return RefusalError(Outcome.TOO_LARGE, response)


def body_too_slow() -> RefusalError:
    """Return the refusal of a body that does not arrive."""
    response = problem(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.")
    response.force_close()
    return RefusalError(Outcome.TOO_SLOW, response)


def small_chunks() -> RefusalError:
    """Return the refusal of a body in chunks so small that reading them costs more than the events."""
    response = problem(
        HTTPStatus.BAD_REQUEST,
        "The body comes in chunks that are too small: send Content-Length, or larger chunks.",
    )
    response.force_close()
    return RefusalError(Outcome.REFUSED, response, is_held_back=True)


def rate_limited(token: Token, seconds: int) -> RefusalError:
    """Return the refusal of a token above its rate."""
    detail = f"This token may publish {token.rate:g} events a second."
    response = problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=seconds)
    return RefusalError(Outcome.RATE_LIMITED, response, is_held_back=True)


def unavailable(detail: str, retry_after: int) -> RefusalError:
    """Return the refusal of events of which it is not known that Kafka has them."""
    response = problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=retry_after)
    return RefusalError(Outcome.UNAVAILABLE, response)


def events_refused(refused: Sequence[RefusedEvent], count: int) -> RefusalError:
    """Return the refusal of a request of so many events, some of which are not accepted."""
    events = "event is" if count == 1 else "events are"
    detail = f"{len(refused)} of {count} {events} refused; none is published."
    if count > MAX_BATCH_EVENTS:
        detail += f" Those behind the first {MAX_BATCH_EVENTS} were not looked at: so many cannot be valid."
    reasons = {event.reason for event in refused}
    if RejectionReason.TOO_LARGE in reasons:
        return RefusalError(Outcome.TOO_LARGE, problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, refused))
    if RejectionReason.SOURCE_NOT_ALLOWED in reasons:
        return RefusalError(Outcome.FORBIDDEN, problem(HTTPStatus.FORBIDDEN, detail, refused))
    return RefusalError(Outcome.REFUSED, problem(HTTPStatus.BAD_REQUEST, detail, refused))
