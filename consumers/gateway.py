"""Publishes through the gateway, for whoever has no rights on Kafka; what it cannot take now is sent again later.

The same events, sent again, count once: so whatever leaves open whether Kafka has them is answered by sending again.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from consumers.event_files import EventLine
from consumers.publish import LineSink, PublishError, validate_and_report
from models.errors import MilepostError
from models.settings import Settings
from models.text import one_line, printable

_BATCH_TYPE: Final = "application/cloudevents-batch+json"
_EVENTS_PATH: Final = "/events"
#: Of one request; the gateway takes 1 MiB.
_MAX_BATCH_EVENTS: Final = 500
_MAX_BATCH_BYTES: Final = 1000 * 1024
#: Longer than the gateway waits for Kafka.
_TIMEOUT_SECONDS: Final = 30.0
#: For so long a request is sent again before the command gives up.
_MAX_WAIT_SECONDS: Final = 600.0
_LEAST_WAIT_SECONDS: Final = 1.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
#: Answers after which the same is sent again: those of a gateway, and those of a proxy whose gateway does not answer.
_RETRIED: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class GatewayError(MilepostError):
    """The gateway cannot be used, or does not take events."""


class _BusyError(Exception):
    """The gateway has not taken events for now; the message says why."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _RefusedError(Exception):
    """The gateway refuses events; its problem details, if it gave any."""

    def __init__(self, detail: str, events: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.events = events


def read_token(path: Path) -> str:
    """Return the token in a file; raises `GatewayError`."""
    try:
        token = path.read_text("ascii").strip()
    except OSError as error:
        raise GatewayError(f"--token-file: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise GatewayError(f"--token-file: {path} has no token in one line")
    return token


class GatewayClient:
    """A connection to a gateway, made again when it is lost. Redirects are not followed: they would get the token."""

    def __init__(self, url: str, token: str, warn: LineSink, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise GatewayError(
                f"--gateway: {printable(url)} is no address: say https://host, with a port if it has one"
            )
        path = parts.path.rstrip("/")
        self._path = path if path.endswith(_EVENTS_PATH) else path + _EVENTS_PATH
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
            if parts.hostname not in _LOOPBACK:
                warn(f"warning: the token goes to {parts.netloc} in clear: use https://")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": _BATCH_TYPE}
        self._warn, self._sleep = warn, sleep
        self._was_answered = False

    def send(self, events: Sequence[EventLine]) -> None:
        """Send a batch until the gateway has taken it; raises `GatewayError` and `_RefusedError`."""
        body = b"[" + b",".join(event.value for event in events) + b"]"
        waited, has_warned = 0.0, False
        while True:
            try:
                return self._send_once(body)
            except _BusyError as busy:
                seconds = max(_LEAST_WAIT_SECONDS, busy.retry_after)
                if waited + seconds > _MAX_WAIT_SECONDS:
                    raise GatewayError(f"{self.url}: {busy}, for {_MAX_WAIT_SECONDS / 60:.0f} minutes") from None
                if not has_warned:
                    self._warn(f"{events[0].location}: {self.url}: {busy}: waiting")
                    has_warned = True
                self._sleep(seconds)
                waited += seconds

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send_once(self, body: bytes) -> None:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            document = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            if not self._was_answered:
                raise GatewayError(f"{self.url} does not answer: {reason}; is it the right address?") from None
            raise _BusyError(f"no answer ({reason})", _LEAST_WAIT_SECONDS) from None
        self._was_answered = True
        if response.status == HTTPStatus.ACCEPTED:
            return
        problem = _parse_problem(document)
        detail = printable(one_line(problem.get("detail") or response.reason)).rstrip(".")
        if response.status in _RETRIED:
            raise _BusyError(f"{response.status}: {detail}", _parse_seconds(response.getheader("Retry-After")))
        raise _RefusedError(f"{response.status}: {detail}", problem.get("events") or [])


def publish_through_gateway(
    client: GatewayClient,
    settings: Settings,
    read_events: Callable[[], Iterator[EventLine]],
    now_ms: int,
    warn: LineSink,
) -> int:
    """Check all events and, if all are valid, send them; return how many. Raises `PublishError`.

    They are read twice, as `publish_validated` does.
    """
    count, invalid = validate_and_report(settings, read_events(), now_ms, warn, warn)
    if invalid:
        raise PublishError(f"{invalid} of {count} events are not valid: nothing was sent")
    acknowledged = 0
    try:
        for batch in _batches(islice(read_events(), count)):
            try:
                client.send(batch)
            except _RefusedError as refused:
                for event in refused.events:
                    location = batch[event["index"]].location
                    warn(printable(f"{location}: {event['reason']}: {event['detail']}"))
                before = f"{acknowledged} events before {batch[0].location} were acknowledged"
                raise PublishError(f"{client.url} refuses: {refused}; {before}") from None
            except GatewayError as error:
                raise PublishError(f"{error}; {acknowledged} events were acknowledged") from None
            acknowledged += len(batch)
    finally:
        client.close()
    return acknowledged


def _batches(events: Iterator[EventLine]) -> Iterator[list[EventLine]]:
    batch: list[EventLine] = []
    size = 0
    for event in events:
        if batch and (len(batch) == _MAX_BATCH_EVENTS or size + len(event.value) + 1 > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.value) + 1
    if batch:
        yield batch


def _parse_problem(document: bytes) -> dict[str, Any]:
    """Return problem details; empty for anything else, as of a proxy."""
    with suppress(ValueError, RecursionError):
        problem = json.loads(document)
        if isinstance(problem, dict):
            return problem
    return {}


def _parse_seconds(text: str | None) -> float:
    with suppress(ValueError):
        return min(float(text or 0), _MAX_WAIT_SECONDS)
    return 0.0
