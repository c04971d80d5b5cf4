"""Reads the history of forecasts by claims (`models.domain.history`) from the ledger.

The ledger holds every event, those that were taken back included. For a few milestones of a large programme most events
are not decoded: only those about milestones for which these ever waited count.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa

from models.database.ledger import EVENT_COLUMNS, decode_event_row, read_rows
from models.database.tables import ledger
from models.database.upsert import chunked
from models.domain.claim_steps import Name, link_of, upstream_of
from models.domain.events import (
    DependencyDeclared,
    DependencyWithdrawn,
    Event,
    EventRetracted,
    MilestoneCancelled,
    MilestoneReported,
    ProgrammeRegistered,
)
from models.domain.history import HistoryEntry, trace_history
from models.domain.report import ArrivedEvent
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Stamp, instant_from_epoch_ms, make_stamp

_DEPENDENCY_TYPES: Final = (DependencyDeclared.TYPE, DependencyWithdrawn.TYPE)
_MILESTONE_TYPES: Final = frozenset({MilestoneReported.TYPE, MilestoneCancelled.TYPE})
#: Of more milestones in one project, every event about the project is decoded.
_MAX_SEARCHED_SLUGS: Final = 3
#: The values of the columns.
_Row = Any
#: Of so many events the rows are in memory at once, unless one programme has more.
_EVENTS_AT_ONCE: Final = 5_000
_RETRACTED: Final = ledger.alias("retracted")


def read_history_entries(
    connection: sa.Connection, programme: str, milestones: Collection[MilestoneRef] | None = None
) -> Iterator[HistoryEntry]:
    """Yield the history of a programme, or of some of its milestones, the oldest first."""
    # A row without a digest is a tombstone.
    own = sa.select(*EVENT_COLUMNS).where(ledger.c.programme == programme, ledger.c.digest.is_not(None))
    foreign = map(decode_event_row, read_rows(connection, _select_foreign_retractions([programme])))
    if milestones is None:
        yield from trace_history(chain(map(decode_event_row, read_rows(connection, own)), foreign), programme)
        return
    about_dependencies = ledger.c.type.in_(_DEPENDENCY_TYPES)
    declared = [decode_event_row(row) for row in read_rows(connection, own.where(about_dependencies))]
    links = {link for event in declared if (link := link_of(event)) is not None}
    # A type is never null here: the row is no tombstone.
    others = read_rows(connection, own.where(sa.not_(about_dependencies)))
    events, other_stamps = _decode_relevant(others, upstream_of(milestones, links))
    yield from trace_history(chain(declared, events, foreign), programme, milestones, other_stamps)


def has_more_events(connection: sa.Connection, programme: str, limit: int) -> bool:
    """Return whether a programme has more than so many events."""
    query = sa.select(sa.literal(1)).where(ledger.c.programme == programme).offset(limit).limit(1)
    return connection.scalar(query) is not None


def read_arrived_events(
    connection: sa.Connection, programmes: Sequence[str]
) -> Iterator[tuple[str, Iterator[ArrivedEvent]]]:
    """Yield each of some programmes with its events, and the retractions of them, with their arrival.

    An event arrived when the broker appended it: that is the same in every ledger, however late a worker read it. Small
    programmes are read together: a query for each would take most of the time. A large one is read by itself.
    """
    for names in _split_by_size(connection, programmes):
        own = sa.select(*EVENT_COLUMNS, ledger.c.appended_ms, ledger.c.programme).where(
            ledger.c.programme.in_(names), ledger.c.digest.is_not(None)
        )
        foreign = _select_foreign_retractions(names).add_columns(ledger.c.appended_ms, _RETRACTED.c.programme)
        rows = chain.from_iterable(read_rows(connection, query) for query in (own, foreign))
        if len(names) == 1:
            yield names[0], map(_arrived_event, rows)
            continue
        rows_by_programme = defaultdict[str, list[_Row]](list)
        for row in rows:
            rows_by_programme[row[-1]].append(row)
        for name in names:
            yield name, map(_arrived_event, rows_by_programme.pop(name, ()))


def _arrived_event(row: _Row) -> ArrivedEvent:
    *columns, appended_ms, _ = row
    return ArrivedEvent(decode_event_row(columns), instant_from_epoch_ms(appended_ms))


def _split_by_size(connection: sa.Connection, programmes: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield programmes in their order, those together that have no more events than are read at once."""
    if len(programmes) == 1:
        yield programmes
        return
    for part in chunked(programmes):
        query = sa.select(ledger.c.programme, sa.func.count()).where(ledger.c.programme.in_(part))
        counts: dict[str, int] = dict(connection.execute(query.group_by(ledger.c.programme)).all())
        together, total = list[str](), 0
        for name in part:
            count = counts.get(name, 0)
            if together and total + count > _EVENTS_AT_ONCE:
                yield together
                together, total = [], 0
            together.append(name)
            total += count
        yield together


def _select_foreign_retractions(programmes: Sequence[str]) -> sa.Select[Any]:
    """Return the query for retractions of the events of some programmes under the subject of another programme."""
    is_retraction = (_RETRACTED.c.source == ledger.c.source) & (_RETRACTED.c.id == ledger.c.retracts)
    return (
        sa.select(*EVENT_COLUMNS)
        .join(_RETRACTED, is_retraction)
        .where(ledger.c.retracts.is_not(None), ledger.c.programme != _RETRACTED.c.programme)
        .where(_RETRACTED.c.programme.in_(programmes))
    )


def _decode_relevant(rows: Iterable[_Row], names: Iterable[Name]) -> tuple[list[Event], list[Stamp]]:
    """Return the events that may be about some milestones or their projects, and the stamps of the others."""
    slugs_by_project: defaultdict[str, list[bytes]] = defaultdict(list)
    for project, milestone in names:
        slugs_by_project[project].append(milestone.encode())
    events: list[Event] = []
    other_stamps: list[Stamp] = []
    for row in rows:
        event_type, source, event_id, _, project, instant, _, payload = row
        slugs = slugs_by_project.get(project)
        if event_type == EventRetracted.TYPE:
            is_relevant = True
        elif slugs is None or event_type == ProgrammeRegistered.TYPE:
            is_relevant = False
        elif event_type not in _MILESTONE_TYPES or len(slugs) > _MAX_SEARCHED_SLUGS:
            is_relevant = True
        else:
            # JSON may write any character of a slug as an escape sequence.
            is_relevant = b"\\" in payload or any(slug in payload for slug in slugs)
        if is_relevant:
            events.append(decode_event_row(row))
        else:
            other_stamps.append(make_stamp(instant, source, event_id))
    return events, other_stamps
