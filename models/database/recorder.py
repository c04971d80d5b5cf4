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
from models.database.claims import read_facts, rows_of
from models.database.engine import Fate, fate_of, reading, writing
from models.database.ledger import Entry, Rejected, Sorted, sort_out
from models.database.positions import Span, TakenUp
from models.database.postgresql import sending
from models.database.retractions import take_back
from models.database.upsert import insert_into, merge_rows
from models.domain.claims import Facts, fold
from models.domain.events import Event, Reason, Rejection
from models.errors import RacedError
from models.failpoints import failpoint
from models.text import one_line


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read at once, of any number of partitions."""

    spans: Sequence[Span]
    entries: Sequence[Entry]


class Change(NamedTuple):
    """A programme that a batch changed."""

    programme: str
    revision: int
    #: Append time of the oldest event that changed it, milliseconds since the epoch.
    appended_ms: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a batch, once it is committed."""

    accepted: Sequence[Entry] = ()
    duplicates: Sequence[Entry] = ()
    rejected: Sequence[Rejected] = ()
    changes: Sequence[Change] = ()
    #: Partitions whose position lies before the batch: the database knows less than the reader thinks.
    stale: Sequence[tuple[str, int]] = ()


#: Takes the rejected of a batch to safety; must not return before they are.
Reject = Callable[[Sequence[Rejected]], None]
#: What there is to do while the database works on a batch.
Meanwhile = Callable[[], None]


def nothing() -> None:
    """Do nothing meanwhile."""


@dataclass(slots=True)
class _Tally:
    """What happened in a transaction so far."""

    sorted: Sorted = field(default_factory=lambda: Sorted((), {}))
    rejected: list[Rejected] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    stale: list[tuple[str, int]] = field(default_factory=list)


class Store:
    """What the agents, the command line and the audit read and write."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: Whether the last batch was new to the ledger, every event of it: the next one is taken for new as well, which
        #: spares to look for it there.
        self._all_new = False

    def record(self, batch: Batch, reject: Reject, meanwhile: Meanwhile = nothing) -> Recorded:
        """Write a batch whole or not at all; what there is to do meanwhile is done once, or not at all.

        Raises what the database raises; `models.database.engine.fate_of` tells what to do about it. A record that the
        database refuses is found by halving and rejected as `unstorable`; the rest of its batch goes in.
        """
        try:
            return self._record_taken_for_new(batch, reject, meanwhile)
        except DBAPIError as error:
            if fate_of(error) is not Fate.REFUSED:
                raise
            refused = self._refused(batch.entries, error)
            if not refused:
                raise
            entries = [refused.get((entry.topic, entry.partition, entry.offset), entry) for entry in batch.entries]
            return self._record_taken_for_new(Batch(batch.spans, entries), reject, nothing)

    def _record_taken_for_new(self, batch: Batch, reject: Reject, meanwhile: Meanwhile) -> Recorded:
        try:
            return self._record(batch, reject, meanwhile)
        except RacedError:
            # Nothing of the batch is written. If it was taken for new, something is published again, as a rule, and now
            # it is looked for. If not, another worker entered some of it meanwhile, and may be about to enter more.
            self._all_new = False
            return self._record(batch, reject, nothing, raced=True)

    def _record(self, batch: Batch, reject: Reject, meanwhile: Meanwhile, *, raced: bool = False) -> Recorded:
        with writing(self.engine) as connection:
            tally = _Tally()
            # 1. The positions say what is still to be done, and nobody else moves them until this commits.
            ahead, tally.stale = positions.claim(connection, batch.spans)
            entries = [
                entry
                for entry in batch.entries
                if entry.offset >= ahead.get((entry.topic, entry.partition), entry.offset + 1)
            ]
            if raced:
                _hold(connection, entries)
            # 2. The ledger tells new events from known ones. 3. The new are folded into the winning claims, and what
            # they take back is taken out.
            self._apply(connection, entries, tally, meanwhile, all_new=self._all_new)
            # 4. The rejected are safe elsewhere before the position passes them.
            if tally.rejected:
                reject(tally.rejected)
            # 5. The positions move, in the same transaction.
            positions.move(connection, [span for span in batch.spans if (span.topic, span.partition) in ahead])
            failpoint("before-commit")
        failpoint("after-commit")
        self._all_new = tally.sorted.is_all_new
        # 6. Committed: whoever is told now, is told of something that stays.
        return Recorded(
            accepted=[*tally.sorted.accepted, *tally.sorted.stillborn],
            duplicates=tally.sorted.duplicates,
            rejected=tally.rejected,
            changes=tally.changes,
            stale=tally.stale,
        )

    def _apply(
        self,
        connection: Connection,
        entries: Sequence[Entry],
        tally: _Tally,
        meanwhile: Meanwhile = nothing,
        *,
        all_new: bool = False,
    ) -> None:
        tally.sorted = found = sort_out(connection, entries, all_new=all_new)
        tally.rejected = [
            Rejected(entry, entry.outcome) for entry in entries if isinstance(entry.outcome, Rejection)
        ] + found.conflicts
        appended: dict[str, int] = {}
        for entry in (*found.accepted, *found.stillborn):
            if isinstance(event := entry.outcome, Event):
                appended[event.programme] = min(entry.appended_ms, appended.get(event.programme, entry.appended_ms))
        for lost in found.struck:
            appended[lost.programme] = min(lost.appended_ms, appended.get(lost.programme, lost.appended_ms))
        # The revision is raised before anything of a programme is written: its row is the lock that keeps a second
        # fold of the same programme, in another worker, waiting for this one, and every row says which revision it is
        # of.
        revisions = self._raise(connection, sorted(appended)) if appended else {}
        tally.changes = [Change(name, revisions[name], appended[name]) for name in sorted(appended)]
        with found.entering(connection, revisions):
            accepted = fold(entry.outcome for entry in found.accepted if isinstance(entry.outcome, Event))
            rows = rows_of(accepted, revisions)
        with sending(connection) as all_sent:
            merge_rows(connection, rows)
            all_sent()
            meanwhile()
        if found.struck:
            take_back(connection, found.struck, revisions)

    def _raise(self, connection: Connection, names: Sequence[str]) -> dict[str, int]:
        rows = [{"programme": name, "revision": 1} for name in names]
        return dict(connection.execute(_raising(connection.dialect.name), rows).all())

    def _refused(self, entries: Sequence[Entry], error: DBAPIError) -> dict[tuple[str, int, int], Entry]:
        """Find the records that the database refuses, by halving, each try rolled back."""
        if not self._is_refused(entries):
            return {}
        if len(entries) > 1:
            half = len(entries) // 2
            found = self._refused(entries[:half], error) | self._refused(entries[half:], error)
            if found:
                return found
            raise error  # only together are they refused: no record's fault
        [entry] = entries
        event = entry.outcome
        known = (event.source, event.type)
        rejection = Rejection(Reason.UNSTORABLE, f"the database refuses it: {one_line(error.orig)}", *known)
        return {(entry.topic, entry.partition, entry.offset): entry._replace(outcome=rejection)}

    def _is_refused(self, entries: Sequence[Entry]) -> bool:
        try:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin() as trial:
                self._apply(connection, entries, _Tally())
                trial.rollback()
        except DBAPIError as error:
            if fate_of(error) is not Fate.REFUSED:
                raise
            return True
        return False

    def take_up(self, topic: str, logs: Mapping[int, tuple[int, int]]) -> dict[int, TakenUp]:
        """Say where to read each partition from; see `models.database.engine.positions.take_up`."""
        with writing(self.engine) as connection:
            return positions.take_up(connection, topic, logs)

    def know_topic(self, topic: str, topic_id: str) -> None:
        """Remember which topic is read; see `models.database.engine.positions.know_topic`."""
        with writing(self.engine) as connection:
            positions.know_topic(connection, topic, topic_id)

    def positions(self, topic: str) -> dict[int, int]:
        """Return the next offset of every partition of a topic that was ever taken up."""
        with reading(self.engine) as connection:
            return positions.read(connection, topic)

    def revisions(self) -> dict[str, int]:
        """Return every programme with its revision."""
        table = tables.programmes
        with reading(self.engine) as connection:
            return dict(connection.execute(select(table.c.programme, table.c.revision)).all())

    def facts(self, programmes: Sequence[str] | None = None) -> tuple[Facts, dict[str, int]]:
        """Return the winning claims of some programmes, or of all, with their revisions, of one moment."""
        table = tables.programmes
        with reading(self.engine) as connection:
            query = select(table.c.programme, table.c.revision)
            if programmes is not None:
                query = query.where(table.c.programme.in_(programmes))
            revisions = dict(connection.execute(query).all())
            return read_facts(connection, programmes), revisions

    def count_events(self) -> int:
        """Return how many events the ledger holds."""
        query = select(func.count()).select_from(tables.ledger).where(tables.ledger.c.digest.is_not(None))
        with reading(self.engine) as connection:
            return connection.scalar(query) or 0


def _hold(connection: Connection, entries: Sequence[Entry]) -> None:
    """Lock the programmes of a batch: events of theirs that nobody has entered by now, nobody else does.

    Those of what it takes back as well: they are locked later, and two writers must not meet crosswise.
    """
    names = {event.programme for entry in entries if isinstance(event := entry.outcome, Event)}
    names.update(lost.programme for lost in sort_out(connection, entries, all_new=True).struck)
    column = tables.programmes.c.programme
    connection.execute(select(column).where(column.in_(sorted(names))).order_by(column).with_for_update())


@lru_cache(maxsize=2)
def _raising(dialect: str) -> ReturningInsert[str, int]:
    table = tables.programmes
    raised = insert_into(table, dialect).on_conflict_do_update(
        index_elements=[table.c.programme], set_={"revision": table.c.revision + 1}
    )
    return raised.returning(table.c.programme, table.c.revision)
