"""What the pipeline page shows: the worker's own metrics, and the newest dead letters.

Dead letters are read at most every ten seconds, off the event loop, and only from the end of the topic: a flood
of rejected events makes the page no slower.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cachetools import TTLCache
from msgspec import Struct
from prometheus_client import CollectorRegistry

from models.domain.dead_letters import DeadLetter
from models.errors import MilepostError
from streams.web.probes import WorkerProbes

MAX_DEAD_LETTER_OFFSETS: Final = 200
#: A source floods when more than half of its events were rejected, of at least so many; the alert has the same meaning.
MIN_EVENTS_TO_FLOOD: Final = 100

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
    """A source of which this worker has read events since it started."""

    source: str
    #: Broker's timestamp of the newest accepted event, in seconds since the epoch.
    last_event_seconds: float | None
    is_flooding: bool


class PipelineStatus(Struct, frozen=True):
    """The state of reading, recording and calculating."""

    #: Why the worker is not ready, by name; empty when it is.
    reasons: Mapping[str, str]
    partitions: Sequence[PartitionStatus]
    sources: Sequence[SourceStatus]
    #: Since this worker started, by outcome and by reason; reasons that did not occur are omitted.
    events: Mapping[str, int]
    rejected: Mapping[str, int]

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


class PipelineSchema(Struct, frozen=True):
    """The state of this worker's pipeline, and the newest dead letters."""

    pipeline: PipelineStatus
    dead_letters: Sequence[DeadLetterSchema] = msgspec.field(name="letters")
    #: Why the dead letters cannot be read, in one sentence.
    dead_letters_error: str | None = msgspec.field(name="letters_unknown")


class PipelineMonitor:
    """Reads the pipeline's status for the page and the API."""

    def __init__(self, worker: WorkerProbes, read_newest: ReadNewest) -> None:
        self._worker, self._read_newest = worker, read_newest
        self._cache = TTLCache[str, tuple[list[DeadLetterSchema], str | None]](1, ttl=10)
        self._read_lock = asyncio.Lock()

    async def read(self) -> PipelineSchema:
        """Return the status; the dead letters are at most ten seconds old."""
        async with self._read_lock:
            if (newest := self._cache.get("newest")) is None:
                newest = self._cache["newest"] = await asyncio.to_thread(self._read_dead_letters)
        reasons = {**self._worker.liveness(), **self._worker.readiness()}
        return PipelineSchema(read_pipeline_status(self._worker.registry, reasons), *newest)

    def _read_dead_letters(self) -> tuple[list[DeadLetterSchema], str | None]:
        try:
            return list(map(_dead_letter_schema, self._read_newest(MAX_DEAD_LETTER_OFFSETS))), None
        except MilepostError as error:
            return [], str(error)


def _dead_letter_schema(dead_letter: DeadLetter) -> DeadLetterSchema:
    schema = msgspec.convert(dead_letter, DeadLetterSchema, from_attributes=True)
    # A key may be any bytes; what is no UTF-8 cannot be encoded as JSON.
    return msgspec.structs.replace(schema, key=dead_letter.key_bytes.decode("utf-8", "backslashreplace"))


def read_pipeline_status(registry: CollectorRegistry, reasons: Mapping[str, str]) -> PipelineStatus:
    """Return the status that a worker's metrics give."""
    partitions: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    last_events: dict[str, float] = {}
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    events: Counter[str] = Counter()
    rejected: dict[str, int] = {}
    for sample in (sample for family in registry.collect() for sample in family.samples):
        labels, value = sample.labels, sample.value
        match sample.name:
            case "milepost_position" | "milepost_log_end":
                partitions[labels["topic"], int(labels["partition"])][sample.name] = int(value)
            case "milepost_lag_seconds":
                partitions[labels["topic"], int(labels["partition"])][sample.name] = value
            case "milepost_source_last_event_timestamp_seconds":
                last_events[labels["source"]] = value
            case "milepost_source_events_total":
                outcomes[labels["source"]][labels["outcome"]] = int(value)
            case "milepost_events_total":
                events[labels["outcome"]] += int(value)
            case "milepost_rejected_total" if value:
                rejected[labels["reason"]] = int(value)
    return PipelineStatus(
        reasons,
        [
            PartitionStatus(*key, *map(values.get, ("milepost_position", "milepost_log_end", "milepost_lag_seconds")))
            for key, values in sorted(partitions.items())
        ],
        [
            SourceStatus(source, last_events.get(source), _is_flooding(outcomes[source]))
            for source in sorted(last_events.keys() | outcomes.keys())
        ],
        events,
        rejected,
    )


def _is_flooding(outcomes: Counter[str]) -> bool:
    return outcomes.total() >= MIN_EVENTS_TO_FLOOD and 2 * outcomes["rejected"] > outcomes.total()
