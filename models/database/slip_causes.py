"""Who said the date of a milestone that slips by itself, and why: read from the ledger for those milestones alone.

The claims of a milestone have the source in their stamp. The reason is in the event; what was read once is cached.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cachetools import LRUCache
from sqlalchemy import Engine

from models.database.engine import read_transaction
from models.database.ledger import EventKey, read_events
from models.database.projector import ForecastResult
from models.domain.claims import MilestoneKey
from models.domain.events import MilestoneReported
from models.domain.timestamps import parse_stamp

#: Of a programme, at most so many are explained: those that most others wait for.
MAX_CAUSES: Final = 1000
_MAX_CACHED_REASONS: Final = 50_000


class SlipCause(NamedTuple):
    """The source of a milestone's own date, and the reason that it gave; empty without one."""

    source: str
    reason: str


class SlipCauseReader:
    """Reads the causes of slips."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reasons = LRUCache[EventKey, str](_MAX_CACHED_REASONS)

    def read(self, results: Sequence[ForecastResult]) -> dict[MilestoneKey, SlipCause]:
        """Return the cause of every open milestone that is late by its own date, not by a predecessor's."""
        claims = {key: event for result in results for key, event in _own_claims(result)}
        reasons: dict[EventKey, str] = {}
        missing: list[EventKey] = []
        for event in set(claims.values()):
            if (reason := self._reasons.get(event)) is None:
                missing.append(event)
            else:
                reasons[event] = reason
        if missing:
            reasons |= self._read_reasons(missing)
        return {key: SlipCause(event.source, reasons.get(event, "")) for key, event in claims.items()}

    def _read_reasons(self, keys: Sequence[EventKey]) -> Mapping[EventKey, str]:
        with read_transaction(self._engine) as connection:
            events = read_events(connection, keys)
        reasons = {
            key: (event.data.reason or "" if isinstance(event.data, MilestoneReported) else "")
            for key, event in events.items()
        }
        self._reasons.update(reasons)
        return reasons


def _own_claims(result: ForecastResult) -> Iterator[tuple[MilestoneKey, EventKey]]:
    """Return the events that set the dates of the milestones to be explained."""
    late = [
        status
        for status in result.schedule.statuses
        if (status.slip_days or 0) > 0 and status.driver is None and status.is_open
    ]
    if len(late) > MAX_CAUSES:
        late = sorted(late, key=lambda status: -status.dependents)[:MAX_CAUSES]
    for status in late:
        claims = result.facts.milestones.get(status.key)
        if claims is not None and (own := claims.own_claim) is not None:
            _, source, event_id = parse_stamp(own.stamp)
            yield status.key, EventKey(source, event_id)
