"""Whether a well-formed event may come in: what depends on the broker's clock and the settings."""

from collections.abc import Mapping, Sequence
from typing import Final

from models.events import Event, Reason, Rejection
from models.instants import instant_at

#: How far a claim may lie ahead of the broker's append time: contract, section 3.
FUTURE_MS: Final = 10 * 60 * 1000

#: Which sources may speak for a programme; a programme that is not named takes any.
AllowedSources = Mapping[str, Sequence[str]]


def admit(event: Event, appended_ms: int, allowed: AllowedSources) -> Event | Rejection:
    """Return the event itself, or why it may not come in."""
    if event.instant > instant_at(appended_ms + FUTURE_MS):
        return Rejection(
            Reason.TIME_IN_FUTURE,
            f"claimed at {event.instant}Z, appended at {instant_at(appended_ms)}Z; is the publisher's clock right?",
            event.source,
            event.type,
        )
    sources = allowed.get(event.programme)
    if sources is not None and event.source not in sources:
        return Rejection(
            Reason.SOURCE_NOT_ALLOWED,
            f"source {event.source!r} may not speak for programme {event.programme!r}",
            event.source,
            event.type,
        )
    return event
