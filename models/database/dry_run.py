"""What would become of events if they came now: of each by itself, and of the forecasts by all together.

Reads the ledger and folds; nothing is written. What the database itself would refuse shows only when it is tried.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, select

from models.database.ledger import DecodedRecord, classify_events, decode_stored_event
from models.database.tables import ledger
from models.domain.claims import Facts, MilestoneKey, exclude_retracted, fold
from models.domain.events import Event, Rejection
from models.domain.schedule import compute_schedule

#: Topic, partition, offset.
Origin = tuple[str, int, int]


class DryRunVerdict(StrEnum):
    """What would become of an event."""

    ACCEPTED = "accepted"
    #: Entered, and does not count: a retraction takes it back.
    RETRACTED = "retracted"
    DUPLICATE = "known"
    REJECTED = "rejected"


class DryRunChange(NamedTuple):
    """A forecast that would be another."""

    milestone: MilestoneKey
    previous: date | None
    current: date | None

    @property
    def days(self) -> int | None:
        """How far it moves, late is positive; None where there is none before or after."""
        return None if self.previous is None or self.current is None else (self.current - self.previous).days


class BatchDryRun(NamedTuple):
    """What would come of a batch."""

    verdicts: Mapping[Origin, tuple[DryRunVerdict, Rejection | None]]
    #: By programme, project, milestone.
    changes: Sequence[DryRunChange]


def dry_run_batch(connection: Connection, records: Sequence[DecodedRecord], data_date: date) -> BatchDryRun:
    """Return what would become of records that came now in this order, in one batch."""
    told = classify_events(connection, records)
    verdicts: dict[Origin, tuple[DryRunVerdict, Rejection | None]] = {}
    for verdict, some in (
        (DryRunVerdict.ACCEPTED, told.accepted),
        (DryRunVerdict.RETRACTED, told.retracted_on_arrival),
        (DryRunVerdict.DUPLICATE, told.duplicates),
    ):
        verdicts.update((origin_of(entry), (verdict, None)) for entry in some)
    verdicts.update((origin_of(entry), (DryRunVerdict.REJECTED, rejection)) for entry, rejection in told.conflicts)
    for entry in records:
        if isinstance(entry.outcome, Rejection):
            verdicts[origin_of(entry)] = (DryRunVerdict.REJECTED, entry.outcome)
    new = [entry.outcome for entry in told.accepted if isinstance(entry.outcome, Event)]
    # A retraction may stand under another programme than what it takes back.
    programmes = {event.programme for event in new} | {event.programme for event in told.retracted}
    counted = list(_read_unretracted(connection, programmes))
    return BatchDryRun(
        verdicts, list(_diff_forecasts(fold(counted), fold(exclude_retracted([*counted, *new])), data_date))
    )


def origin_of(record: DecodedRecord) -> Origin:
    """Return where a record came from."""
    return record.topic, record.partition, record.offset


def _read_unretracted(connection: Connection, programmes: Collection[str]) -> Iterator[Event]:
    """Return the events of some programmes that count."""
    query = select(ledger.c.headers, ledger.c.payload).where(
        ledger.c.programme.in_(programmes), ledger.c.digest.is_not(None), ledger.c.retracted.is_(False)
    )
    for headers, payload in connection.execute(query):
        yield decode_stored_event(headers, payload)


def _diff_forecasts(before: Facts, after: Facts, data_date: date) -> Iterator[DryRunChange]:
    was, becomes = (
        {standing.key: standing.forecast for standing in compute_schedule(facts, data_date).statuses}
        for facts in (before, after)
    )
    for key in sorted(was.keys() | becomes.keys()):
        if was.get(key) != becomes.get(key):
            yield DryRunChange(key, was.get(key), becomes.get(key))
