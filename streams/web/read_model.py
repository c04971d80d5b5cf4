"""The board's read model: what pages show, read off the event loop and cached until the forecasts change.

At most two threads read and render, over connections of their own, so that the board never takes a connection from
recording. After a refresh the cached view is served for nine times as long as the refresh took, so that the board uses
at most about 10 % of a core: during a backlog of events, pages are a little behind instead of slowing the worker. The
limits on the cooldown and on staleness bound how far behind a page can be, however many users there are.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from typing import Any, Final, TypeVar, TypeVarTuple

from cachetools import LRUCache
from sqlalchemy import Connection, Engine, text

from models.database import queries
from models.database.engine import dispose_engine, read_transaction
from models.database.event_history import has_more_events
from models.database.queries import ForecastVersion, ProgrammeSummary
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Instant
from models.views.picture import PictureQuery, as_of_phrase
from streams.web.background_queries import BackgroundQueries
from streams.web.change_feed import ChangeFeed
from streams.web.errors import NotFoundError
from streams.web.history_cache import HistoryCache
from streams.web.overview import Overview, OverviewVersion, count_states_by_programme, load_overview, read_overview
from streams.web.picture_limit import Deadline, PictureLimit, current_turn
from streams.web.picture_parameters import PictureRequest
from streams.web.programme_view import ProgrammeView, load_view, read_disagreed
from streams.web.revision_cache import RevisionCache

#: How the names of its threads begin.
READ_MODEL_THREADS: Final = "board"
#: Of those that calculate other pictures than the present.
PICTURE_THREADS: Final = "board-picture"
#: Of the one that reads all events of large programmes.
HISTORY_THREADS: Final = "board-history"
#: Size of the caches of programmes, and of other pictures of them; each picture counts as so many milestones at least.
_MAX_CACHED_MILESTONES: Final = 50_000
_MAX_CACHED_PAST_MILESTONES: Final = 20_000
_MIN_VIEW_SIZE: Final = 20
#: Milestones of which sources say different dates.
_MAX_CACHED_DISAGREED: Final = 20_000
_MAX_CACHED_REPORTS: Final = 50
#: The longest statement, and the least time that one gets.
_MAX_QUERY_SECONDS: Final = 10.0
_MIN_QUERY_SECONDS: Final = 0.1
#: For reading and calculating together. A machine that is busy with other things takes its time.
_MAX_READ_SECONDS: Final = 30.0
_READ_TOO_LONG: Final = (
    f"This takes longer than {_MAX_READ_SECONDS:.0f} seconds, and was given up; ask again when less is going on."
)
#: Of a programme with more events, what is calculated from all of them takes long.
_MAX_READ_AT_ONCE: Final = 5_000
#: How long the end waits for queries that are under way.
_MAX_CLOSE_SECONDS: Final = 1.0
#: Seconds of cooldown for each second of work, and the longest cooldown.
_COOLDOWN_RATIO: Final = 9
_MAX_COOLDOWN_SECONDS: Final = 10.0
#: An older view is refreshed even in a cooldown: otherwise the work for others could extend the cooldown for ever.
_MAX_STALENESS_SECONDS: Final = 20.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


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
        self._background = BackgroundQueries(HISTORY_THREADS, clock)
        #: What the pages of reports show.
        self.reports = RevisionCache(_MAX_CACHED_REPORTS, lambda _report: 0)
        self.history = HistoryCache(self.run_query, self.find_by_revision)
        self._cooldown = RefreshCooldown(clock)
        self._is_closed = False
        #: Those under way, each with what says that it has ended.
        self._queries: set[Future[None]] = set()
        self._version, self._version_read_at = "", float("-inf")
        self._summaries: tuple[str, list[ProgrammeSummary]] = ("", [])
        self._key_locks: dict[Hashable, asyncio.Lock] = {}
        self._programme_locks: dict[str, asyncio.Lock] = {}

    async def close(self) -> None:
        """Stop the threads and close the connections."""
        self.pictures.close()
        self._background.close()
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        if queries_under_way := [asyncio.wrap_future(query) for query in tuple(self._queries)]:
            # A connection that comes back while the others are closed may be forgotten. A database that hangs is not
            # waited for.
            await asyncio.wait(queries_under_way, timeout=_MAX_CLOSE_SECONDS)
        dispose_engine(self._engine)

    async def run_in_executor(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function in one of the board's threads; its duration extends the cooldown.

        In the turn of a picture, the threads are those of pictures, and the turn has a rest of its own.
        """
        if (turn := current_turn.get()) is not None:
            turn.deadline.check()
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
        return await self.run_in_executor(lambda: self._query(query, *args, deadline=turn and turn.deadline))

    async def find_by_revision(
        self,
        cache: RevisionCache,
        key: Hashable,
        programme: str,
        revision: int,
        query: Callable[..., T],
        *args: Any,  # noqa: ANN401 - those of the query
    ) -> T:
        """Return what a query reads from all events of a programme, calculated once for each revision.

        Of a large programme that takes longer than anybody waits: raises `StillCalculating` until it is there.
        """
        known: T | None = cache.get(key, revision)
        if known is not None:
            return known

        def keep(found: T) -> None:
            cache.put(key, revision, found)

        of_key = (id(cache), key, revision)
        if await self.run_query(has_more_events, programme, _MAX_READ_AT_ONCE):
            return await self._background.run(
                of_key, lambda deadline: self._query(query, *args, deadline=deadline), keep
            )
        async with self._key_locks.setdefault(of_key, asyncio.Lock()):
            # Another request may have read it while this one waited for the lock.
            again: T | None = cache.get(key, revision)
            if again is not None:
                return again
            try:
                found = await self.run_query(query, *args)
            finally:
                self._key_locks.pop(of_key, None)
            keep(found)
            return found

    def _query(self, query: Callable[[Connection, *Ts], T], *args: *Ts, deadline: Deadline | None = None) -> T:
        seconds = _MAX_QUERY_SECONDS if deadline is None else max(_MIN_QUERY_SECONDS, deadline.seconds_left)
        deadline = deadline or Deadline(self._clock() + _MAX_READ_SECONDS, self._clock, _READ_TOO_LONG)
        ended = Future[None]()
        self._queries.add(ended)
        try:
            with read_transaction(self._engine) as connection:
                connection.execution_options(every_rows=deadline.check)
                if self._engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL statement_timeout = {1000 * seconds:.0f}"))
                return query(connection, *args)
        finally:
            if self._is_closed:
                # The connection may have been opened while the others were closed.
                dispose_engine(self._engine)
            self._queries.remove(ended)
            ended.set_result(None)

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
                    view = await self.run_query(load_view, programme, version, data_date)
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
            found = await self.run_query(read_disagreed, view.programme, view.picture.as_of)
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
            view = await self.run_query(load_view, programme, version, data_date, picture)
            # Names that no event has are not cached.
            if view.revision:
                self._past_views[key] = view
        if must_exist and programme not in view.facts.existing_programmes():
            raise NotFoundError(f"There is no programme {programme}{as_of_phrase(picture.as_of)}.")
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
            counts = await self.run_query(count_states_by_programme, asked.compared, data_date)
            overview = await self.get_overview(asked._replace(compared=None), offset, limit)
            return overview._replace(compared=counts)
        if not asked.picture.is_present:
            data_date = asked.picture.data_date or self.today()
            return await self.run_query(load_overview, asked.picture, data_date, offset, limit)
        if self._summaries[0] != asked.version:
            self._summaries = asked.version, await self.run_query(queries.list_programmes)
        return await self.run_query(read_overview, self._summaries[1], self.today(), offset, limit)
