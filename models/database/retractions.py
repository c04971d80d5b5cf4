"""What a retraction does to the winning claims of the subject that loses an event.

A claim that no longer stands, because a newer one of its kind does, leaves no trace. One that stands leaves its place
to the next best, which only the ledger knows: the subject is folded again. Either way all that is known of the subject
is written at its programme's new revision, so that whoever draws may forget the subject and read it again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from models.database import tables
from models.database.claims import rows_of
from models.database.ledger import Struck, read_subject_events
from models.database.upsert import merge_rows
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
_REPLACED_WHOLE: Final = {
    MilestoneReported.TYPE: tables.milestones,
    MilestoneCancelled.TYPE: tables.milestones,
    DependencyDeclared.TYPE: tables.dependencies,
    DependencyWithdrawn.TYPE: tables.dependencies,
    ProjectWithdrawn.TYPE: tables.projects,
}
#: How many subjects one query names, at most.
_AT_ONCE: Final = 500


def take_back(connection: Connection, struck: Sequence[Struck], revisions: Mapping[str, int]) -> None:
    """Write what is known of the subjects that lost these events, once the new ones of their batch are merged."""
    subjects = {event.subject for event in struck}
    changed = {event.subject for event in struck if event.type not in _REPLACED_WHOLE}
    changed.update(_whose_claim_stands(connection, struck))
    for programme, project in sorted(changed):
        _fold_again(connection, programme, project, revisions)
    if unchanged := sorted(subjects - changed):
        _mark(connection, unchanged, revisions)


def _whose_claim_stands(connection: Connection, struck: Sequence[Struck]) -> Iterator[tuple[str, str]]:
    """Yield the subjects of which a struck claim stands."""
    for table in tables.FACTS:
        lost = [event for event in struck if _REPLACED_WHOLE.get(event.type) is table]
        # A stamp is one event's: it cannot stand under another subject.
        stamps, subjects = {event.stamp for event in lost}, sorted({event.subject for event in lost})
        kept = [column for column in table.c if column.name.endswith("_stamp")]
        query = select(table.c.programme, table.c.project, *kept)
        for start in range(0, len(subjects), _AT_ONCE):
            some = tuple_(table.c.programme, table.c.project).in_(subjects[start : start + _AT_ONCE])
            for programme, project, *standing in connection.execute(query.where(some)):
                if not stamps.isdisjoint(standing):
                    yield programme, project


def _fold_again(connection: Connection, programme: str, project: str, revisions: Mapping[str, int]) -> None:
    for table in tables.FACTS:
        connection.execute(delete(table).where(table.c.programme == programme, table.c.project == project))
    if not project:
        registers = [column.name for column in tables.programmes.c if "register" in column.info]
        connection.execute(
            update(tables.programmes).where(tables.programmes.c.programme == programme).values(dict.fromkeys(registers))
        )
    merge_rows(connection, rows_of(fold(read_subject_events(connection, programme, [project])), revisions))


def _mark(connection: Connection, subjects: Sequence[tuple[str, str]], revisions: Mapping[str, int]) -> None:
    """Have what is known of subjects be of their programmes' new revisions."""
    its = [
        {"its_programme": programme, "its_project": project, "its_revision": revisions[programme]}
        for programme, project in subjects
    ]
    for table in tables.FACTS:
        of_subject = (table.c.programme == bindparam("its_programme")) & (table.c.project == bindparam("its_project"))
        connection.execute(update(table).where(of_subject).values(revision=bindparam("its_revision")), its)
