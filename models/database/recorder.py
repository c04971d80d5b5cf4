"""Records one batch in one transaction: `Recorder.record`, whose steps are numbered in `_record_once`.

The recorder knows no Kafka: a batch names the offsets that it covers, and the table `positions` decides which of its
records are still to be recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from models.database import positions, tables
from models.database.claims import facts_to_rows, increment_revisions, read_revisions
from models.database.engine import ErrorKind, classify_error, read_transaction, write_transaction
from models.database.ledger import DecodedRecord, RejectedRecord, classify_events
from models.database.positions import OffsetRange, StartOffset
from models.database.postgresql import is_postgresql, libpq_pipeline
from models.database.retractions import apply_retractions
from models.database.upsert import merge_table_rows
from models.domain.claims import fold
from models.domain.events import Event, Rejection, RejectionReason
from models.errors import ConcurrentWriteError
from models.failpoints import hit_failpoint
from models.text import one_line


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one fetch, of any number of partitions."""

    offset_ranges: Sequence[OffsetRange]
    records: Sequence[DecodedRecord]


class ProgrammeChange(NamedTuple):
    """A programme that a batch changed."""

    programme: str
    revision: int
    #: Append time of the oldest event that changed it, milliseconds since the epoch.
    oldest_appended_ms: int


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """The result of a committed batch."""

    accepted: Sequence[DecodedRecord] = ()
    duplicates: Sequence[DecodedRecord] = ()
    rejected: Sequence[RejectedRecord] = ()
    programme_changes: Sequence[ProgrammeChange] = ()
    #: Partitions whose position is before the batch: the database has read less than the reader assumes.
    stale_partitions: Sequence[tuple[str, int]] = ()


#: Publishes the rejected records of a batch; returns when they are stored safely.
PublishRejected = Callable[[Sequence[RejectedRecord]], None]
#: Work to do while the database executes a batch.
WhileWaiting = Callable[[], None]


def noop() -> None:
    """Do nothing while waiting."""


class Recorder:
    """Records batches, and reads the positions and revisions that they leave."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: Whether the last batch was entirely new: the next one is then inserted without a lookup in the ledger.
        self._assume_new = False

    def record(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting = noop
    ) -> RecordingResult:
        """Write a batch entirely or not at all; calls `while_waiting` at most once.

        Raises the database's errors (see `classify_error`). A record that the database refuses is found by bisection
        and rejected as `unstorable`; the rest of the batch is recorded.
        """
        try:
            return self._record_or_retry(batch, publish_rejected, while_waiting)
        except DBAPIError as error:
            if classify_error(error) is not ErrorKind.PERMANENT:
                raise
            unstorable = self._find_unstorable(batch.records, error)
            if not unstorable:
                raise
            records = [unstorable.get(record[:3], record) for record in batch.records]
            return self._record_or_retry(Batch(batch.offset_ranges, records), publish_rejected, noop)

    def _record_or_retry(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting
    ) -> RecordingResult:
        try:
            return self._record_once(batch, publish_rejected, while_waiting)
        except ConcurrentWriteError:
            # Nothing is written. If the batch was assumed to be new, it contains duplicates, and the retry looks them
            # up. If not, another worker recorded some of its events, and may be about to record more.
            self._assume_new = False
            return self._record_once(batch, publish_rejected, noop, is_retry=True)

    def _record_once(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting, *, is_retry: bool = False
    ) -> RecordingResult:
        with write_transaction(self.engine) as connection:
            # 1. The positions decide which records are still to be recorded; the lock keeps them until the commit.
            unread, stale_partitions = positions.lock_positions(connection, batch.offset_ranges)
            records = _skip_recorded(batch, unread)
            if is_retry:
                _lock_out_writers(connection)
            # 2. The ledger separates new events from known ones. 3. New events are folded into the winning claims, the
            # positions advance, and retractions are applied.
            read = [offsets for offsets in batch.offset_ranges if offsets[:2] in unread]
            is_all_new, result = _apply_records(connection, records, while_waiting, read, assume_new=self._assume_new)
            # 4. The rejected records are stored elsewhere before the commit lets the position pass them.
            if result.rejected:
                publish_rejected(result.rejected)
            hit_failpoint("before-commit")
        # 5. The commit.
        hit_failpoint("after-commit")
        # 6. Only committed changes are reported.
        self._assume_new = is_all_new
        return replace(result, stale_partitions=stale_partitions)

    def _find_unstorable(
        self, records: Sequence[DecodedRecord], error: DBAPIError
    ) -> dict[tuple[str | int, ...], DecodedRecord]:
        """Find the records that the database refuses, by bisection in transactions that are rolled back."""
        try:
            with write_transaction(self.engine) as connection:
                _apply_records(connection, records, noop)
                connection.rollback()
        except DBAPIError as refusal:
            if classify_error(refusal) is not ErrorKind.PERMANENT:
                raise
        else:
            return {}
        if len(records) > 1:
            half = len(records) // 2
            unstorable = self._find_unstorable(records[:half], error) | self._find_unstorable(records[half:], error)
            if unstorable:
                return unstorable
            raise error  # The database refuses only the combination, which is no record's fault.
        [record] = records
        event, detail = record.outcome, f"the database refuses it: {one_line(error.orig)}"
        rejection = Rejection(RejectionReason.UNSTORABLE, detail, event.source, event.type)
        return {record[:3]: record._replace(outcome=rejection)}

    def resolve_start_offsets(self, topic: str, log_bounds: Mapping[int, tuple[int, int]]) -> dict[int, StartOffset]:
        """Return where to start reading each partition; see `positions.resolve_start_offsets`."""
        with write_transaction(self.engine) as connection:
            return positions.resolve_start_offsets(connection, topic, log_bounds)

    def remember_topic_id(self, topic: str, topic_id: str) -> None:
        """Store the id of the topic that is read; see `positions.remember_topic_id`."""
        with write_transaction(self.engine) as connection:
            positions.remember_topic_id(connection, topic, topic_id)

    def read_positions(self, topic: str) -> dict[int, int]:
        """Return the next offset by partition of a topic."""
        with read_transaction(self.engine) as connection:
            return positions.read_positions(connection, topic)

    def read_revisions(self) -> dict[str, int]:
        """Return the revision of every programme."""
        with read_transaction(self.engine) as connection:
            return read_revisions(connection)


def _apply_records(
    connection: Connection,
    records: Sequence[DecodedRecord],
    while_waiting: WhileWaiting,
    read: Sequence[OffsetRange] = (),
    *,
    assume_new: bool = False,
) -> tuple[bool, RecordingResult]:
    """Write records to the ledger and the winning claims, and move the positions behind what was read.

    Returns whether all events were new, and the result.
    """
    classified = classify_events(connection, records, assume_new=assume_new)
    accepted = [*classified.accepted, *classified.retracted_on_arrival]
    rejected = [RejectedRecord(record, record.outcome) for record in records if isinstance(record.outcome, Rejection)]
    oldest_ms: dict[str, int] = {}
    for record in accepted:
        if isinstance(event := record.outcome, Event):
            programme, appended_ms = event.programme, record.appended_ms
            if (oldest := oldest_ms.get(programme)) is None or appended_ms < oldest:
                oldest_ms[programme] = appended_ms
    for _, _, programme, _, _, appended_ms in classified.retracted:
        oldest_ms[programme] = min(appended_ms, oldest_ms.get(programme, appended_ms))
    # The revision is incremented before any other write: the programme's row is the lock that makes another worker's
    # fold of the same programme wait for this one, and every row stores the revision of its last write.
    revisions: dict[str, int] = {}
    if names := sorted(oldest_ms):
        revisions = increment_revisions(connection, names)
    changes = [ProgrammeChange(name, revisions[name], oldest_ms[name]) for name in names]
    with classified.insert(connection, revisions):
        facts = fold(record.outcome for record in classified.accepted if isinstance(record.outcome, Event))
        rows_by_table = facts_to_rows(facts, revisions)
    with libpq_pipeline(connection) as flush:
        merge_table_rows(connection, rows_by_table)
        positions.advance_positions(connection, read, _newest_append_times(accepted))
        flush()
        while_waiting()
    if classified.retracted:
        apply_retractions(connection, classified.retracted, revisions)
    result = RecordingResult(accepted, classified.duplicates, [*rejected, *classified.conflicts], changes)
    return classified.is_all_new, result


def _skip_recorded(batch: Batch, unread: Mapping[tuple[str, int], int]) -> Sequence[DecodedRecord]:
    """Return the records of a batch that are still to be recorded, given the position of each partition with some."""
    if all(unread.get(offsets[:2]) == offsets.start for offsets in batch.offset_ranges):
        return batch.records
    return [record for record in batch.records if record.offset >= unread.get(record[:2], record.offset + 1)]


def _newest_append_times(records: Sequence[DecodedRecord]) -> dict[tuple[str, int], int]:
    """Return when the newest of some records was appended, by partition."""
    newest_ms: dict[tuple[str, int], int] = {}
    for record in records:
        partition, appended_ms = record[:2], record.appended_ms
        if appended_ms > newest_ms.get(partition, 0):
            newest_ms[partition] = appended_ms
    return newest_ms


def _lock_out_writers(connection: Connection) -> None:
    """Wait until no other worker writes events, and let none begin until the transaction ends.

    Every writer changes a programme before it writes anything else. To lock the batch's programmes alone would not do:
    the wait for them can reveal an event that the batch retracts, of a programme that another writer holds, and both
    would wait for each other.
    """
    if is_postgresql(connection):
        connection.execute(_LOCK_OUT_WRITERS)


_LOCK_OUT_WRITERS: Final = text(f"LOCK TABLE {tables.programmes.name} IN SHARE ROW EXCLUSIVE MODE")
