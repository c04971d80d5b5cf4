"""What the pipeline page shows: metrics of workers, and the newest dead letters.

A worker reads its own metrics, here; a board without a worker asks workers, in `streams.web.remote_pipeline`.

Dead letters are read at most every ten seconds, off the event loop, and only from the end of the topic: a flood
of rejected events makes the page no slower.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
from cachetools import TTLCache
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from models.domain.dead_letters import DeadLetter
from models.errors import MilepostError
from streams.web.probes import Probes

MAX_DEAD_LETTER_OFFSETS: Final = 200
#: A source floods when more than half of its events were rejected, of at least so many; the alert has the same meaning.
MIN_EVENTS_TO_FLOOD: Final = 100

#: The last second of the year 9999.
MAX_TIMESTAMP: Final = 253_402_300_799

#: Returns the dead letters among the last offsets of the topic, the newest first.
ReadNewest = Callable[[int], Sequence[DeadLetter]]


class PartitionStatus(Struct, frozen=True):
    """One partition of the events topic, as every worker sees it."""

    topic: str
    partition: int
    position: int | None
    log_end: int | None
    lag_seconds: float | None

    @property
    def offset_lag(self) -> int | None:
        """Number of offsets up to the log end."""
        return None if self.position is None or self.log_end is None else max(0, self.log_end - self.position)


class SourceStatus(Struct, frozen=True):
    """A source of which the workers have read events since they started."""

    source: str
    #: Broker's timestamp of the newest accepted event, in seconds since the epoch.
    last_event_seconds: float | None
    is_flooding: bool
    #: Fields of its events that no type knows, with the number of events, the most frequent first.
    unknown_fields: Mapping[str, int] = msgspec.field(default_factory=dict)


class PipelineStatus(Struct, frozen=True):
    """The state of reading, recording and calculating."""

    #: Why a worker is not ready, by name; empty when all are.
    reasons: Mapping[str, str]
    partitions: Sequence[PartitionStatus]
    sources: Sequence[SourceStatus]
    #: Since the workers started, by outcome and by reason; reasons that did not occur are omitted.
    events: Mapping[str, int]
    rejected: Mapping[str, int]
    #: Dead letters neither replayed nor discarded, by reason; None where the worker that counts them was not asked.
    waiting: Mapping[str, int] | None = None

    @property
    def waiting_total(self) -> int | None:
        """Number of dead letters neither replayed nor discarded, if it is known."""
        return None if self.waiting is None else sum(self.waiting.values())

    @property
    def offset_lag(self) -> int:
        """Number of offsets up to the log ends of all partitions."""
        return sum(partition.offset_lag or 0 for partition in self.partitions)

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest unread record."""
        return max((partition.lag_seconds or 0.0 for partition in self.partitions), default=0.0)


class DeadLetterSchema(Struct, frozen=True):
    """A dead letter; `milepost dead-letters show KEY` has all of it."""

    key: str
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None
    source: str | None


class UnmatchedRetractionSchema(Struct, frozen=True):
    """A retraction whose event is not (yet) there."""

    source: str
    id: str
    #: The id of the event that it retracts.
    retracts: str
    programme: str


class PipelineSchema(Struct, frozen=True):
    """The state of the pipeline, and the newest dead letters."""

    #: None where nothing is known of it.
    pipeline: PipelineStatus | None
    dead_letters: Sequence[DeadLetterSchema] = msgspec.field(name="letters")
    #: Why the dead letters cannot be read, in one sentence.
    dead_letters_error: str | None = msgspec.field(name="letters_unknown")
    #: Why nothing is known of the pipeline, in one sentence.
    pipeline_error: str | None = msgspec.field(name="pipeline_unknown", default=None)
    #: The workers that were asked; none where a worker tells of itself.
    workers: Sequence[str] = ()
    #: Some retractions whose event is not there.
    retractions: Sequence[UnmatchedRetractionSchema] = msgspec.field(name="unmatched_retractions", default=())
    #: Why the retractions cannot be read, in one sentence.
    retractions_error: str | None = msgspec.field(name="unmatched_retractions_unknown", default=None)


class PipelineReader(Protocol):
    """Reads the pipeline's status for the page and the API."""

    async def read(self) -> PipelineSchema:
        """Return the status; does not raise because a worker or Kafka is away."""
        ...

    async def read_status(self) -> PipelineStatus | None:
        """Return what workers say, without dead letters; None where no worker is known."""
        ...


class LocalPipelineReader:
    """Reads the status of the worker that this process is."""

    def __init__(self, worker: Probes, read_newest: ReadNewest) -> None:
        self._worker, self._read_newest = worker, read_newest
        self._cache = TTLCache[str, tuple[list[DeadLetterSchema], str | None]](1, ttl=10)
        self._read_lock = asyncio.Lock()

    async def read(self) -> PipelineSchema:
        """Return the status; the dead letters are at most ten seconds old."""
        async with self._read_lock:
            if (newest := self._cache.get("newest")) is None:
                newest = self._cache["newest"] = await asyncio.to_thread(self._read_dead_letters)
        return PipelineSchema(await self.read_status(), *newest)

    async def read_status(self) -> PipelineStatus | None:
        """Return what this worker says."""
        return read_pipeline_status(self._worker.registry, self._worker.problems())

    def _read_dead_letters(self) -> tuple[list[DeadLetterSchema], str | None]:
        try:
            return list(map(_dead_letter_schema, self._read_newest(MAX_DEAD_LETTER_OFFSETS))), None
        except MilepostError as error:
            return [], str(error)


def _dead_letter_schema(dead_letter: DeadLetter) -> DeadLetterSchema:
    schema = msgspec.convert(dead_letter, DeadLetterSchema, from_attributes=True)
    # A key may be any bytes; what is no UTF-8 cannot be encoded as JSON.
    return msgspec.structs.replace(schema, key=dead_letter.key_bytes.decode("utf-8", "backslashreplace"))


@dataclass(slots=True)
class PipelineCounts:
    """What the metrics of one worker, or of several together, say of the pipeline."""

    #: Position, log end and lag by topic and partition.
    partitions: dict[tuple[str, int], PartitionStatus] = field(default_factory=dict)
    last_events: dict[str, float] = field(default_factory=dict)
    source_outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    #: The unknown fields of each source.
    unknown_fields: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    #: Of the one worker that counts them.
    waiting: dict[str, int] | None = None

    def add(self, other: "PipelineCounts") -> None:
        """Add what another worker says. Every worker sees all partitions: the one that saw the most counts."""
        for key, partition in other.partitions.items():
            known = self.partitions.get(key)
            if known is None or _progress(partition) > _progress(known):
                self.partitions[key] = partition
        for source, seconds in other.last_events.items():
            self.last_events[source] = max(seconds, self.last_events.get(source, seconds))
        for source, outcomes in other.source_outcomes.items():
            self.source_outcomes[source].update(outcomes)
        for source, fields in other.unknown_fields.items():
            self.unknown_fields[source].update(fields)
        # Adding counters would lose the outcomes that did not occur.
        self.events.update(other.events)
        self.rejected.update(other.rejected)
        if other.waiting is not None:
            # Two may count while the partition goes from one to the other.
            waiting = self.waiting or {}
            self.waiting = {name: max(count, waiting.get(name, 0)) for name, count in (waiting | other.waiting).items()}

    def to_status(self, reasons: Mapping[str, str]) -> PipelineStatus:
        """Return the status, with the reasons why a worker is not ready."""
        return PipelineStatus(
            reasons,
            [self.partitions[key] for key in sorted(self.partitions)],
            [
                SourceStatus(
                    source,
                    self.last_events.get(source),
                    _is_flooding(self.source_outcomes[source]),
                    dict(self.unknown_fields[source].most_common()),
                )
                for source in sorted(self.last_events.keys() | self.source_outcomes.keys())
            ],
            self.events,
            self.rejected,
            None if self.waiting is None else {reason: count for reason, count in self.waiting.items() if count},
        )


def count_samples(samples: Iterable[Sample]) -> PipelineCounts:
    """Return what a worker's metrics say; raises `ValueError` or `LookupError` for samples that no worker has."""
    counts = PipelineCounts()
    partitions: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for sample in samples:
        labels, value = sample.labels, sample.value
        match sample.name:
            case "milepost_position" | "milepost_log_end":
                partitions[labels["topic"], int(labels["partition"])][sample.name] = _whole(value)
            case "milepost_lag_seconds":
                partitions[labels["topic"], int(labels["partition"])][sample.name] = value
            case "milepost_source_last_event_timestamp_seconds":
                counts.last_events[labels["source"]] = _timestamp(value)
            case "milepost_source_events_total" | "milepost_source_unknown_fields_total":
                of_outcomes = sample.name == "milepost_source_events_total"
                numbers_by_source = counts.source_outcomes if of_outcomes else counts.unknown_fields
                numbers_by_source[labels["source"]][labels["outcome" if of_outcomes else "field"]] = _whole(value)
            case "milepost_events_total":
                counts.events[labels["outcome"]] += _whole(value)
            case "milepost_dead_letters_waiting":
                counts.waiting = (counts.waiting or {}) | {labels["reason"]: _whole(value)}
            case "milepost_rejected_total" if value:
                counts.rejected[labels["reason"]] = _whole(value)
    for key, values in partitions.items():
        numbers = map(values.get, ("milepost_position", "milepost_log_end", "milepost_lag_seconds"))
        counts.partitions[key] = PartitionStatus(*key, *numbers)
    return counts


def read_pipeline_status(registry: CollectorRegistry, reasons: Mapping[str, str]) -> PipelineStatus:
    """Return the status that the metrics of this process give."""
    samples = (sample for family in registry.collect() for sample in family.samples)
    return count_samples(samples).to_status(reasons)


def _progress(partition: PartitionStatus) -> tuple[int, int]:
    return (
        -1 if partition.position is None else partition.position,
        -1 if partition.log_end is None else partition.log_end,
    )


def _timestamp(value: float) -> float:
    if not 0 <= value <= MAX_TIMESTAMP:
        raise ValueError(f"{value} is no time")
    return value


def _whole(value: float) -> int:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number of anything")
    return int(value)


def _is_flooding(outcomes: Counter[str]) -> bool:
    return outcomes.total() >= MIN_EVENTS_TO_FLOOD and 2 * outcomes["rejected"] > outcomes.total()
