"""What would become of events if they came now: of each by itself, and of the forecasts by all together.

Reads the ledger and folds; nothing is written. What the database itself would refuse shows only when it is tried.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, select

from models.database.ledger import Entry, restore, sort_out
from models.database.tables import ledger
from models.domain.claims import Facts, MilestoneKey, fold, unretracted
from models.domain.events import Event, Rejection
from models.domain.schedule import picture

#: Topic, partition, offset.
Origin = tuple[str, int, int]


class Verdict(StrEnum):
    """What would become of an event."""

    ACCEPTED = "accepted"
    #: Entered, and does not count: a retraction takes it back.
    RETRACTED = "retracted"
    KNOWN = "known"
    REJECTED = "rejected"


class Moved(NamedTuple):
    """A forecast that would be another."""

    milestone: MilestoneKey
    was: date | None
    becomes: date | None

    @property
    def days(self) -> int | None:
        """How far it moves, late is positive; None where there is none before or after."""
        return None if self.was is None or self.becomes is None else (self.becomes - self.was).days


class Rehearsal(NamedTuple):
    """What would come of a batch."""

    verdicts: Mapping[Origin, tuple[Verdict, Rejection | None]]
    #: By programme, project, milestone.
    moved: Sequence[Moved]


def rehearse(connection: Connection, entries: Sequence[Entry], data_date: date) -> Rehearsal:
    """Return what would become of records that came now in this order, in one batch."""
    told = sort_out(connection, entries)
    verdicts: dict[Origin, tuple[Verdict, Rejection | None]] = {}
    for verdict, some in (
        (Verdict.ACCEPTED, told.accepted),
        (Verdict.RETRACTED, told.stillborn),
        (Verdict.KNOWN, told.duplicates),
    ):
        verdicts.update((origin(entry), (verdict, None)) for entry in some)
    verdicts.update((origin(entry), (Verdict.REJECTED, rejection)) for entry, rejection in told.conflicts)
    for entry in entries:
        if isinstance(entry.outcome, Rejection):
            verdicts[origin(entry)] = (Verdict.REJECTED, entry.outcome)
    new = [entry.outcome for entry in told.accepted if isinstance(entry.outcome, Event)]
    # A retraction may stand under another programme than what it takes back.
    programmes = {event.programme for event in new} | {event.programme for event in told.struck}
    counted = list(_counted(connection, programmes))
    return Rehearsal(verdicts, list(_moved(fold(counted), fold(unretracted([*counted, *new])), data_date)))


def origin(entry: Entry) -> Origin:
    """Return where a record came from."""
    return entry.topic, entry.partition, entry.offset


def _counted(connection: Connection, programmes: Collection[str]) -> Iterator[Event]:
    """Return the events of some programmes that count."""
    query = select(ledger.c.headers, ledger.c.payload).where(
        ledger.c.programme.in_(programmes), ledger.c.digest.is_not(None), ledger.c.retracted.is_(False)
    )
    for headers, payload in connection.execute(query):
        yield restore(headers, payload)


def _moved(before: Facts, after: Facts, data_date: date) -> Iterator[Moved]:
    was, becomes = (
        {standing.key: standing.forecast for standing in picture(facts, data_date).standings}
        for facts in (before, after)
    )
    for key in sorted(was.keys() | becomes.keys()):
        if was.get(key) != becomes.get(key):
            yield Moved(key, was.get(key), becomes.get(key))
