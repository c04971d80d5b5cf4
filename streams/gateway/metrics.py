"""The metric families of a gateway: contract, section 9."""

import platform
from collections.abc import Collection, Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from models.domain.events import RejectionReason
from streams.metrics.pipeline import HTTP_ERRORS, BulkHistogram, PipelineFamily

REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: In the place of a token's name, of requests without a valid one. No token has this name: it has no letter.
NO_TOKEN: Final = "-"  # noqa: S105 - a label


class Outcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"
    CHECKED = "checked"
    HANDSHAKE = "handshake"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    TOO_SLOW = "too-slow"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"


#: What becomes of an event of a request whose events were looked at.
EVENT_OUTCOMES: Final = (Outcome.ACCEPTED, Outcome.CHECKED, Outcome.REFUSED, Outcome.UNAVAILABLE)

_TOKEN_OUTCOME: Final = ("token", "outcome")
#: Name, type, help, unit, labels.
_FAMILIES: Final[Sequence[tuple[str, str, str, str, tuple[str, ...]]]] = (
    ("requests_total", "counter", "Requests to publish, by token and what became of them.", "requests", _TOKEN_OUTCOME),
    ("events_total", "counter", "Events of requests, by token and what became of them.", "events", _TOKEN_OUTCOME),
    ("refused_events_total", "counter", "Events that were refused, by reason.", "events", ("reason",)),
    ("request_seconds", "histogram", "From a request's head to its answer.", "seconds", ()),
    ("publish_seconds", "histogram", "From a request's events to Kafka's acknowledgement.", "seconds", ()),
    ("kafka_up", "gauge", "Whether Kafka answers the gateway.", "0 or 1", ()),
    ("tokens_file_broken", "gauge", "Whether the tokens file, as it is now, cannot be used.", "0 or 1", ()),
    ("http_errors_total", "counter", "What clients did wrong, and connections that gave way.", "errors", ("kind",)),
    ("build_info", "gauge", "What is running.", "always 1", ("version", "python")),
)
GATEWAY_FAMILIES: Final = tuple(
    PipelineFamily(f"milepost_gateway_{name}", kind, help_, unit, labels, is_stable=False)
    for name, kind, help_, unit, labels in _FAMILIES
)
_BY_NAME: Final = {family.name: family for family in GATEWAY_FAMILIES}


class GatewayMetrics:
    """Every family of a gateway's `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests, self._events = self._counter("requests_total"), self._counter("events_total")
        self._refused = self._counter("refused_events_total")
        self.request_seconds = self._histogram("request_seconds")
        self.publish_seconds = self._histogram("publish_seconds")
        self.kafka_up, self.tokens_file_broken = self._gauge("kafka_up"), self._gauge("tokens_file_broken")
        self._http_errors = self._counter("http_errors_total")
        build = {"version": version("milepost"), "python": platform.python_version()}
        Info("milepost_gateway_build", _BY_NAME["milepost_gateway_build_info"].help, registry=self.registry).info(build)
        for reason in RejectionReason:
            self._refused.labels(reason.value)
        for kind in HTTP_ERRORS:
            self._http_errors.labels(kind)
        self._token_names: set[str] = set()
        self.expose_tokens([])

    def expose_tokens(self, names: Collection[str]) -> None:
        """Expose the counters of these tokens, new ones from 0 on, and of no others."""
        wanted = {NO_TOKEN, *names}
        for name in wanted - self._token_names:
            for outcome in Outcome:
                self._requests.labels(name, outcome.value)
            for outcome in EVENT_OUTCOMES:
                self._events.labels(name, outcome.value)
        for name in self._token_names - wanted:
            for outcome in Outcome:
                self._requests.remove(name, outcome.value)
            for outcome in EVENT_OUTCOMES:
                self._events.remove(name, outcome.value)
        self._token_names = wanted

    def count_request(self, token: str, outcome: Outcome, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(self._name_exposed(token), outcome.value).inc()
        self.request_seconds.observe(seconds)

    def count_events(self, token: str, outcome: Outcome, count: int) -> None:
        """Count events of a request."""
        self._events.labels(self._name_exposed(token), outcome.value).inc(count)

    def count_refused_event(self, reason: RejectionReason) -> None:
        """Count an event that was refused."""
        self._refused.labels(reason.value).inc()

    def count_http_error(self, kind: str) -> None:
        """Count what a client did wrong."""
        self._http_errors.labels(kind).inc()

    def _name_exposed(self, token: str) -> str:
        # A request may outlive its token: counted by name, its counters would come back, and stay for ever.
        return token if token in self._token_names else NO_TOKEN

    def _counter(self, name: str) -> Counter:
        family = _BY_NAME[f"milepost_gateway_{name}"]
        return Counter(family.name, family.help, family.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        family = _BY_NAME[f"milepost_gateway_{name}"]
        return Gauge(family.name, family.help, family.labels, registry=self.registry)

    def _histogram(self, name: str) -> BulkHistogram:
        family = _BY_NAME[f"milepost_gateway_{name}"]
        return BulkHistogram(family.name, family.help, REQUEST_BUCKETS, self.registry)
