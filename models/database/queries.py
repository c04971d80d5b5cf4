"""Queries of the board and the command line: facts as of a moment, and the list of programmes."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, case, exists, func, or_, select, tuple_

from models.database.ledger import EVENT_COLUMNS, EventKey, decode_event_row, read_events, read_rows
from models.database.tables import SUBJECT_TABLES, checkpoints, forecasts, ledger, milestones, programmes, projects
from models.database.upsert import chunked
from models.domain.claims import Facts, MilestoneKey, exclude_retracted, fold
from models.domain.events import Event, MilestoneReported
from models.domain.row_order import NaturalSortKey, natural_sort_key
from models.domain.schedule import LATE_STATES, MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import Instant, Stamp, parse_stamp


class ForecastVersion(NamedTuple):
    """The revision and the data date of a programme's forecasts."""

    revision: int
    data_date: date


class ProgrammeSummary(NamedTuple):
    """A programme in a list of programmes."""

    programme: str
    forecast_version: ForecastVersion
    #: The number of milestones by state; states without milestones are absent.
    counts: Mapping[State, int]

    @property
    def late_count(self) -> int:
        """The number of overdue, blocked and slipping milestones."""
        return sum(self.counts.get(state, 0) for state in LATE_STATES)


def fold_as_of(connection: Connection, as_of: Instant, programme: str | None = None) -> Facts:
    """Return the facts of the events stamped up to and including an instant, of one programme or of all.

    The claim tables hold only the present, the ledger every claim. A retraction counts from its own stamp on.
    """
    events = exclude_retracted(_read_events_as_of(connection, as_of, programme))
    return fold(event for event in events if programme is None or event.programme == programme)


def find_newest_instant(connection: Connection, as_of: Instant, programme: str | None = None) -> Instant | None:
    """Return the newest instant, up to a given one, at which something was said of a programme, or of all."""
    statements = _select_as_of([func.max(ledger.c.instant)], as_of, programme)
    return max(filter(None, map(connection.scalar, statements)), default=None)


def read_reports(
    connection: Connection, programme: str, as_of: Instant | None = None, project: str | None = None
) -> Iterator[Event]:
    """Yield the unretracted reports of a programme, or of one of its projects, as of an instant or of now."""
    if as_of is not None:
        events = exclude_retracted(_read_events_as_of(connection, as_of, programme))
    else:
        query = select(*EVENT_COLUMNS).where(
            ledger.c.programme == programme,
            ledger.c.type == MilestoneReported.TYPE,
            ledger.c.digest.is_not(None),
            ledger.c.retracted.is_(False),
        )
        wanted = query if project is None else query.where(ledger.c.project == project)
        events = map(decode_event_row, read_rows(connection, wanted))
    for event in events:
        is_wanted = event.programme == programme and project in {None, event.project}
        if is_wanted and isinstance(event.data, MilestoneReported):
            yield event


def _read_events_as_of(connection: Connection, as_of: Instant, programme: str | None) -> Iterator[Event]:
    statements = _select_as_of(EVENT_COLUMNS, as_of, programme)
    return map(decode_event_row, chain.from_iterable(read_rows(connection, each) for each in statements))


def _select_as_of(columns: Sequence[Any], as_of: Instant, programme: str | None) -> Sequence[Select[*tuple[Any, ...]]]:
    """Return queries for the events that were stamped up to an instant."""
    # A row without a digest is a tombstone.
    query = select(*columns).where(ledger.c.digest.is_not(None), ledger.c.instant <= as_of)
    if programme is None:
        return [query]
    # A source may retract under any subject, so a retraction may belong to another programme.
    retracted = ledger.alias("retracted")
    is_retraction = (retracted.c.source == ledger.c.source) & (retracted.c.id == ledger.c.retracts)
    of_other_programmes = (
        query.join(retracted, is_retraction)
        .where(ledger.c.retracts.is_not(None), ledger.c.programme != programme)
        .where(retracted.c.programme == programme)
    )
    return [query.where(ledger.c.programme == programme), of_other_programmes]


def read_forecast_versions(connection: Connection) -> dict[str, ForecastVersion]:
    """Return the forecast version of every calculated programme."""
    query = select(checkpoints.c.programme, checkpoints.c.revision, checkpoints.c.data_date)
    return {name: ForecastVersion(*version) for name, *version in connection.execute(query)}


def list_programmes(connection: Connection) -> list[ProgrammeSummary]:
    """Return every calculated programme that an event names, sorted by the number of late milestones."""
    counts: dict[str, dict[State, int]] = {}
    query = select(forecasts.c.programme, forecasts.c.state, func.count())
    for name, state, count in connection.execute(query.group_by(forecasts.c.programme, forecasts.c.state)):
        counts.setdefault(name, {})[State(state)] = count
    # A programme whose events are all retracted keeps its revision and checkpoint, and does not exist.
    registered = select(programmes.c.programme).where(programmes.c.registered_stamp.is_not(None))
    existing = {*counts, *connection.scalars(registered), *connection.scalars(select(projects.c.programme).distinct())}
    summaries = [
        ProgrammeSummary(name, version, counts.get(name, {}))
        for name, version in read_forecast_versions(connection).items()
        if name in existing
    ]
    return sorted(summaries, key=overview_sort_key)


def overview_sort_key(summary: ProgrammeSummary) -> tuple[int, NaturalSortKey]:
    """Return a key that sorts programmes by the number of late milestones, then in natural order."""
    return -summary.late_count, natural_sort_key(summary.programme)


def has_programme(connection: Connection, programme: str) -> bool:
    """Return whether an event names a programme."""
    is_registered = exists().where(programmes.c.programme == programme, programmes.c.registered_stamp.is_not(None))
    is_named = (exists().where(table.c.programme == programme) for table in SUBJECT_TABLES)
    return bool(connection.scalar(select(or_(is_registered, *is_named))))


def read_programme_names(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Return the display names of those of the given programmes that have one."""
    query = select(programmes.c.programme, programmes.c.name).where(
        programmes.c.programme.in_(names), programmes.c.name_stamp.is_not(None)
    )
    return dict(connection.execute(query).all())


class DateWord(NamedTuple):
    """Who said the date of a milestone, when and why."""

    source: str
    said: Instant
    reason: str | None
    #: Who is responsible, by the same event.
    party: str | None


def read_date_words(connection: Connection, keys: Sequence[MilestoneKey]) -> dict[MilestoneKey, DateWord]:
    """Return who said the dates of some milestones: the actual date, else the milestone's own."""
    own_stamp = case(
        (milestones.c.planned_stamp.is_(None), milestones.c.estimated_stamp),
        (milestones.c.estimated_stamp.is_(None), milestones.c.planned_stamp),
        (milestones.c.estimated_stamp > milestones.c.planned_stamp, milestones.c.estimated_stamp),
        else_=milestones.c.planned_stamp,
    )
    columns = [milestones.c[name] for name in MilestoneKey._fields]
    query = select(*columns, func.coalesce(milestones.c.actual_stamp, own_stamp))
    stamps: dict[MilestoneKey, Stamp] = {}
    for chunk in chunked(keys):
        for *key, stamp in connection.execute(query.where(tuple_(*columns).in_(chunk))):
            if stamp is not None:
                stamps[MilestoneKey(*key)] = stamp
    return read_words(connection, stamps)


def read_words(connection: Connection, stamps: Mapping[MilestoneKey, Stamp]) -> dict[MilestoneKey, DateWord]:
    """Return who said what has these stamps, when and why."""
    parts = {key: parse_stamp(stamp) for key, stamp in stamps.items()}
    events = read_events(connection, [EventKey(source, event_id) for _, source, event_id in parts.values()])
    words = {}
    for key, (said, source, event_id) in parts.items():
        event = events.get(EventKey(source, event_id))
        data = event.data if event is not None and isinstance(event.data, MilestoneReported) else None
        words[key] = DateWord(source, said, data.reason if data else None, data.party if data else None)
    return words


def read_project_names(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the display names of those projects of each of the given programmes that have one."""
    query = select(projects.c.programme, projects.c.project, projects.c.name).where(
        projects.c.programme.in_(names), projects.c.name_stamp.is_not(None)
    )
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for programme, project, name in connection.execute(query):
        found[programme][project] = name
    return found


def read_open_milestones(connection: Connection, names: Sequence[str]) -> dict[str, list[MilestoneStatus]]:
    """Return the milestones of each programme that are late, have a driver, or have dependents: the delay roots' input.

    Fields that the table `forecasts` lacks are None: planned, estimated and actual dates, last claim, and amount.
    """
    is_relevant = or_(
        forecasts.c.state.in_(LATE_STATES), forecasts.c.dependents > 0, forecasts.c.driver_project.is_not(None)
    )
    is_same = and_(*(forecasts.c[name] == milestones.c[name] for name in ("programme", "project", "milestone")))
    query = (
        select(forecasts, milestones.c.name)
        .select_from(forecasts.outerjoin(milestones, is_same))
        .where(forecasts.c.programme.in_(names), forecasts.c.state != State.CANCELLED, is_relevant)
    )
    statuses: dict[str, list[MilestoneStatus]] = {name: [] for name in names}
    for row in connection.execute(query):
        has_slip = row.slip_days is not None and row.forecast is not None
        baseline = row.forecast - timedelta(days=row.slip_days) if has_slip else None
        driver = None if row.driver_project is None else MilestoneRef(row.driver_project, row.driver_milestone)
        key, dates = (row.programme, row.project, row.milestone), (baseline, None, None, None, row.forecast)
        numbers = (row.slip_days, row.float_days)
        status = (*key, *dates, *numbers, State(row.state), driver, row.dependents, None, None, row.name)
        statuses[row.programme].append(MilestoneStatus._make(status))
    return statuses


def read_gates(connection: Connection, programme: str) -> set[MilestoneKey]:
    """Return the milestones of a programme that others wait for."""
    query = select(forecasts.c.programme, forecasts.c.project, forecasts.c.milestone).where(
        forecasts.c.programme == programme, forecasts.c.dependents > 0
    )
    return {MilestoneKey(*row) for row in connection.execute(query)}
