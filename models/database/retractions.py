"""Applies retractions to the winning claims of the subjects that lose an event.

A retracted claim that a newer one had superseded leaves no trace. A retracted winner gives way to the next best claim,
which only the ledger holds, so its subject is folded again. Either way all rows of the subject get the programme's new
revision, so that the projector drops the cached subject and reads it again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, bindparam, delete, func, select, tuple_, update

from models.database import tables
from models.database.claims import facts_to_rows
from models.database.ledger import RetractedEvent, read_subject_events
from models.database.upsert import chunked, merge_table_rows
from models.domain import events
from models.domain.claims import fold

#: Event types whose claims are fully superseded by a newer claim of the same type, and the table that holds the current
#: one. A registration is not among them: the site it names exists whatever a newer registration names.
_FULLY_SUPERSEDED: Final = {
    events.MilestoneReported.TYPE: tables.milestones,
    events.MilestoneCancelled.TYPE: tables.milestones,
    events.DependencyDeclared.TYPE: tables.dependencies,
    events.DependencyWithdrawn.TYPE: tables.dependencies,
    events.ProjectWithdrawn.TYPE: tables.projects,
}


def apply_retractions(
    connection: Connection, retracted: Sequence[RetractedEvent], revisions: Mapping[str, int]
) -> None:
    """Rewrite the subjects that lost these events; call it after the batch's new events are merged."""
    subjects = {(event.programme, event.project) for event in retracted}
    changed = {(event.programme, event.project) for event in retracted if event.type not in _FULLY_SUPERSEDED}
    changed.update(_subjects_losing_winner(connection, retracted))
    for programme, project in sorted(changed):
        _refold_subject(connection, programme, project, revisions)
    if rows := [
        {"key_programme": programme, "key_project": project, "new_revision": revisions[programme]}
        for programme, project in sorted(subjects - changed)
    ]:
        for table in tables.SUBJECT_TABLES:
            key = (table.c.programme == bindparam("key_programme"), table.c.project == bindparam("key_project"))
            connection.execute(update(table).where(*key).values(revision=bindparam("new_revision")), rows)


def _subjects_losing_winner(connection: Connection, retracted: Sequence[RetractedEvent]) -> Iterator[tuple[str, str]]:
    for table in tables.SUBJECT_TABLES:
        lost = [event for event in retracted if _FULLY_SUPERSEDED.get(event.type) is table]
        # A stamp belongs to one event, so it cannot win in another subject.
        lost_stamps = {event.stamp for event in lost}
        stamp_columns = [column for column in table.c if column.name.endswith("_stamp")]
        query = select(table.c.programme, table.c.project, *stamp_columns)
        for subjects in chunked(sorted({(event.programme, event.project) for event in lost})):
            is_subject = tuple_(table.c.programme, table.c.project).in_(subjects)
            for programme, project, *winning_stamps in connection.execute(query.where(is_subject)):
                if not lost_stamps.isdisjoint(winning_stamps):
                    yield programme, project


def _refold_subject(connection: Connection, programme: str, project: str, revisions: Mapping[str, int]) -> None:
    for table in tables.SUBJECT_TABLES:
        connection.execute(delete(table).where(table.c.programme == programme, table.c.project == project))
    if not project:
        registers = [column.name for column in tables.programmes.c if "register" in column.info]
        connection.execute(
            update(tables.programmes).where(tables.programmes.c.programme == programme).values(dict.fromkeys(registers))
        )
    merge_table_rows(connection, facts_to_rows(fold(read_subject_events(connection, programme, [project])), revisions))


#: Unmatched retractions are counted up to this number, so that counting takes no longer however many there are.
MAX_COUNTED_UNMATCHED: Final = 10_000


class UnmatchedRetraction(NamedTuple):
    """A retraction whose event is not there: not yet, or the source has no event with that id."""

    source: str
    id: str
    #: The id of the event that it retracts.
    retracts: str
    programme: str
    appended_ms: int


def _select_unmatched(names: Sequence[str]) -> Select[Any]:
    """Return the query for columns of the retractions that have no event."""
    # Each has left a tombstone. An index holds the tombstones alone, so the rest of the ledger is not read.
    tombstone, retraction = tables.ledger.alias("tombstone"), tables.ledger.alias("retraction")
    is_of = (retraction.c.source == tombstone.c.source) & (retraction.c.retracts == tombstone.c.id)
    columns = [retraction.c[name] for name in names]
    return select(*columns).select_from(tombstone.join(retraction, is_of)).where(tombstone.c.digest.is_(None))


def count_unmatched_retractions(connection: Connection) -> int:
    """Return how many retractions have no event, at most `MAX_COUNTED_UNMATCHED`."""
    first = _select_unmatched(["id"]).limit(MAX_COUNTED_UNMATCHED).subquery()
    return connection.scalar(select(func.count()).select_from(first)) or 0


def read_unmatched_retractions(connection: Connection, limit: int) -> list[UnmatchedRetraction]:
    """Return some retractions that have no event: those that a scan of the tombstones finds first."""
    rows = connection.execute(_select_unmatched(UnmatchedRetraction._fields).limit(limit))
    return [UnmatchedRetraction(*row) for row in rows]
