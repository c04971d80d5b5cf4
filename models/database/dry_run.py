"""The result of events if they arrived now: a verdict for each, and the forecasts that all of them together change.

Reads the ledger and folds; writes nothing. Only a real write shows what the database itself would refuse.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, select

from models.database.ledger import EVENT_COLUMNS, DecodedRecord, classify_events, decode_event_row
from models.database.tables import ledger
from models.domain.claims import MilestoneKey, exclude_retracted, fold
from models.domain.events import Event, Rejection
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import compute_schedule

#: Topic, partition, offset.
Origin = tuple[str, int, int]


class DryRunVerdict(StrEnum):
    """The result of an event."""

    ACCEPTED = "accepted"
    #: Recorded, but already retracted.
    RETRACTED = "retracted"
    DUPLICATE = "known"
    REJECTED = "rejected"


class DryRunChange(NamedTuple):
    """A forecast that would change."""

    milestone: MilestoneKey
    previous: date | None
    current: date | None

    @property
    def days(self) -> int | None:
        """The change in days, later is positive; None if either forecast is missing."""
        return None if self.previous is None or self.current is None else (self.current - self.previous).days


class BatchDryRun(NamedTuple):
    """The result of a batch."""

    verdicts: Mapping[Origin, tuple[DryRunVerdict, Rejection | None]]
    #: In the order of rows.
    changes: Sequence[DryRunChange]


def dry_run_batch(connection: Connection, records: Sequence[DecodedRecord], data_date: date) -> BatchDryRun:
    """Return the result of records that arrived now, in this order, in one batch."""
    classified = classify_events(connection, records)
    verdicts: dict[Origin, tuple[DryRunVerdict, Rejection | None]] = {
        record[:3]: (verdict, None)
        for verdict, verdict_records in (
            (DryRunVerdict.ACCEPTED, classified.accepted),
            (DryRunVerdict.RETRACTED, classified.retracted_on_arrival),
            (DryRunVerdict.DUPLICATE, classified.duplicates),
        )
        for record in verdict_records
    }
    rejected = [*classified.conflicts, *((r, r.outcome) for r in records if isinstance(r.outcome, Rejection))]
    verdicts.update((record[:3], (DryRunVerdict.REJECTED, rejection)) for record, rejection in rejected)
    new = [record.outcome for record in classified.accepted if isinstance(record.outcome, Event)]
    # A retraction may belong to another programme than the retracted event.
    programmes = {event.programme for event in new} | {event.programme for event in classified.retracted}
    unretracted = select(*EVENT_COLUMNS).where(
        ledger.c.programme.in_(programmes), ledger.c.digest.is_not(None), ledger.c.retracted.is_(False)
    )
    existing = list(map(decode_event_row, connection.execute(unretracted)))
    previous, current = (
        {status.key: status for status in compute_schedule(fold(events), data_date).statuses}
        for events in (existing, exclude_retracted([*existing, *new]))
    )
    changes = [
        DryRunChange(status.key, *(each.forecast if each else None for each in sides))
        for status in sorted({**previous, **current}.values(), key=milestone_sort_key)
        for sides in [(previous.get(status.key), current.get(status.key))]
    ]
    return BatchDryRun(verdicts, [change for change in changes if change.previous != change.current])
