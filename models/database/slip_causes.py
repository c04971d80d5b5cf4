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
from models.domain.timestamps import Stamp, parse_stamp

#: Of a programme, at most so many are explained: those that most others wait for.
MAX_CAUSES: Final = 1000
_MAX_CACHED_CAUSES: Final = 50_000


class SlipCause(NamedTuple):
    """The source of a milestone's own date, and the reason that it gave; empty without one."""

    source: str
    reason: str


class SlipCauseReader:
    """Reads the causes of slips."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._causes = LRUCache[Stamp, SlipCause](_MAX_CACHED_CAUSES)

    def read(self, results: Sequence[ForecastResult]) -> dict[MilestoneKey, SlipCause]:
        """Return the cause of every open milestone that is late by its own date, not by a predecessor's."""
        stamps = {key: stamp for result in results for key, stamp in _own_claims(result)}
        causes: dict[Stamp, SlipCause] = {}
        missing: list[Stamp] = []
        for stamp in set(stamps.values()):
            if (cause := self._causes.get(stamp)) is None:
                missing.append(stamp)
            else:
                causes[stamp] = cause
        if missing:
            causes |= self._read_causes(missing)
        return {key: causes[stamp] for key, stamp in stamps.items()}

    def _read_causes(self, stamps: Sequence[Stamp]) -> Mapping[Stamp, SlipCause]:
        keys = {stamp: EventKey(*parse_stamp(stamp)[1:]) for stamp in stamps}
        with read_transaction(self._engine) as connection:
            events = read_events(connection, [*keys.values()])
        causes = {}
        for stamp, key in keys.items():
            event = events.get(key)
            reason = event.data.reason if event is not None and isinstance(event.data, MilestoneReported) else None
            causes[stamp] = SlipCause(key.source, reason or "")
        self._causes.update((stamp, cause) for stamp, cause in causes.items() if keys[stamp] in events)
        return causes


def _own_claims(result: ForecastResult) -> Iterator[tuple[MilestoneKey, Stamp]]:
    """Return the stamps of the claims that set the dates of the milestones to be explained."""
    late = [
        status
        for status in result.schedule.statuses
        if (status.slip_days or 0) > 0 and status.driver is None and status.is_open
    ]
    if len(late) > MAX_CAUSES:
        late = sorted(late, key=lambda status: -status.dependents)[:MAX_CAUSES]
    for status in late:
        key = status.key
        claims = result.facts.milestones.get(key)
        if claims is not None and (own := claims.own_claim) is not None:
            yield key, own.stamp
