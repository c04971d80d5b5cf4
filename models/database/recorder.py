"""One batch, one transaction.

`Store.record` is the whole of it; the steps are numbered there. Nothing here knows Kafka: a batch says which
offsets it covers, and the table `positions` decides what of it is still to be done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import ReturningInsert

from models.database import positions, tables
from models.database.claims import facts_to_rows, load_facts
from models.database.engine import ErrorKind, classify_error, read_transaction, write_transaction
from models.database.ledger import Classified, DecodedRecord, RejectedRecord, classify_events
from models.database.positions import OffsetRange, StartOffset
from models.database.postgresql import libpq_pipeline
from models.database.retractions import apply_retractions
from models.database.upsert import insert_into, merge_table_rows
from models.domain.claims import Facts, fold
from models.domain.events import Event, Rejection, RejectionReason
from models.errors import ConcurrentWriteError
from models.failpoints import hit_failpoint
from models.text import one_line


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read at once, of any number of partitions."""

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
    """What came of a batch, once it is committed."""

    accepted: Sequence[DecodedRecord] = ()
    duplicates: Sequence[DecodedRecord] = ()
    rejected: Sequence[RejectedRecord] = ()
    programme_changes: Sequence[ProgrammeChange] = ()
    #: Partitions whose position lies before the batch: the database knows less than the reader thinks.
    stale_partitions: Sequence[tuple[str, int]] = ()


#: Takes the rejected of a batch to safety; must not return before they are.
PublishRejected = Callable[[Sequence[RejectedRecord]], None]
#: What there is to do while the database works on a batch.
WhileWaiting = Callable[[], None]


def noop() -> None:
    """Do nothing meanwhile."""


@dataclass(slots=True)
class _BatchState:
    """What happened in a transaction so far."""

    classified: Classified = field(default_factory=lambda: Classified((), {}))
    rejected: list[RejectedRecord] = field(default_factory=list)
    programme_changes: list[ProgrammeChange] = field(default_factory=list)
    stale_partitions: list[tuple[str, int]] = field(default_factory=list)


class Recorder:
    """What the agents, the command line and the audit read and write."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: Whether the last batch was new to the ledger, every event of it: the next one is taken for new as well, which
        #: spares to look for it there.
        self._assume_new = False

    def record(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting = noop
    ) -> RecordingResult:
        """Write a batch whole or not at all; what there is to do meanwhile is done once, or not at all.

        Raises what the database raises; `models.database.engine.fate_of` tells what to do about it. A record that the
        database refuses is found by halving and rejected as `unstorable`; the rest of its batch goes in.
        """
        try:
            return self._record_or_retry(batch, publish_rejected, while_waiting)
        except DBAPIError as error:
            if classify_error(error) is not ErrorKind.PERMANENT:
                raise
            refused = self._find_unstorable(batch.records, error)
            if not refused:
                raise
            entries = [refused.get((entry.topic, entry.partition, entry.offset), entry) for entry in batch.records]
            return self._record_or_retry(Batch(batch.offset_ranges, entries), publish_rejected, noop)

    def _record_or_retry(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting
    ) -> RecordingResult:
        try:
            return self._record_once(batch, publish_rejected, while_waiting)
        except ConcurrentWriteError:
            # Nothing of the batch is written. If it was taken for new, something is published again, as a rule, and now
            # it is looked for. If not, another worker entered some of it meanwhile, and may be about to enter more.
            self._assume_new = False
            return self._record_once(batch, publish_rejected, noop, is_retry=True)

    def _record_once(
        self, batch: Batch, publish_rejected: PublishRejected, while_waiting: WhileWaiting, *, is_retry: bool = False
    ) -> RecordingResult:
        with write_transaction(self.engine) as connection:
            tally = _BatchState()
            # 1. The positions say what is still to be done, and nobody else moves them until this commits.
            ahead, tally.stale_partitions = positions.lock_positions(connection, batch.offset_ranges)
            entries = [
                entry
                for entry in batch.records
                if entry.offset >= ahead.get((entry.topic, entry.partition), entry.offset + 1)
            ]
            if is_retry:
                _lock_programmes(connection, entries)
            # 2. The ledger tells new events from known ones. 3. The new are folded into the winning claims, and what
            # they take back is taken out.
            self._apply_records(connection, entries, tally, while_waiting, assume_new=self._assume_new)
            # 4. The rejected are safe elsewhere before the position passes them.
            if tally.rejected:
                publish_rejected(tally.rejected)
            # 5. The positions move, in the same transaction.
            positions.advance_positions(
                connection, [span for span in batch.offset_ranges if (span.topic, span.partition) in ahead]
            )
            hit_failpoint("before-commit")
        hit_failpoint("after-commit")
        self._assume_new = tally.classified.is_all_new
        # 6. Committed: whoever is told now, is told of something that stays.
        return RecordingResult(
            accepted=[*tally.classified.accepted, *tally.classified.retracted_on_arrival],
            duplicates=tally.classified.duplicates,
            rejected=tally.rejected,
            programme_changes=tally.programme_changes,
            stale_partitions=tally.stale_partitions,
        )

    def _apply_records(
        self,
        connection: Connection,
        records: Sequence[DecodedRecord],
        state: _BatchState,
        while_waiting: WhileWaiting = noop,
        *,
        assume_new: bool = False,
    ) -> None:
        state.classified = found = classify_events(connection, records, assume_new=assume_new)
        state.rejected = [
            RejectedRecord(entry, entry.outcome) for entry in records if isinstance(entry.outcome, Rejection)
        ] + found.conflicts
        appended: dict[str, int] = {}
        for entry in (*found.accepted, *found.retracted_on_arrival):
            if isinstance(event := entry.outcome, Event):
                appended[event.programme] = min(entry.appended_ms, appended.get(event.programme, entry.appended_ms))
        for lost in found.retracted:
            appended[lost.programme] = min(
                lost.retraction_appended_ms, appended.get(lost.programme, lost.retraction_appended_ms)
            )
        # The revision is raised before anything of a programme is written: its row is the lock that keeps a second
        # fold of the same programme, in another worker, waiting for this one, and every row says which revision it is
        # of.
        revisions = self._increment_revisions(connection, sorted(appended)) if appended else {}
        state.programme_changes = [ProgrammeChange(name, revisions[name], appended[name]) for name in sorted(appended)]
        with found.insert(connection, revisions):
            accepted = fold(entry.outcome for entry in found.accepted if isinstance(entry.outcome, Event))
            rows = facts_to_rows(accepted, revisions)
        with libpq_pipeline(connection) as all_sent:
            merge_table_rows(connection, rows)
            all_sent()
            while_waiting()
        if found.retracted:
            apply_retractions(connection, found.retracted, revisions)

    def _increment_revisions(self, connection: Connection, programmes: Sequence[str]) -> dict[str, int]:
        rows = [{"programme": name, "revision": 1} for name in programmes]
        return dict(connection.execute(_increment_revision_statement(connection.dialect.name), rows).all())

    def _find_unstorable(
        self, records: Sequence[DecodedRecord], error: DBAPIError
    ) -> dict[tuple[str, int, int], DecodedRecord]:
        """Find the records that the database refuses, by halving, each try rolled back."""
        if not self._is_unstorable(records):
            return {}
        if len(records) > 1:
            half = len(records) // 2
            found = self._find_unstorable(records[:half], error) | self._find_unstorable(records[half:], error)
            if found:
                return found
            raise error  # only together are they refused: no record's fault
        [entry] = records
        event = entry.outcome
        known = (event.source, event.type)
        rejection = Rejection(RejectionReason.UNSTORABLE, f"the database refuses it: {one_line(error.orig)}", *known)
        return {(entry.topic, entry.partition, entry.offset): entry._replace(outcome=rejection)}

    def _is_unstorable(self, records: Sequence[DecodedRecord]) -> bool:
        try:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin() as trial:
                self._apply_records(connection, records, _BatchState())
                trial.rollback()
        except DBAPIError as error:
            if classify_error(error) is not ErrorKind.PERMANENT:
                raise
            return True
        return False

    def resolve_start_offsets(self, topic: str, log_bounds: Mapping[int, tuple[int, int]]) -> dict[int, StartOffset]:
        """Say where to read each partition from; see `models.database.engine.positions.take_up`."""
        with write_transaction(self.engine) as connection:
            return positions.resolve_start_offsets(connection, topic, log_bounds)

    def remember_topic_id(self, topic: str, topic_id: str) -> None:
        """Remember which topic is read; see `models.database.engine.positions.know_topic`."""
        with write_transaction(self.engine) as connection:
            positions.remember_topic_id(connection, topic, topic_id)

    def read_positions(self, topic: str) -> dict[int, int]:
        """Return the next offset of every partition of a topic that was ever taken up."""
        with read_transaction(self.engine) as connection:
            return positions.read_positions(connection, topic)

    def read_revisions(self) -> dict[str, int]:
        """Return every programme with its revision."""
        table = tables.programmes
        with read_transaction(self.engine) as connection:
            return dict(connection.execute(select(table.c.programme, table.c.revision)).all())

    def load_facts(self, programmes: Sequence[str] | None = None) -> tuple[Facts, dict[str, int]]:
        """Return the winning claims of some programmes, or of all, with their revisions, of one moment."""
        table = tables.programmes
        with read_transaction(self.engine) as connection:
            query = select(table.c.programme, table.c.revision)
            if programmes is not None:
                query = query.where(table.c.programme.in_(programmes))
            revisions = dict(connection.execute(query).all())
            return load_facts(connection, programmes), revisions

    def count_events(self) -> int:
        """Return how many events the ledger holds."""
        query = select(func.count()).select_from(tables.ledger).where(tables.ledger.c.digest.is_not(None))
        with read_transaction(self.engine) as connection:
            return connection.scalar(query) or 0


def _lock_programmes(connection: Connection, records: Sequence[DecodedRecord]) -> None:
    """Lock the programmes of a batch: events of theirs that nobody has entered by now, nobody else does.

    Those of what it takes back as well: they are locked later, and two writers must not meet crosswise.
    """
    names = {event.programme for entry in records if isinstance(event := entry.outcome, Event)}
    names.update(lost.programme for lost in classify_events(connection, records, assume_new=True).retracted)
    column = tables.programmes.c.programme
    connection.execute(select(column).where(column.in_(sorted(names))).order_by(column).with_for_update())


@lru_cache(maxsize=2)
def _increment_revision_statement(dialect: str) -> ReturningInsert[str, int]:
    table = tables.programmes
    raised = insert_into(table, dialect).on_conflict_do_update(
        index_elements=[table.c.programme], set_={"revision": table.c.revision + 1}
    )
    return raised.returning(table.c.programme, table.c.revision)
