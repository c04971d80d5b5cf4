"""What was believed at a moment: the fold over the claims stamped up to then.

The tables of winning claims know only the present; the ledger keeps every claim, so any past can be folded again.
"""
# How all programmes stand, as they were drawn last: what an overview reads, without drawing any of them again.
# What was forecast when: rows of the history, each with the moment at which the event behind it was said.
#
# A forecast is reported when someone says what moves it, which may be long before it is read: a publisher that hands in
# a year at once is drawn as that year, not as one day.

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, or_, select

from models.database.ledger import decode_stored_event
from models.database.tables import checkpoints, forecasts, history, ledger, programmes, projects
from models.domain.claims import Facts, MilestoneKey, exclude_retracted, fold
from models.domain.events import Event
from models.domain.forecast_changes import HistoryRow
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import Instant, day_of, instant_from_epoch_ms


def fold_as_of(connection: Connection, as_of: Instant, programme: str | None = None) -> Facts:
    """Return the winning claims among those stamped up to an instant, itself included; of one programme or of all.

    A retraction counts from its own stamp on: what is retracted today was believed yesterday.
    """
    events = exclude_retracted(_read_events_as_of(connection, as_of, programme))
    return fold(event for event in events if programme is None or event.programme == programme)


def _read_events_as_of(connection: Connection, as_of: Instant, programme: str | None) -> Iterator[Event]:
    # A row without a digest only holds the place of an event that never came.
    stated = select(ledger.c.headers, ledger.c.payload).where(ledger.c.digest.is_not(None), ledger.c.instant <= as_of)
    if programme is None:
        yield from _decode_events(connection, stated)
        return
    yield from _decode_events(connection, stated.where(ledger.c.programme == programme))
    # A source may retract under any subject, so what takes these events back may stand under another programme.
    struck = ledger.alias("struck")
    takes_back = (struck.c.source == ledger.c.source) & (struck.c.id == ledger.c.retracts)
    elsewhere = (
        stated.join(struck, takes_back)
        .where(ledger.c.retracts.is_not(None), ledger.c.programme != programme)
        .where(struck.c.programme == programme)
    )
    yield from _decode_events(connection, elsewhere)


def _decode_events(connection: Connection, query: Select[Any, Any]) -> Iterator[Event]:
    for headers, payload in connection.execute(query):
        yield decode_stored_event(headers, payload)


class ForecastVersion(NamedTuple):
    """Of which revision and day a programme is drawn."""

    revision: int
    data_date: date


class ProgrammeSummary(NamedTuple):
    """A programme from afar."""

    programme: str
    forecast_version: ForecastVersion
    #: How many milestones there are of each state; of those that there are none of, nothing.
    counts: Mapping[State, int]

    @property
    def late_count(self) -> int:
        """How many milestones are overdue, held up or slipping."""
        return sum(self.counts.get(state, 0) for state in (State.OVERDUE, State.BLOCKED, State.SLIPPING))


def read_forecast_versions(connection: Connection) -> dict[str, ForecastVersion]:
    """Return of every programme that was ever drawn of what it is."""
    columns = (checkpoints.c.programme, checkpoints.c.revision, checkpoints.c.data_date)
    return {name: ForecastVersion(revision, day) for name, revision, day in connection.execute(select(*columns))}


def list_programmes(connection: Connection) -> list[ProgrammeSummary]:
    """Return every programme that an event names, those with the most that is late first."""
    counts: dict[str, dict[State, int]] = {}
    counting = select(forecasts.c.programme, forecasts.c.state, func.count())
    for name, state, count in connection.execute(counting.group_by(forecasts.c.programme, forecasts.c.state)):
        counts.setdefault(name, {})[State(state)] = count
    # A programme whose every event was taken back keeps its rows of revisions and pictures, and is no programme.
    named = set(counts)
    named.update(connection.scalars(select(programmes.c.programme).where(programmes.c.registered_stamp.is_not(None))))
    named.update(connection.scalars(select(projects.c.programme).distinct()))
    surveyed = [
        ProgrammeSummary(name, drawn, counts.get(name, {}))
        for name, drawn in read_forecast_versions(connection).items()
        if name in named
    ]
    return sorted(surveyed, key=lambda one: (-one.late_count, one.programme))


def read_programme_names(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Return what those of some programmes are called that were given a name."""
    query = select(programmes.c.programme, programmes.c.name).where(
        programmes.c.programme.in_(names), programmes.c.name_stamp.is_not(None)
    )
    return dict(connection.execute(query).all())


def read_open_milestones(connection: Connection, names: Sequence[str]) -> dict[str, list[MilestoneStatus]]:
    """Return, by programme, the milestones that are late, driven, or waited for: enough to find the delay roots.

    Fields that the table `forecasts` lacks are None: planned, estimated and actual dates, amount, and last claim.
    """
    late = forecasts.c.state.in_([State.OVERDUE, State.BLOCKED, State.SLIPPING])
    query = select(forecasts).where(
        forecasts.c.programme.in_(names),
        forecasts.c.state != State.CANCELLED,
        or_(late, forecasts.c.dependents > 0, forecasts.c.driver_project.is_not(None)),
    )
    statuses: dict[str, list[MilestoneStatus]] = {name: [] for name in names}
    for row in connection.execute(query):
        slip = None if row.slip_days is None or row.forecast is None else timedelta(days=row.slip_days)
        statuses[row.programme].append(
            MilestoneStatus(
                row.programme,
                row.project,
                row.milestone,
                # The slip is the forecast minus the baseline.
                baseline=None if slip is None else row.forecast - slip,
                planned=None,
                estimated=None,
                actual=None,
                forecast=row.forecast,
                slip_days=row.slip_days,
                float_days=row.float_days,
                state=State(row.state),
                driver=None if row.driver_project is None else MilestoneRef(row.driver_project, row.driver_milestone),
                dependents=row.dependents,
                last_claim_stamp=None,
                amount=None,
            )
        )
    return statuses


class DatedHistoryRow(NamedTuple):
    """A row of the history, and when its cause was said; None when the ledger does not hold it."""

    row: HistoryRow
    claimed_at: Instant | None

    @property
    def claimed_on(self) -> date:
        """The day on which it was said, or on which it was noted when that is not known."""
        return day_of(self.claimed_at or instant_from_epoch_ms(self.row.recorded_ms))


class TrendPoint(NamedTuple):
    """On a day, a forecast was reported."""

    day: date
    forecast: date | None


def read_milestone_history(connection: Connection, key: MilestoneKey, limit: int) -> list[DatedHistoryRow]:
    """Return the newest reports of one milestone, the oldest of them first."""
    its = [history.c[name] == part for name, part in key._asdict().items()]
    return _fetch_dated_history(
        connection, _select_dated_history().where(*its).order_by(history.c.number.desc()).limit(limit)
    )[::-1]


def read_programme_history(
    connection: Connection, programme: str, before_number: int | None, limit: int
) -> list[DatedHistoryRow]:
    """Return reports of a programme, the newest first; of those numbered below another, if that is given."""
    query = _select_dated_history().where(
        history.c.programme == programme, history.c.previous.is_distinct_from(history.c.current)
    )
    if before_number is not None:
        query = query.where(history.c.number < before_number)
    return _fetch_dated_history(connection, query.order_by(history.c.number.desc()).limit(limit))


def read_changes_of_same_event(connection: Connection, history_row: HistoryRow, limit: int) -> list[HistoryRow]:
    """Return what the event behind a row of the history moved at the same time, beside it."""
    # A drawing notes a gate before those that wait for it, and numbers all it notes in one go.
    near = history.c.number.between(history_row.number + 1, history_row.number + limit)
    query = select(*_HISTORY_ROW_COLUMNS).where(
        history.c.programme == history_row.programme,
        near,
        history.c.revision == history_row.revision,
        history.c.cause_source == history_row.cause_source,
        history.c.cause_id == history_row.cause_id,
    )
    return [HistoryRow._make(row) for row in connection.execute(query.order_by(history.c.number))]


def trend_line(
    dated_rows: Sequence[DatedHistoryRow], baseline: TrendPoint | None, current: TrendPoint
) -> list[TrendPoint]:
    """Return the line of a milestone: from its baseline over what was reported to how it stands now.

    Whatever was said late for an earlier day, the line never goes back.
    """
    line = [] if baseline is None else [baseline]
    for report in dated_rows:
        day = report.claimed_on if not line else max(report.claimed_on, line[-1].day)
        _append_point(line, TrendPoint(day, report.row.current))
    day = current.day if not line else max(current.day, line[-1].day)
    _append_point(line, TrendPoint(day, current.forecast))
    return line


def _append_point(line: list[TrendPoint], point: TrendPoint) -> None:
    # Of a day, what was said last; but where a line begins stays.
    if line and line[-1].day == point.day and (len(line) > 1 or line[-1] == point):
        line.pop()
    line.append(point)


_HISTORY_ROW_COLUMNS = tuple(history.c[name] for name in HistoryRow._fields)


def _select_dated_history() -> Select[Any]:
    cause = (ledger.c.source == history.c.cause_source) & (ledger.c.id == history.c.cause_id)
    return select(*_HISTORY_ROW_COLUMNS, ledger.c.instant).select_from(history.outerjoin(ledger, cause))


def _fetch_dated_history(connection: Connection, query: Select[Any]) -> list[DatedHistoryRow]:
    return [DatedHistoryRow(HistoryRow._make(row[:-1]), row[-1]) for row in connection.execute(query)]
