"""Silent sources, as the alert MilepostSourceSilent says (`deploy/prometheus/rules/sources.yml`).

The rhythm of a source is its longest silence that ended in the last two weeks. A source that was heard over at least a
week of them is silent when nothing of it came for more than an hour, and for more than twice its rhythm.
"""

from typing import Final, NamedTuple

_DAY_SECONDS: Final = 86_400
#: What counts of a source's past.
RHYTHM_DAYS: Final = 14
_MIN_HEARD_SECONDS: Final = 7 * _DAY_SECONDS
#: Whoever was heard within that time is not silent.
MIN_SILENCE_SECONDS: Final = 3600
_MAX_RHYTHMS: Final = 2


class SourceArrivals(NamedTuple):
    """When events of a source arrived in the weeks before a moment, in seconds since the epoch."""

    source: str
    #: The newest before those weeks, else the oldest in them.
    first: float
    last: float
    #: The longest time between two, of which the later one is in those weeks; None with one only.
    longest_gap_seconds: float | None


class SilentSource(NamedTuple):
    """A source that is silent for longer than it ever was."""

    source: str
    last: float
    silence_seconds: float
    rhythm_seconds: float


def find_silence(arrivals: SourceArrivals, now: float) -> SilentSource | None:
    """Return the silence of a source at a moment; None when the source is in its rhythm, or has none."""
    silence, rhythm = now - arrivals.last, arrivals.longest_gap_seconds
    is_known = rhythm is not None and arrivals.last - arrivals.first >= _MIN_HEARD_SECONDS
    if not is_known or rhythm is None or silence <= max(MIN_SILENCE_SECONDS, _MAX_RHYTHMS * rhythm):
        return None
    return SilentSource(arrivals.source, arrivals.last, silence, rhythm)
