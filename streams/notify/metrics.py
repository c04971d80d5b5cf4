"""The metric families of `milepost notify`: contract, section 10."""

import platform
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from streams.metrics.pipeline import HTTP_ERRORS, PipelineFamily
from streams.notify.deliveries import Outcome

DELAY_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)

_TARGET: Final = ("target",)
#: Name, type, help, unit, labels.
_FAMILIES: Final[Sequence[tuple[str, str, str, str, tuple[str, ...]]]] = (
    ("delivered_total", "counter", "Webhooks, messages and digests that a target took.", "deliveries", _TARGET),
    ("failed_total", "counter", "Attempts that failed, and are made again.", "attempts", _TARGET),
    ("passed_over_total", "counter", "Deliveries that a target refused for good.", "deliveries", _TARGET),
    ("given_up_total", "counter", "Deliveries given up after a day of failures.", "deliveries", _TARGET),
    ("unreadable_total", "counter", "Records of `changes` that hold no change.", "records", _TARGET),
    ("off", "gauge", "Whether a target answered 410, and is told nothing until its entry changes.", "0 or 1", _TARGET),
    ("unusable", "gauge", "Whether a target in the file cannot be used.", "0 or 1", _TARGET),
    ("waiting", "gauge", "Deliveries that are not over.", "deliveries", _TARGET),
    ("assigned_partitions", "gauge", "Partitions of `changes` that this process reads.", "partitions", _TARGET),
    ("failing_since_timestamp_seconds", "gauge", "Since when the oldest failure lasts, if any.", "epoch", _TARGET),
    ("digest_due_timestamp_seconds", "gauge", "When a digest that is not sent was due.", "epoch", _TARGET),
    ("delivery_delay_seconds", "histogram", "From a change's record in Kafka to its delivery.", "seconds", _TARGET),
    ("targets_file_broken", "gauge", "Whether the file of targets, as it is now, cannot be used.", "0 or 1", ()),
    ("kafka_up", "gauge", "Whether every target's consumer reaches Kafka.", "0 or 1", ()),
    ("http_errors_total", "counter", "What clients did wrong, and connections that gave way.", "errors", ("kind",)),
    ("build_info", "gauge", "What is running.", "always 1", ("version", "python")),
)  # fmt: skip
NOTIFY_FAMILIES: Final = tuple(
    PipelineFamily(f"milepost_notify_{name}", kind, help_, unit, labels, is_stable=False)
    for name, kind, help_, unit, labels in _FAMILIES
)
_BY_NAME: Final = {family.name.removeprefix("milepost_notify_"): family for family in NOTIFY_FAMILIES}
_COUNTED: Final = {
    Outcome.DELIVERED: "delivered_total",
    Outcome.FAILED: "failed_total",
    Outcome.PASSED_OVER: "passed_over_total",
    Outcome.GIVEN_UP: "given_up_total",
}


class NotifyMetrics:
    """Every family of the page `/metrics` of `milepost notify`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes = {outcome: self._counter(name) for outcome, name in _COUNTED.items()}
        self._unreadable, self._http_errors = self._counter("unreadable_total"), self._counter("http_errors_total")
        self._off, self._unusable, self._waiting = map(self._gauge, ("off", "unusable", "waiting"))
        self._assigned = self._gauge("assigned_partitions")
        self._failing_since = self._gauge("failing_since_timestamp_seconds")
        self._digest_due = self._gauge("digest_due_timestamp_seconds")
        family = _BY_NAME["delivery_delay_seconds"]
        self._delay = Histogram(family.name, family.help, family.labels, buckets=DELAY_BUCKETS, registry=self.registry)
        self.targets_file_broken, self.kafka_up = self._gauge("targets_file_broken"), self._gauge("kafka_up")
        build = {"version": version("milepost"), "python": platform.python_version()}
        Info("milepost_notify_build", _BY_NAME["build_info"].help, registry=self.registry).info(build)
        for kind in HTTP_ERRORS:
            self._http_errors.labels(kind)

    def add_target(self, name: str, waiting: Callable[[], float]) -> None:
        """Expose the counters of a target from 0 on."""
        for counter in (*self._outcomes.values(), self._unreadable):
            counter.labels(name)
        self._off.labels(name).set(0)
        self._assigned.labels(name).set(0)
        self._delay.labels(name)
        self._waiting.labels(name).set_function(waiting)

    def remove_target(self, name: str) -> None:
        """Expose nothing of the present of a target that is gone; what was counted stays until the process ends."""
        self.set_failing_since(name, 0.0)
        self.set_digest_due(name, None)
        for gauge in (self._off, self._waiting, self._assigned):
            gauge.remove(name)

    def set_unusable(self, names: Iterable[str]) -> None:
        """Expose the targets that cannot be used."""
        self._unusable.clear()
        for name in names:
            self._unusable.labels(name).set(1)

    def count(self, name: str, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome in self._outcomes:
            self._outcomes[outcome].labels(name).inc()

    def count_unreadable(self, name: str) -> None:
        """Count a record that holds no change."""
        self._unreadable.labels(name).inc()

    def observe_delay(self, name: str, seconds: float) -> None:
        """Note how long a change took from Kafka to its target."""
        self._delay.labels(name).observe(max(seconds, 0.0))

    def set_assigned(self, name: str, partitions: int) -> None:
        """Note how many partitions this process reads for a target."""
        self._assigned.labels(name).set(partitions)

    def set_off(self, name: str, *, is_off: bool) -> None:
        """Note whether a target is switched off."""
        self._off.labels(name).set(is_off)

    def set_failing_since(self, name: str, since: float) -> None:
        """Note since when what waits longest has failed; 0 when nothing does."""
        _set_or_remove(self._failing_since, name, since or None)

    def set_digest_due(self, name: str, due: float | None) -> None:
        """Note when the digest that is due and not sent was due; None when none is."""
        _set_or_remove(self._digest_due, name, due)

    def count_http_error(self, kind: str) -> None:
        """Count what a client did wrong."""
        self._http_errors.labels(kind).inc()

    def _counter(self, name: str) -> Counter:
        family = _BY_NAME[name]
        return Counter(family.name, family.help, family.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        family = _BY_NAME[name]
        return Gauge(family.name, family.help, family.labels, registry=self.registry)


def _set_or_remove(gauge: Gauge, name: str, value: float | None) -> None:
    if value is not None:
        gauge.labels(name).set(value)
    elif (name,) in {tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples}:
        gauge.remove(name)
