"""What a worker knows of the pipeline, from its own numbers: the same that it tells Prometheus."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry

_FIELD_BY_METRIC: Final = {
    "milepost_position": "position",
    "milepost_log_end": "log_end",
    "milepost_lag_seconds": "lag_seconds",
}


#: A source floods when more than half of its events were rejected, of at least so many; the alert has the same meaning.
MIN_EVENTS_TO_FLOOD: Final = 100


class PartitionStatus(Struct, frozen=True):
    """One partition of the events topic, as every worker sees it."""

    topic: str
    partition: int
    position: int | None
    log_end: int | None
    lag_seconds: float | None

    @property
    def offset_lag(self) -> int | None:
        """How many offsets lie before the end of the log."""
        if self.position is None or self.log_end is None:
            return None
        return max(0, self.log_end - self.position)


class SourceStatus(Struct, frozen=True):
    """A source that this worker has read events of since it started."""

    source: str
    #: Seconds since the epoch: when the broker took its newest event; none when nothing of it was accepted.
    last_event_seconds: float | None
    is_flooding: bool


class PipelineStatus(Struct, frozen=True):
    """How reading, recording and drawing go."""

    #: What stands in the way of being ready, by name; nothing when nothing does.
    reasons: Mapping[str, str]
    partitions: Sequence[PartitionStatus]
    sources: Sequence[SourceStatus]
    #: Since this worker started, by outcome and by reason; reasons that never came are left out.
    events: Mapping[str, int]
    rejected: Mapping[str, int]

    @property
    def offset_lag(self) -> int:
        """How many offsets lie before the ends of the logs."""
        return sum(partition.offset_lag or 0 for partition in self.partitions)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest unread record has waited."""
        return max((partition.lag_seconds or 0.0 for partition in self.partitions), default=0.0)


def read_pipeline_status(registry: CollectorRegistry, reasons: Mapping[str, str]) -> PipelineStatus:
    """Return what a worker's numbers say."""
    partitions: dict[tuple[str, int], dict[str, float]] = {}
    heard: dict[str, float] = {}
    outcomes: dict[str, Counter[str]] = {}
    events: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for family in registry.collect():
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            if (name := _FIELD_BY_METRIC.get(sample.name)) is not None:
                partitions.setdefault((labels["topic"], int(labels["partition"])), {})[name] = value
            elif sample.name == "milepost_source_last_event_timestamp_seconds":
                heard[labels["source"]] = value
            elif sample.name == "milepost_source_events_total":
                outcomes.setdefault(labels["source"], Counter())[labels["outcome"]] = int(value)
            elif sample.name == "milepost_events_total":
                events[labels["outcome"]] = events.get(labels["outcome"], 0) + int(value)
            elif sample.name == "milepost_rejected_total" and value:
                rejected[labels["reason"]] = int(value)
    return PipelineStatus(
        dict(reasons),
        [_partition_status(*key, known) for key, known in sorted(partitions.items())],
        [
            SourceStatus(name, heard.get(name), _is_flooding(outcomes.get(name, Counter())))
            for name in sorted(heard.keys() | outcomes.keys())
        ],
        events,
        rejected,
    )


def _is_flooding(outcomes: Counter[str]) -> bool:
    return outcomes.total() >= MIN_EVENTS_TO_FLOOD and 2 * outcomes["rejected"] > outcomes.total()


def _partition_status(topic: str, partition: int, values: Mapping[str, float]) -> PartitionStatus:
    position, end = values.get("position"), values.get("log_end")
    return PartitionStatus(
        topic,
        partition,
        None if position is None else int(position),
        None if end is None else int(end),
        values.get("lag_seconds"),
    )
