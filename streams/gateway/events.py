"""`POST /events`: takes CloudEvents over HTTP."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from time import monotonic as _now
from typing import Final

from aiohttp import hdrs, web

from models.domain.events import MAX_VALUE_BYTES, AllowedSources, RejectionReason
from streams.clock import Clock
from streams.gateway import answers
from streams.gateway.acceptance import CheckedRecord, RefusedEvent, check_records
from streams.gateway.answers import Answer, RefusalError
from streams.gateway.bodies import BodyReader, BodyTooLargeError, BodyTooSlowError, HeldBody, NoRoomError
from streams.gateway.content_modes import (
    MAX_BATCH_EVENTS,
    MAX_REQUEST_BYTES,
    ContentMode,
    Record,
    UnreadableEventError,
    UnsupportedMediaError,
    content_mode,
    read_batch,
    read_binary,
    read_structured,
)
from streams.gateway.json_arrays import NotAnArrayError
from streams.gateway.metrics import NO_TOKEN, GatewayMetrics, Outcome
from streams.gateway.producer import UnavailableError
from streams.gateway.rates import RateLimiter
from streams.gateway.tokens import Token, TokenTable
from streams.web.guard import GuardedApplication
from streams.web.small_chunks import SmallChunksError

EVENTS_PATH: Final = "/events"
#: How long the answer to a client above its rate is held back, so that one that never waits takes little time; longer
#: where a token has so many connections that more such answers a second would be due.
_HOLD_BACK_SECONDS: Final = 0.5
_HELD_BACK_PER_SECOND: Final = 200

_JSON_HEADERS: Final = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}

Publish = Callable[[Sequence[CheckedRecord]], Awaitable[None]]


class EventsEndpoint:
    """Takes events over HTTP."""

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        tokens: Callable[[], TokenTable],
        publish: Publish,
        metrics: GatewayMetrics,
        clock: Clock,
        allowed_sources: AllowedSources,
        bodies: BodyReader,
    ) -> None:
        self._tokens, self._publish, self._metrics, self._clock = tokens, publish, metrics, clock
        self._allowed_sources, self._bodies = allowed_sources, bodies
        self._rates = RateLimiter()
        #: By name of a token.
        self._held_back: Counter[str] = Counter()
        self.note_tokens()

    def add_routes(self, guarded: GuardedApplication) -> None:
        """Serve the endpoint."""
        guarded.add_route(hdrs.METH_POST, EVENTS_PATH, self.post, expect_handler=_ask_for_nothing)
        guarded.add_route(hdrs.METH_OPTIONS, EVENTS_PATH, self.options)

    def note_tokens(self) -> None:
        """Count for the tokens that are in force, and forget others."""
        names = {token.name for token in self._tokens().tokens}
        self._metrics.expose_tokens(names)
        self._rates.forget_others(names)

    async def post(self, request: web.Request) -> web.Response:
        """Answer a request to publish."""
        began, name = _now(), NO_TOKEN
        try:
            # Before anything else, the body above all: who has no token learns and costs nothing.
            token = self._authorize(request)
            name = token.name
            answer = await self._answer(request, token)
        except RefusalError as refusal:
            answer = refusal.answer
        if answer.is_held_back:
            # Here, where nothing refers to a body any more.
            await self._hold_back(request, name)
        self._metrics.count_request(name, answer.outcome, _now() - began)
        return answer.response

    async def options(self, request: web.Request) -> web.Response:
        """Answer the handshake of CloudEvents' webhooks: whoever has a token may send events."""
        headers: dict[str, str] = {hdrs.ALLOW: "OPTIONS, POST"}
        if (origin := request.headers.get("WebHook-Request-Origin")) is not None:
            token = self._find_token(request)
            headers["WebHook-Allowed-Origin"] = origin
            if "WebHook-Request-Rate" in request.headers:
                # Requests a minute; an asterisk means no limit.
                rate = None if token is None else token.rate
                headers["WebHook-Allowed-Rate"] = "*" if rate is None else str(max(1, int(rate * 60)))
            self._metrics.count_request(NO_TOKEN if token is None else token.name, Outcome.HANDSHAKE, 0.0)
        return web.Response(headers=headers)

    def _find_token(self, request: web.Request) -> Token | None:
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        return self._tokens().find(secret.strip()) if scheme.lower() == "bearer" else None

    def _authorize(self, request: web.Request) -> Token:
        if (token := self._find_token(request)) is None:
            raise answers.unauthorized(has_credentials=hdrs.AUTHORIZATION in request.headers)
        return token

    async def _answer(self, request: web.Request, token: Token) -> Answer:
        _respect_rate(token, self._rates.seconds_to_wait(token, _now()))
        with self._bodies.hold() as held:
            try:
                is_check, mode = _is_check(request), _find_mode(request)
                records = self._read_records(mode, request, await self._read_body(request, mode, held), token)
            except RefusalError:
                # Of a flood, requests without events take time too.
                self._rates.charge(token, _now(), 1)
                raise
            _respect_rate(token, self._rates.take(token, _now(), len(records)))
            accepted = await self._check(records, token)
            if is_check:
                self._metrics.count_events(token.name, Outcome.CHECKED, len(accepted))
                return Answer(Outcome.CHECKED, _json_response("valid", len(accepted), HTTPStatus.OK))
            return await self._publish_accepted(accepted, token)

    async def _hold_back(self, request: web.Request, name: str) -> None:
        self._held_back[name] += 1
        try:
            seconds = max(_HOLD_BACK_SECONDS, self._held_back[name] / _HELD_BACK_PER_SECOND)
            await self._bodies.discard(request, seconds)
        finally:
            self._held_back[name] -= 1
            if not self._held_back[name]:
                del self._held_back[name]

    async def _read_body(self, request: web.Request, mode: ContentMode, held: HeldBody) -> bytes:
        limit = MAX_REQUEST_BYTES if mode is ContentMode.BATCH else MAX_VALUE_BYTES
        if (request.content_length or 0) > limit:
            raise answers.body_too_large(limit)
        try:
            return await self._bodies.read(request, held, limit)
        except BodyTooLargeError:
            raise answers.body_too_large(limit) from None
        except BodyTooSlowError:
            raise answers.body_too_slow() from None
        except NoRoomError:
            detail = "The gateway waits for Kafka with all that it can hold: send the same again."
            raise answers.unavailable(detail, answers.NO_ROOM_RETRY_SECONDS) from None
        except SmallChunksError:
            raise answers.small_chunks() from None
        except web.RequestPayloadError:
            raise answers.bad_request("The body is no valid HTTP.", must_close=True) from None

    def _read_records(self, mode: ContentMode, request: web.Request, body: bytes, token: Token) -> Sequence[Record]:
        try:
            if mode is ContentMode.STRUCTURED:
                return [read_structured(body)]
            if mode is ContentMode.BINARY:
                content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
                return [read_binary(content_type, list(request.headers.items()), body)]
            if records := read_batch(body):
                return records
        except UnreadableEventError as error:
            raise self._refusal(token, [RefusedEvent(0, None, error.reason, error.detail)], 1) from None
        except NotAnArrayError as error:
            index, detail = error.index, str(error)
            refused = [] if index is None else [RefusedEvent(index, None, RejectionReason.MALFORMED, detail)]
            self._count_refused(token, refused)
            raise answers.bad_request(f"The body is no JSON array: {detail}.", refused) from None
        raise answers.bad_request("The batch is empty.")

    async def _check(self, records: Sequence[Record], token: Token) -> Sequence[CheckedRecord]:
        """Return the records of a request when all of them are accepted."""
        now_ms = round(self._clock.now() * 1000)
        verdict = await check_records(records[:MAX_BATCH_EVENTS], token, now_ms, self._allowed_sources)
        if not verdict.refused and len(records) <= MAX_BATCH_EVENTS:
            return verdict.accepted
        raise self._refusal(token, verdict.refused, len(records))

    def _refusal(self, token: Token, refused: Sequence[RefusedEvent], count: int) -> RefusalError:
        """Return the refusal of a request of so many events, and count those that are refused."""
        self._count_refused(token, refused)
        return answers.events_refused(refused, count)

    def _count_refused(self, token: Token, refused: Sequence[RefusedEvent]) -> None:
        for event in refused:
            self._metrics.count_refused_event(event.reason)
        self._metrics.count_events(token.name, Outcome.REFUSED, len(refused))

    async def _publish_accepted(self, accepted: Sequence[CheckedRecord], token: Token) -> Answer:
        began = _now()
        try:
            await self._publish(accepted)
        except UnavailableError as error:
            self._metrics.count_events(token.name, Outcome.UNAVAILABLE, len(accepted))
            detail = f"{error}: send the same again, it counts once."
            raise answers.unavailable(detail, answers.KAFKA_RETRY_SECONDS) from None
        self._metrics.publish_seconds.observe(_now() - began)
        self._metrics.count_events(token.name, Outcome.ACCEPTED, len(accepted))
        return Answer(Outcome.ACCEPTED, _json_response("accepted", len(accepted), HTTPStatus.ACCEPTED))


async def _ask_for_nothing(_request: web.Request) -> None:
    """Leave a client that waits to be asked for its body until the body is read."""


def _respect_rate(token: Token, seconds: int) -> None:
    """Refuse a token above its rate, which has to wait so many seconds; 0 for none."""
    if seconds:
        raise answers.rate_limited(token, seconds)


def _json_response(name: str, count: int, status: HTTPStatus) -> web.Response:
    body = f'{{"{name}": {count}}}'.encode()
    return web.Response(body=body, status=status, headers=_JSON_HEADERS)


def _is_check(request: web.Request) -> bool:
    """Return whether the events are only checked; refuses any other query."""
    query = list(request.query.items())
    if query and query != [("check", "true")]:
        raise answers.bad_request("Of queries, ?check=true alone is known.")
    return bool(query)


def _find_mode(request: web.Request) -> ContentMode:
    coding = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, [])).strip().lower()
    if coding not in {"", "identity"}:
        raise answers.unsupported_media("Bodies are not compressed.")
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
        raise answers.unsupported_media("Of transfer encodings, chunked alone is read.")
    try:
        return content_mode(request.headers.getall(hdrs.CONTENT_TYPE, []), list(request.headers.items()))
    except UnsupportedMediaError as error:
        raise answers.unsupported_media(str(error)) from None
