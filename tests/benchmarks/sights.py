"""What a watched worker tells of itself, one JSON object a line; `at` is always seconds since the epoch."""

import msgspec
from msgspec import Struct


class Sight(Struct, frozen=True, tag=True):
    """Something that happened in a worker."""

    at: float


class Started(Sight, frozen=True):
    """The application was put together; nothing of it runs yet."""


class Assigned(Sight, frozen=True):
    """Partitions were assigned: the programmes are taken over and drawn."""


class Recorded(Sight, frozen=True):
    """A batch was committed."""

    events: int
    #: How long it took to decode and commit.
    seconds: float


class Shown(Sight, frozen=True):
    """A programme stands on the shelf: whoever scrapes from now on sees it as of this revision."""

    programme: str
    revision: int


class Committed(Sight, frozen=True):
    """What the worker observes as `milepost_event_delay_seconds`, of every event of a batch."""

    delays: list[float]


class Visible(Sight, frozen=True):
    """What the worker observes as `milepost_forecast_delay_seconds`."""

    delays: list[float]


class Ticked(Sight, frozen=True):
    """The ticker's turn came in the event loop, so many seconds after it was due."""

    late: float


class Collected(Sight, frozen=True):
    """The garbage collector ran; nothing else of Python did meanwhile."""

    seconds: float
    generation: int


AnySight = Started | Assigned | Recorded | Shown | Committed | Visible | Ticked | Collected

encode_sight = msgspec.json.Encoder().encode
decode_sight = msgspec.json.Decoder(AnySight).decode
