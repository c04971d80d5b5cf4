"""The board's read model: what pages show, read off the event loop and cached until the forecasts change.

At most two threads read and render, over connections of their own, so that the board never takes a connection from
recording. After a refresh the cached view is served for nine times as long as the refresh took, so that the board uses
at most about 10 % of a core: during a backlog of events, pages are a little behind instead of slowing the worker. The
limits on the cooldown and on staleness bound how far behind a page can be, however many users there are.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import blake2b
from itertools import chain
from typing import Final, NamedTuple, TypeVar, TypeVarTuple

from cachetools import LRUCache
from sqlalchemy import Connection, Engine, select, text

from models.database import queries
from models.database.claims import load_announced_projects, read_revisions
from models.database.engine import dispose_engine, read_transaction
from models.database.queries import DateWord, ForecastVersion, ProgrammeSummary, overview_sort_key
from models.database.tables import programmes
from models.domain.assumptions import ASSUMED_SOURCE, assume, find_programme
from models.domain.claims import Facts, MilestoneKey, ProgrammeClaims
from models.domain.impact import NO_IMPACT, DelayRoot, Impact, delay_roots, measure_impacts
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State, compute_schedule
from models.domain.sources import days_between_sources, words_of_sources
from models.domain.timestamps import Instant, Stamp, parse_stamp
from models.views.comparison import Comparison
from models.views.names import NO_NAMES, Names, names_of
from models.views.picture import PRESENT, PictureQuery, load_picture_facts
from models.views.upcoming import MAX_NAMED_OF_MANY, Upcoming, find_upcoming, own_dates, read_upcoming
from streams.web.change_feed import ChangeFeed
from streams.web.errors import NotFoundError
from streams.web.history_cache import HistoryCache
from streams.web.picture_limit import PictureLimit, Turn, current_turn
from streams.web.picture_parameters import PictureRequest

#: How the names of its threads begin.
READ_MODEL_THREADS: Final = "board"
#: Of those that calculate other pictures than the present.
PICTURE_THREADS: Final = "board-picture"
#: Size of the caches of programmes, and of other pictures of them; each picture counts as so many milestones at least.
_MAX_CACHED_MILESTONES: Final = 50_000
_MAX_CACHED_PAST_MILESTONES: Final = 20_000
_MIN_VIEW_SIZE: Final = 20
#: Milestones of which sources say different dates.
_MAX_CACHED_DISAGREED: Final = 20_000
#: Gates of a programme of which pages say who said their dates.
SHOWN_GATES: Final = 5
#: The longest query, and the least time that one gets.
_MAX_QUERY_SECONDS: Final = 10.0
_MIN_QUERY_SECONDS: Final = 0.1
#: Seconds of cooldown for each second of work, and the longest cooldown.
_COOLDOWN_RATIO: Final = 9
_MAX_COOLDOWN_SECONDS: Final = 10.0
#: An older view is refreshed even in a cooldown: otherwise the work for others could extend the cooldown for ever.
_MAX_STALENESS_SECONDS: Final = 20.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ProgrammeView(NamedTuple):
    """A programme calculated from its facts, the same as `milepost status` shows."""

    programme: str
    #: Revision of the facts: never older than the stored forecasts.
    revision: int
    #: Of the stored forecasts and the history when the view was read; None before the first calculation.
    forecast_version: ForecastVersion | None
    facts: Facts
    schedule: Schedule
    #: In the order of rows.
    statuses: Sequence[MilestoneStatus]
    delay_roots: Sequence[DelayRoot]
    #: Of the gates that move others.
    impacts: Mapping[MilestoneKey, Impact]
    #: The present one, or another; its instant is that of the newest stamp.
    picture: PictureQuery = PRESENT
    #: The same programme in the picture with which this one is compared.
    compared: "ProgrammeView | None" = None
    #: The parameters that ask for the picture, for links.
    parameters: tuple[tuple[str, str], ...] = ()
    #: The schedule without what the picture assumes; None where it assumes nothing.
    as_said: Schedule | None = None
    names: Names = NO_NAMES

    @property
    def etag(self) -> str:
        """Entity tag of what is rendered from this view and from its history."""
        forecasts = "-".join(map(str, self.forecast_version)) if self.forecast_version else "new"
        if self.compared is not None:
            return f"{self._replace(compared=None).etag}-since{picture_tag(self.compared.picture)}"
        return f"{self.revision}-{forecasts}-{self.schedule.data_date}{picture_tag(self.picture)}"

    @property
    def registration(self) -> ProgrammeClaims:
        """Name, investment and jobs of the programme, as far as they are registered."""
        return self.facts.programmes.get(self.programme) or ProgrammeClaims()

    def impact_of(self, status: MilestoneStatus) -> Impact:
        """Return what a milestone holds up."""
        return self.impacts.get(status.key, NO_IMPACT)

    def compare(self, status: MilestoneStatus) -> Comparison | None:
        """Return a milestone beside what it was in the compared picture; None without one."""
        if self.compared is None:
            return None
        index = self.compared.schedule.network.index_of.get(status.key)
        return Comparison(status, None if index is None else self.compared.schedule.statuses[index])

    @property
    def gone(self) -> list[MilestoneStatus]:
        """The milestones that only the compared picture has, in the order of rows."""
        known = self.schedule.network.index_of
        return [] if self.compared is None else [each for each in self.compared.statuses if each.key not in known]

    def get_status(self, project: str, milestone: str) -> MilestoneStatus:
        """Return a milestone's status; raises `NotFoundError`."""
        index = self.schedule.network.index_of.get((self.programme, project, milestone))
        if index is None:
            raise NotFoundError(f"There is no milestone {project}/{milestone} in programme {self.programme}.")
        return self.schedule.statuses[index]


class OverviewVersion(NamedTuple):
    """What the overview shows: a picture of all programmes in a version."""

    version: str
    picture: PictureQuery = PRESENT
    compared: PictureQuery | None = None
    #: The parameters that ask for the picture, for links.
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def etag(self) -> str:
        """Entity tag of what is rendered of this."""
        since = "" if self.compared is None else f"-since{picture_tag(self.compared)}"
        return f"all-{self.version}{picture_tag(self.picture)}{since}"


class Overview(NamedTuple):
    """A page of programmes, and the totals of all."""

    total: int
    late_programmes: int
    #: The number of milestones of all programmes by state; states without milestones are absent.
    counts: Mapping[State, int]
    programmes: Sequence[ProgrammeSummary]
    titles: dict[str, str]
    delay_roots: Mapping[str, Sequence[DelayRoot]]
    upcoming: Mapping[str, Upcoming]
    #: Of what is named on the page, by programme.
    names: Mapping[str, Names]
    #: Who said the dates of the first gates of each programme.
    words: Mapping[MilestoneKey, DateWord]
    #: Of the compared picture: the number of milestones by state of each programme that it has.
    compared: Mapping[str, Mapping[State, int]] | None = None


class RefreshCooldown:
    """A time after work in which cached values are not refreshed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._until = clock, float("-inf")

    def extend(self, work_seconds: float) -> None:
        """Extend the cooldown for work that took some time."""
        now = self._clock()
        self._until = min(max(self._until, now) + _COOLDOWN_RATIO * work_seconds, now + _MAX_COOLDOWN_SECONDS)

    def is_fresh_enough(self, read_at: float) -> bool:
        """Return whether a value that was read at a time may still be served, although a newer one exists."""
        now = self._clock()
        return now < self._until and now - read_at < _MAX_STALENESS_SECONDS


class ReadModel:
    """Reads and caches programmes, and runs queries and rendering off the event loop."""

    def __init__(self, engine: Engine, today: Callable[[], date], clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self.today, self._clock = engine, today, clock
        self._executor = ThreadPoolExecutor(2, READ_MODEL_THREADS)
        self.change_feed = ChangeFeed(lambda: self.poll(queries.read_forecast_versions), clock)
        # With the time of reading. A programme larger than the cache is cached alone; one without milestones counts.
        self._views = LRUCache[str, tuple[ProgrammeView, float]](
            _MAX_CACHED_MILESTONES, getsizeof=lambda cached: min(len(cached[0].statuses) + 1, _MAX_CACHED_MILESTONES)
        )
        self._past_views = LRUCache[tuple[str, PictureQuery], ProgrammeView](
            _MAX_CACHED_PAST_MILESTONES,
            getsizeof=lambda view: min(len(view.statuses) + _MIN_VIEW_SIZE, _MAX_CACHED_PAST_MILESTONES),
        )
        self._disagreed = LRUCache[tuple[str, int, Instant | None], frozenset[MilestoneRef]](
            _MAX_CACHED_DISAGREED, getsizeof=lambda refs: min(len(refs) + _MIN_VIEW_SIZE, _MAX_CACHED_DISAGREED)
        )
        self.pictures = PictureLimit(PICTURE_THREADS, clock)
        self.history = HistoryCache(self.run_query)
        self._cooldown = RefreshCooldown(clock)
        self._is_closed = False
        self._version, self._version_read_at = "", float("-inf")
        self._summaries: tuple[str, list[ProgrammeSummary]] = ("", [])
        self._programme_locks: dict[str, asyncio.Lock] = {}

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self.pictures.close()
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        dispose_engine(self._engine)

    async def run_in_executor(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function in one of the board's threads; its duration extends the cooldown.

        In the turn of a picture, the threads are those of pictures, and the turn has a rest of its own.
        """
        if (turn := current_turn.get()) is not None:
            turn.check()
            return await asyncio.get_running_loop().run_in_executor(turn.executor, work, *args)
        durations: list[float] = []

        def timed_work() -> T:
            started = self._clock()
            try:
                return work(*args)
            finally:
                durations.append(self._clock() - started)

        try:
            return await self._submit(timed_work)
        finally:
            self._cooldown.extend(sum(durations))

    async def _submit(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def poll(self, query: Callable[[Connection], T]) -> T:
        """Call a function with a connection: what is cheap, and asked at a limited rate, extends no cooldown."""
        return await self._submit(lambda: self._query(query))

    async def run_query(self, query: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Call a function with a connection, in one read transaction."""
        turn = current_turn.get()
        return await self.run_in_executor(lambda: self._query(query, *args, turn=turn))

    def _query(self, query: Callable[[Connection, *Ts], T], *args: *Ts, turn: Turn | None = None) -> T:
        try:
            with read_transaction(self._engine) as connection:
                seconds = _MAX_QUERY_SECONDS
                if turn is not None:
                    seconds = max(_MIN_QUERY_SECONDS, turn.seconds_left)
                    connection.execution_options(every_rows=turn.check)
                if self._engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL statement_timeout = {1000 * seconds:.0f}"))
                return query(connection, *args)
        finally:
            if self._is_closed:
                # The connection was opened while the others were closed.
                dispose_engine(self._engine)

    async def get_programme(self, programme: str) -> ProgrammeView:
        """Return a programme; raises `NotFoundError`."""
        version = (await self.change_feed.get_forecast_versions()).get(programme)
        data_date = self.today()
        if (view := self._cached_view(programme, version, data_date)) is not None:
            return view
        async with self._programme_locks.setdefault(programme, asyncio.Lock()):
            # Another request may have read it while this one waited for the lock.
            if (view := self._cached_view(programme, version, data_date)) is None:
                try:
                    view = await self.run_query(_load_view, programme, version, data_date)
                finally:
                    self._programme_locks.pop(programme, None)
                if programme not in view.facts.existing_programmes():
                    raise NotFoundError(f"There is no programme {programme}.")
                self._views[programme] = view, self._clock()
            return view

    async def get_view(self, programme: str, asked: PictureRequest) -> ProgrammeView:
        """Return a programme in the picture that a request asks for; raises `NotFoundError`."""
        if asked.picture.is_present:
            view = await self.get_programme(programme)
        else:
            view = await self._get_picture(programme, asked.picture)
        if asked.is_present:
            return view
        compared = None
        if asked.compared is not None:
            compared = await self._get_picture(programme, asked.compared, must_exist=False)
        return view._replace(compared=compared, parameters=asked.parameters)

    async def get_disagreed(self, view: ProgrammeView) -> frozenset[MilestoneRef]:
        """Return the milestones of which sources say different dates."""
        key = (view.programme, view.revision, view.picture.as_of)
        if (found := self._disagreed.get(key)) is None:
            found = await self.run_query(_read_disagreed, view.programme, view.picture.as_of)
            self._disagreed[key] = found
        return found

    async def _get_picture(self, programme: str, picture: PictureQuery, *, must_exist: bool = True) -> ProgrammeView:
        # Where two times have the same newest stamp, both have the same view.
        version = (await self.change_feed.get_forecast_versions()).get(programme)
        picture = await self._with_newest_stamp(picture, programme)
        key = (programme, picture)
        view = self._past_views.get(key)
        if view is None or version is None or view.forecast_version != version:
            data_date = picture.data_date or self.today()
            view = await self.run_query(_load_view, programme, version, data_date, picture)
            # Names that no event has are not cached.
            if view.revision:
                self._past_views[key] = view
        if must_exist and programme not in view.facts.existing_programmes():
            raise NotFoundError(f"There is no programme {programme}{picture.as_of_phrase}.")
        return view

    async def _with_newest_stamp(self, picture: PictureQuery, programme: str | None = None) -> PictureQuery:
        """Return the same picture, with its data date and with the newest stamp that is not after its instant."""
        picture = picture._replace(data_date=picture.data_date or self.today())
        if picture.as_of is None:
            return picture
        newest = await self.run_query(queries.find_newest_instant, picture.as_of, programme)
        return picture._replace(as_of=newest or picture.as_of)

    def _cached_view(self, programme: str, version: ForecastVersion | None, data_date: date) -> ProgrammeView | None:
        view, read_at = self._views.get(programme, (None, 0.0))
        if view is None or view.schedule.data_date != data_date:
            return None
        is_current = version is not None and view.forecast_version == version
        return view if is_current or self._cooldown.is_fresh_enough(read_at) else None

    async def get_version(self, asked: PictureRequest) -> OverviewVersion:
        """Return the version of all programmes that the overview shows, in the picture that a request asks for."""
        await self.change_feed.get_forecast_versions()
        if not asked.is_present:
            picture, compared = asked.picture, asked.compared
            if not picture.is_present:
                picture = await self._with_newest_stamp(picture)
            if compared is not None:
                compared = await self._with_newest_stamp(compared)
            return OverviewVersion(self.change_feed.version, picture, compared, asked.parameters)
        if not self._cooldown.is_fresh_enough(self._version_read_at):
            self._version, self._version_read_at = self.change_feed.version, self._clock()
        return OverviewVersion(self._version)

    async def get_overview(self, asked: OverviewVersion, offset: int, limit: int) -> Overview:
        """Return a page of all programmes, of a version or a newer one."""
        if asked.compared is not None:
            data_date = asked.compared.data_date or self.today()
            former = await self.run_query(_load_statuses, asked.compared, data_date)
            counts = {slug: _count_states(statuses) for slug, statuses in former.statuses.items()}
            overview = await self.get_overview(asked._replace(compared=None), offset, limit)
            return overview._replace(compared=counts)
        if not asked.picture.is_present:
            data_date = asked.picture.data_date or self.today()
            return await self.run_query(_load_overview, asked.picture, data_date, offset, limit)
        if self._summaries[0] != asked.version:
            self._summaries = asked.version, await self.run_query(queries.list_programmes)
        summaries = self._summaries[1]
        page = summaries[offset : offset + limit]
        slugs = [summary.programme for summary in page]

        def read_page(connection: Connection) -> _OverviewDetails:
            milestones = queries.read_open_milestones(connection, slugs)
            titles = queries.read_programme_names(connection, slugs)
            projects = load_announced_projects(connection, slugs)
            roots = {
                slug: delay_roots(milestones[slug], measure_impacts(milestones[slug], projects[slug])) for slug in slugs
            }
            upcoming = read_upcoming(connection, slugs, self.today())
            project_names = queries.read_project_names(connection, slugs)
            names = {slug: _names_on_page(project_names[slug], roots[slug], upcoming[slug]) for slug in slugs}
            gates = [root.gate.key for slug in slugs for root in roots[slug][:SHOWN_GATES]]
            return titles, roots, upcoming, names, queries.read_date_words(connection, gates)

        titles, roots, upcoming, names, words = await self.run_query(read_page)
        return Overview(*_totals_of(summaries), page, titles, roots, upcoming, names, words)


def picture_tag(picture: PictureQuery) -> str:
    """Return what distinguishes the entity tag of a picture from that of the present one."""
    return "" if picture.is_present else "-" + blake2b(repr(picture).encode(), digest_size=6).hexdigest()


def _totals_of(summaries: Sequence[ProgrammeSummary]) -> tuple[int, int, Mapping[State, int]]:
    late_programmes = sum(summary.late_count > 0 for summary in summaries)
    counts = sum((Counter(summary.counts) for summary in summaries), Counter[State]())
    return len(summaries), late_programmes, counts


def _count_states(statuses: Sequence[MilestoneStatus]) -> Mapping[State, int]:
    return Counter(status.state for status in statuses)


class _Statuses(NamedTuple):
    # Of every programme that a picture has.
    facts: Facts
    statuses: Mapping[str, list[MilestoneStatus]]


def _load_statuses(connection: Connection, picture: PictureQuery, data_date: date) -> _Statuses:
    facts = load_picture_facts(connection, picture)
    if picture.assumptions:
        facts = assume(facts, find_programme(facts, picture.assumptions), picture.assumptions)
    statuses: dict[str, list[MilestoneStatus]] = {slug: [] for slug in facts.existing_programmes()}
    for status in compute_schedule(facts, data_date).statuses:
        statuses[status.programme].append(status)
    return _Statuses(facts, statuses)


def _load_overview(connection: Connection, picture: PictureQuery, data_date: date, offset: int, limit: int) -> Overview:
    revisions = read_revisions(connection)
    facts, statuses = _load_statuses(connection, picture, data_date)
    summaries = [
        ProgrammeSummary(slug, ForecastVersion(revisions.get(slug, 0), data_date), _count_states(of_programme))
        for slug, of_programme in statuses.items()
    ]
    summaries.sort(key=overview_sort_key)
    page = summaries[offset : offset + limit]
    shown = {summary.programme: statuses[summary.programme] for summary in page}
    titles = {slug: claims.name.value for slug, claims in facts.programmes.items() if slug in shown and claims.name}
    roots, upcoming, names = {}, {}, {}
    for slug, of_programme in shown.items():
        projects = {key: claims for key, claims in facts.projects.items() if key.programme == slug}
        roots[slug] = delay_roots(of_programme, measure_impacts(of_programme, projects))
        upcoming[slug] = find_upcoming(of_programme, own_dates(facts, of_programme), data_date, MAX_NAMED_OF_MANY)
        names[slug] = names_of(facts, slug)
    gates = [root.gate.key for of_programme in roots.values() for root in of_programme[:SHOWN_GATES]]
    words = queries.read_words(connection, stamps_of_dates(facts, gates))
    return Overview(*_totals_of(summaries), page, titles, roots, upcoming, names, words)


def stamps_of_dates(facts: Facts, keys: Iterable[MilestoneKey]) -> dict[MilestoneKey, Stamp]:
    """Return the stamps of the claims that set the dates of some milestones; of assumed dates there is none."""
    claims = {key: facts.milestone(key) for key in keys}
    dates = {key: of_milestone.actual or of_milestone.own_claim for key, of_milestone in claims.items()}
    return {
        key: claim.stamp
        for key, claim in dates.items()
        if claim is not None and parse_stamp(claim.stamp).source != ASSUMED_SOURCE
    }


#: Titles, delay roots, what comes next, and names, by programme; and who said the dates of gates.
_OverviewDetails = tuple[
    dict[str, str],
    dict[str, list[DelayRoot]],
    dict[str, Upcoming],
    dict[str, Names],
    dict[MilestoneKey, DateWord],
]


def _names_on_page(projects: Mapping[str, str], roots: Sequence[DelayRoot], upcoming: Upcoming) -> Names:
    statuses = chain.from_iterable((root.gate, *root.moved) for root in roots)
    milestones = {status.ref: status.name for status in statuses if status.name is not None}
    due = chain.from_iterable(each.named for each in upcoming)
    milestones |= {milestone.ref: milestone.name for milestone in due if milestone.name is not None}
    return Names(projects, milestones)


def _read_disagreed(connection: Connection, programme: str, as_of: Instant | None) -> frozenset[MilestoneRef]:
    words = words_of_sources(queries.read_reports(connection, programme, as_of))
    return frozenset(
        MilestoneRef(*key[1:]) for key, of_milestone in words.items() if days_between_sources(of_milestone)
    )


def _load_view(
    connection: Connection,
    programme: str,
    version: ForecastVersion | None,
    data_date: date,
    picture: PictureQuery = PRESENT,
) -> ProgrammeView:
    revision = connection.scalar(select(programmes.c.revision).where(programmes.c.programme == programme))
    facts = load_picture_facts(connection, picture, programme)
    schedule, as_said = compute_schedule(facts, data_date), None
    if picture.assumptions and programme in facts.existing_programmes():
        facts, as_said = assume(facts, programme, picture.assumptions), schedule
        schedule = compute_schedule(facts, data_date, as_said)
    statuses = sorted(schedule.statuses, key=milestone_sort_key)
    impacts = measure_impacts(schedule.statuses, facts.projects)
    roots = delay_roots(schedule.statuses, impacts)
    view = ProgrammeView(programme, revision or 0, version, facts, schedule, statuses, roots, impacts, picture)
    return view._replace(as_said=as_said, names=names_of(facts, programme))
