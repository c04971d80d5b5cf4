"""What a retraction does to the winning claims of the subject that loses an event.

A claim that no longer stands, because a newer one of its kind does, leaves no trace. One that stands leaves its place
to the next best, which only the ledger knows: the subject is folded again. Either way all that is known of the subject
is written at its programme's new revision, so that whoever draws may forget the subject and read it again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from models.database import tables
from models.database.claims import facts_to_rows
from models.database.ledger import RetractedEvent, read_subject_events
from models.database.upsert import merge_table_rows
from models.domain.claims import fold
from models.domain.events import (
    DependencyDeclared,
    DependencyWithdrawn,
    MilestoneCancelled,
    MilestoneReported,
    ProjectWithdrawn,
)

#: What says nothing but claims which a newer one of their kind replaces whole, and where those that stand are kept.
#: A registration is not among them: the site it names exists as long as it does, whatever a newer one says.
_FULLY_SUPERSEDED: Final = {
    MilestoneReported.TYPE: tables.milestones,
    MilestoneCancelled.TYPE: tables.milestones,
    DependencyDeclared.TYPE: tables.dependencies,
    DependencyWithdrawn.TYPE: tables.dependencies,
    ProjectWithdrawn.TYPE: tables.projects,
}
#: How many subjects one query names, at most.
_SUBJECTS_PER_QUERY: Final = 500


def apply_retractions(
    connection: Connection, retracted: Sequence[RetractedEvent], revisions: Mapping[str, int]
) -> None:
    """Write what is known of the subjects that lost these events, once the new ones of their batch are merged."""
    subjects = {event.subject for event in retracted}
    changed = {event.subject for event in retracted if event.type not in _FULLY_SUPERSEDED}
    changed.update(_subjects_losing_winner(connection, retracted))
    for programme, project in sorted(changed):
        _refold_subject(connection, programme, project, revisions)
    if unchanged := sorted(subjects - changed):
        _set_revision(connection, unchanged, revisions)


def _subjects_losing_winner(connection: Connection, retracted: Sequence[RetractedEvent]) -> Iterator[tuple[str, str]]:
    """Yield the subjects of which a struck claim stands."""
    for table in tables.SUBJECT_TABLES:
        lost = [event for event in retracted if _FULLY_SUPERSEDED.get(event.type) is table]
        # A stamp is one event's: it cannot stand under another subject.
        stamps, subjects = {event.stamp for event in lost}, sorted({event.subject for event in lost})
        kept = [column for column in table.c if column.name.endswith("_stamp")]
        query = select(table.c.programme, table.c.project, *kept)
        for start in range(0, len(subjects), _SUBJECTS_PER_QUERY):
            some = tuple_(table.c.programme, table.c.project).in_(subjects[start : start + _SUBJECTS_PER_QUERY])
            for programme, project, *standing in connection.execute(query.where(some)):
                if not stamps.isdisjoint(standing):
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


def _set_revision(connection: Connection, subjects: Sequence[tuple[str, str]], revisions: Mapping[str, int]) -> None:
    """Have what is known of subjects be of their programmes' new revisions."""
    its = [
        {"its_programme": programme, "its_project": project, "its_revision": revisions[programme]}
        for programme, project in subjects
    ]
    for table in tables.SUBJECT_TABLES:
        of_subject = (table.c.programme == bindparam("its_programme")) & (table.c.project == bindparam("its_project"))
        connection.execute(update(table).where(of_subject).values(revision=bindparam("its_revision")), its)
