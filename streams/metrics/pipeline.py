"""The pipeline's own numbers, for `/metrics`: contract, section 7.

One `Metrics` belongs to one worker; its registry is its own, so that nothing is global and tests see no others.
"""

import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.domain.events import DATA_TYPES, UNKNOWN_TYPE, Oddity, RejectionReason
from streams.flooding import RecentOutcomes

OUTCOMES: Final = ("accepted", "duplicate", "rejected")
#: More sources than this share the label value `other`: a label from outside must not grow without bound.
MAX_SOURCES: Final = 100
OTHER_SOURCE: Final = "other"
DROPPED_BY_CAP: Final = "cap"

DELAY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZE_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


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
        """Count many observations, given how often each value was seen."""
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
    """Every family of `/metrics`, with every label value that is known beforehand."""

    def __init__(self, faust_version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "milepost_events", "Events read, by what became of them.", ["outcome", "type"], registry=registry
        )
        for outcome in OUTCOMES:
            for event_type in (*DATA_TYPES, UNKNOWN_TYPE):
                self.events.labels(outcome, event_type)
        self.rejected = Counter("milepost_rejected", "Events rejected, by reason.", ["reason"], registry=registry)
        for reason in RejectionReason:
            self.rejected.labels(reason.value)
        self.tolerated = Counter(
            "milepost_tolerated", "Oddities that a tolerant reader let pass.", ["oddity"], registry=registry
        )
        for oddity in Oddity:
            self.tolerated.labels(oddity.value)
        self._source_last_event = Gauge(
            "milepost_source_last_event_timestamp_seconds",
            "When the broker took the newest event of a source.",
            ["source"],
            registry=registry,
        )
        self._source_append_times: dict[str, float] = {}
        self._source_flooding = Gauge(
            "milepost_source_flooding",
            "Whether more than half of the newest events of a source were rejected.",
            ["source"],
            registry=registry,
        )
        self._recent: dict[str, RecentOutcomes] = {}
        self.event_delay = BulkHistogram(
            "milepost_event_delay_seconds", "Broker append to committed in the database.", DELAY_BUCKETS, registry
        )
        self.forecast_delay = BulkHistogram(
            "milepost_forecast_delay_seconds",
            "Broker append to visible in /metrics/milestones.",
            DELAY_BUCKETS,
            registry,
        )
        self.batch_seconds = BulkHistogram(
            "milepost_batch_seconds", "Time to decode and commit a batch.", DURATION_BUCKETS, registry
        )
        self.batch_events = BulkHistogram("milepost_batch_events", "Records in a batch.", SIZE_BUCKETS, registry)
        self.forecast_seconds = BulkHistogram(
            "milepost_forecast_seconds",
            "Time to draw and render the programmes of a batch.",
            DURATION_BUCKETS,
            registry,
        )
        self.forecasts_current = Gauge(
            "milepost_forecasts_current_timestamp_seconds",
            "What this worker recorded of its programmes until then is drawn and shown.",
            registry=registry,
        )
        at = ["topic", "partition"]
        self.position = Gauge("milepost_position", "Next offset to read, in the database.", at, registry=registry)
        self.log_end = Gauge("milepost_log_end", "End of the log, as the broker says.", at, registry=registry)
        self.lag_seconds = Gauge(
            "milepost_lag_seconds", "How long the oldest unread record has waited.", at, registry=registry
        )
        self.missed_records = Counter(
            "milepost_missed_records", "Records deleted before they were read.", at, registry=registry
        )
        self.started = Gauge("milepost_started_timestamp_seconds", "When this worker started.", registry=registry)
        self.assignments = Counter(
            "milepost_assignments", "How often the group gave this worker its partitions.", registry=registry
        )
        self.database_up = Gauge("milepost_database_up", "Whether the database answers.", registry=registry)
        self.kafka_up = Gauge("milepost_kafka_up", "Whether Kafka answers.", registry=registry)
        self.series_dropped = Gauge(
            "milepost_series_dropped", "Milestones left out by the series cap.", ["reason"], registry=registry
        )
        build = Info("milepost_build", "What is running.", registry=registry)
        build.info({"version": version("milepost"), "python": platform.python_version(), "faust": faust_version})

    def init_partitions(self, topic: str, partitions: Iterable[int]) -> None:
        """Show the families of partitions from 0 on."""
        for partition in partitions:
            self.missed_records.labels(topic, str(partition))

    def source_seen(self, source: str, append_time: float) -> None:
        """Note when a source was last heard; the first hundred by name, the others together."""
        name = (
            source
            if source in self._source_append_times or len(self._source_append_times) < MAX_SOURCES
            else OTHER_SOURCE
        )
        newest = max(append_time, self._source_append_times.get(name, append_time))
        self._source_append_times[name] = newest
        self._source_last_event.labels(name).set(newest)

    def count_source_outcomes(self, outcomes: Iterable[tuple[str | None, bool]]) -> None:
        """Note of each event, in order, its source and whether it was rejected; what names no source is `other`."""
        by_source: dict[str | None, list[bool]] = {}
        for source, rejected in outcomes:
            by_source.setdefault(source, []).append(rejected)
        for source, rejections in by_source.items():
            name = self._source_label(source)
            recent = self._recent.setdefault(name, RecentOutcomes())
            recent.note(rejections)
            self._source_flooding.labels(name).set(recent.is_flood)

    def _source_label(self, source: str | None) -> str:
        # Names that nothing was ever accepted of may be made up: they cannot use up those of the others.
        if source is None or not (
            source in self._recent or source in self._source_append_times or len(self._recent) < MAX_SOURCES
        ):
            return OTHER_SOURCE
        return source
