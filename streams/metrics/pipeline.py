"""The metric families of `/metrics`: contract, section 7.

Each worker has a registry of its own, so that nothing is global and tests see no other worker's numbers.
"""

import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import product
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.database.retractions import MAX_COUNTED_UNMATCHED
from models.domain.events import DATA_TYPES, UNKNOWN_TYPE, Oddity, RejectionReason
from models.text import printable

OUTCOMES: Final = ("accepted", "duplicate", "rejected")
#: More sources than this share the label value `other`: a label from outside must not grow without bound.
MAX_SOURCES: Final = 100
OTHER_SOURCE: Final = "other"
#: How many unknown fields of a source have a label of their own, and what the others share.
MAX_UNKNOWN_FIELDS, OTHER_FIELD = 10, "other"
DROPPED_BY_CAP: Final = "cap"
#: What clients of the web server do wrong, or have no place for.
HTTP_ERRORS: Final = (
    *("bad-request", "not-found", "method", "host", "too-many"),
    *("deadline", "displaced", "client-gone"),
)
HTTP_ERRORS_NAME: Final = "milepost_http_errors_total"
HTTP_ERRORS_HELP: Final = "What web clients did wrong, and connections that gave way."

DELAY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZE_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class PipelineFamily(NamedTuple):
    """A metric family as docs/metrics.md lists it."""

    name: str
    type: str
    help: str
    unit: str
    labels: tuple[str, ...]
    #: Whether the contract promises it.
    is_stable: bool


class BulkHistogram(Collector):
    """A histogram that takes a batch of observations at once; prometheus_client's takes one a call."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._documentation, self._bounds = name, documentation, buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count an observation."""
        self.observe_all({value: 1})

    def observe_all(self, occurrences: Mapping[float, int]) -> None:
        """Count many observations, given how often each value occurred."""
        for value, count in occurrences.items():
            self._counts[bisect_left(self._bounds, value)] += count
            self._sum += value * count

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        family = HistogramMetricFamily(self._name, self._documentation)
        total, buckets = 0, []
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([], buckets, self._sum)
        return [family]


class Metrics:
    """Every family of `/metrics`; label values that are known beforehand are there from 0."""

    def __init__(self, faust_version: str) -> None:
        self.registry = CollectorRegistry()
        #: In the order of the page.
        self.families: list[PipelineFamily] = []
        self.events = self._counter(
            "milepost_events_total", "Events read, by what became of them.", "events", "outcome type"
        )
        self.rejected = self._counter("milepost_rejected_total", "Events rejected, by reason.", "events", "reason")
        self._dead_letters_waiting = self._gauge(
            "milepost_dead_letters_waiting",
            "Dead letters neither replayed nor discarded; on one worker.",
            "records",
            "reason",
        )
        self.retractions_unmatched = self._gauge(
            "milepost_retractions_unmatched",
            f"Retractions whose event is not (yet) there, up to {MAX_COUNTED_UNMATCHED}.",
            "events",
        )
        self.tolerated = self._counter(
            "milepost_tolerated_total", "Oddities that a tolerant reader let pass.", "events", "oddity", is_stable=False
        )
        self._source_events = self._counter(
            "milepost_source_events_total",
            "Events read of a source, by what became of them.",
            "events",
            "source outcome",
        )
        self._source_unknown_fields = self._counter(
            "milepost_source_unknown_fields_total",
            "Events of a source that have a field which no type knows.",
            "events",
            "source field",
            is_stable=False,
        )
        self._source_last_event = self._gauge(
            "milepost_source_last_event_timestamp_seconds",
            "When the broker took the newest event of a source.",
            _TIMESTAMP,
            "source",
        )
        self.event_delay = self._histogram(
            "milepost_event_delay_seconds", "Broker append to committed in the database.", "seconds", DELAY_BUCKETS
        )
        self.forecast_delay = self._histogram(
            "milepost_forecast_delay_seconds",
            "Broker append to visible in /metrics/milestones.",
            "seconds",
            DELAY_BUCKETS,
        )
        self.batch_seconds = self._histogram(
            "milepost_batch_seconds", "Time to decode and commit a batch.", "seconds", DURATION_BUCKETS
        )
        self.batch_events = self._histogram("milepost_batch_events", "Records in a batch.", "records", SIZE_BUCKETS)
        self.forecast_seconds = self._histogram(
            "milepost_forecast_seconds",
            "Time to calculate and render the programmes of a batch.",
            "seconds",
            DURATION_BUCKETS,
        )
        self.forecasts_current = self._gauge(
            "milepost_forecasts_current_timestamp_seconds",
            "What this worker recorded of its programmes until then is calculated and shown.",
            _TIMESTAMP,
            is_stable=False,
        )
        self.position = self._gauge("milepost_position", "Next offset to read, in the database.", "offset", _PARTITION)
        self.log_end = self._gauge("milepost_log_end", "End of the log, as the broker says.", "offset", _PARTITION)
        self.lag_seconds = self._gauge(
            "milepost_lag_seconds", "How long the oldest unread record has waited.", "seconds", _PARTITION
        )
        self.missed_records = self._counter(
            "milepost_missed_records_total", "Records deleted before they were read.", "records", _PARTITION
        )
        self.started = self._gauge(
            "milepost_started_timestamp_seconds", "When this worker started.", _TIMESTAMP, is_stable=False
        )
        self.assignments = self._counter(
            "milepost_assignments_total",
            "How often the group gave this worker its partitions.",
            "assignments",
            is_stable=False,
        )
        self.database_up = self._gauge("milepost_database_up", "Whether the database answers.", "0 or 1")
        self.kafka_up = self._gauge("milepost_kafka_up", "Whether Kafka answers.", "0 or 1")
        self.retry_seconds = self._gauge(
            "milepost_retry_seconds",
            "For how long the operation that has failed longest has been retried; 0 when none is.",
            "seconds",
            is_stable=False,
        )
        self.series_dropped = self._gauge(
            "milepost_series_dropped", "Series left out by the series cap.", "series", "reason"
        )
        self._http_errors = self._counter(
            HTTP_ERRORS_NAME,
            HTTP_ERRORS_HELP,
            "errors",
            "kind",
            is_stable=False,
        )
        build = {"version": version("milepost"), "python": platform.python_version(), "faust": faust_version}
        self.families.append(
            PipelineFamily("milepost_build_info", "gauge", "What is running.", "always 1", tuple(build), is_stable=True)
        )
        Info("milepost_build", "What is running.", registry=self.registry).info(build)
        for outcome, event_type in product(OUTCOMES, (*DATA_TYPES, UNKNOWN_TYPE)):
            self.events.labels(outcome, event_type)
        for reason in RejectionReason:
            self.rejected.labels(reason.value)
        for kind in HTTP_ERRORS:
            self._http_errors.labels(kind)
        for oddity in Oddity:
            self.tolerated.labels(oddity.value)
        #: When each source was last heard, by its label; and the labels of sources of which anything was read.
        self._source_append_times: dict[str, float] = {}
        self._source_labels: set[str] = set()
        #: The unknown fields of each label of a source that have a label of their own.
        self._unknown_fields: dict[str, set[str]] = {}

    def _counter(self, name: str, help_: str, unit: str, labels: str = "", *, is_stable: bool = True) -> Counter:
        self.families.append(PipelineFamily(name, "counter", help_, unit, tuple(labels.split()), is_stable))
        return Counter(name, help_, labels.split(), registry=self.registry)

    def _gauge(self, name: str, help_: str, unit: str, labels: str = "", *, is_stable: bool = True) -> Gauge:
        self.families.append(PipelineFamily(name, "gauge", help_, unit, tuple(labels.split()), is_stable))
        return Gauge(name, help_, labels.split(), registry=self.registry)

    def _histogram(self, name: str, help_: str, unit: str, buckets: Sequence[float]) -> BulkHistogram:
        self.families.append(PipelineFamily(name, "histogram", help_, unit, (), is_stable=True))
        return BulkHistogram(name, help_, buckets, self.registry)

    def init_partitions(self, topic: str, partitions: Iterable[int]) -> None:
        """Expose the counters of these partitions from 0 on."""
        for partition in partitions:
            self.missed_records.labels(topic, str(partition))

    def set_dead_letters_waiting(self, counts: Mapping[str, int] | None) -> None:
        """Expose how many dead letters wait, by reason; nothing for None, where another worker does."""
        self._dead_letters_waiting.clear()
        if counts is not None:
            for reason in {*counts, *RejectionReason}:
                self._dead_letters_waiting.labels(reason).set(counts.get(reason, 0))

    def count_http_error(self, kind: str) -> None:
        """Count what a web client did wrong."""
        self._http_errors.labels(kind).inc()

    def source_seen(self, source: str, append_time: float) -> None:
        """Note when the broker took an event of a source; the first hundred sources by name, the others together."""
        times, source = self._source_append_times, printable(source)
        label = source if source in times or len(times) < MAX_SOURCES else OTHER_SOURCE
        times[label] = newest = max(append_time, times.get(label, append_time))
        self._source_last_event.labels(label).set(newest)

    def count_source_events(self, source: str | None, outcome: str, count: int = 1) -> None:
        """Count events of a source; what names no source is `other`.

        A source of which nothing was accepted may be made up: such names have a hundred labels of their own, and take
        none from the sources that `source_seen` knows.
        """
        label = self._source_label(source)
        if label not in self._source_labels:
            self._source_labels.add(label)
            for each in OUTCOMES:
                self._source_events.labels(label, each)
        self._source_events.labels(label, outcome).inc(count)

    def count_unknown_fields(self, source: str, field: str, count: int = 1) -> None:
        """Count events of a source that have an unknown field; the first ten fields by name, the others together."""
        label, field = self._source_label(source), printable(field)
        fields = self._unknown_fields.setdefault(label, set())
        if len(fields) < MAX_UNKNOWN_FIELDS:
            fields.add(field)
        self._source_unknown_fields.labels(label, field if field in fields else OTHER_FIELD).inc(count)

    def _source_label(self, source: str | None) -> str:
        labels = self._source_labels
        # A rejected source may be any text; a control character would break the page for some readers.
        source = None if source is None else printable(source)
        has_label = source in labels or source in self._source_append_times or len(labels) < MAX_SOURCES
        return source if source is not None and has_label else OTHER_SOURCE


_TIMESTAMP: Final = "seconds since 1970, UTC"
_PARTITION: Final = "topic partition"
