"""What a watched worker tells of itself, one JSON object a line; `at` is always seconds since the epoch."""

import msgspec
from msgspec import Struct


class TraceEvent(Struct, frozen=True, tag=True):
    """Something that happened in a worker."""

    at: float


class AppCreated(TraceEvent, frozen=True):
    """The application was put together; nothing of it runs yet."""


class PartitionsAssigned(TraceEvent, frozen=True):
    """Partitions were assigned: the programmes are taken over and drawn."""


class BatchCommitted(TraceEvent, frozen=True):
    """A batch was committed."""

    events: int
    #: How long it took to decode and commit.
    seconds: float


class ProgrammeRendered(TraceEvent, frozen=True):
    """A programme stands on the shelf: whoever scrapes from now on sees it as of this revision."""

    programme: str
    revision: int


class EventDelaysObserved(TraceEvent, frozen=True):
    """What the worker observes as `milepost_event_delay_seconds`, of every event of a batch."""

    delays: list[float]


class ForecastDelaysObserved(TraceEvent, frozen=True):
    """What the worker observes as `milepost_forecast_delay_seconds`."""

    delays: list[float]


class LoopTicked(TraceEvent, frozen=True):
    """The ticker's turn came in the event loop, so many seconds after it was due."""

    late_seconds: float


class GarbageCollected(TraceEvent, frozen=True):
    """The garbage collector ran; nothing else of Python did meanwhile."""

    seconds: float
    generation: int


AnyTraceEvent = (
    AppCreated
    | PartitionsAssigned
    | BatchCommitted
    | ProgrammeRendered
    | EventDelaysObserved
    | ForecastDelaysObserved
    | LoopTicked
    | GarbageCollected
)

encode_trace_event = msgspec.json.Encoder().encode
decode_trace_event = msgspec.json.Decoder(AnyTraceEvent).decode
