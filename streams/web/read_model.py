"""What pages show, read off the event loop and kept as long as the database knows nothing newer.

At most two threads work, over connections of their own, so that the board never takes one from those that record. What
was read is read again only when something was drawn anew, and for every second that reading and rendering took there
are nine in which what is there has to do: pages that are looked at while a backlog of events comes in are a little
behind, not a burden. However many look, what is looked at is never behind for long.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from typing import Final, NamedTuple, TypeVar

from cachetools import LRUCache
from sqlalchemy import Connection, Engine, select, text

from models.database.claims import load_facts
from models.database.engine import read_transaction
from models.database.queries import (
    ForecastVersion,
    ProgrammeSummary,
    list_programmes,
    read_open_milestones,
    read_programme_names,
)
from models.database.tables import programmes
from models.domain.claims import Facts
from models.domain.events import catalogue_sort_key
from models.domain.impact import DelayRoot, delay_roots, milestone_summary
from models.domain.schedule import MilestoneStatus, Schedule, compute_schedule
from streams.web.change_feed import ChangeFeed

#: Together this many milestones are kept; what was not asked for longest goes first.
_MAX_CACHED_MILESTONES: Final = 50_000
_STATEMENT_TIMEOUT_SECONDS: Final = 10
_THREADS: Final = 2
#: For each second of work, how many of rest; and how long a rest may become.
_COOLDOWN_RATIO: Final = 9
_MAX_COOLDOWN_SECONDS: Final = 10.0
#: What was read longer ago is read again even in a rest: the work of others, one after the other, never lets it end.
_MAX_STALENESS_SECONDS: Final = 20.0

T = TypeVar("T")


class NotFoundError(Exception):
    """What is asked for is not there; the message is one sentence for people."""


class ProgrammeView(NamedTuple):
    """A programme as its facts say it stands on a day, the same as `milepost status` shows."""

    programme: str
    #: Of the facts: never older than what is drawn.
    revision: int
    #: Of which the history was, when it was read; none when it was never drawn.
    forecast_version: ForecastVersion | None
    facts: Facts
    schedule: Schedule
    #: In the order in which they are shown: by project, then as the catalogue has it.
    statuses: Sequence[MilestoneStatus]
    delay_roots: Sequence[DelayRoot]

    @property
    def title(self) -> str:
        """What it is called; its own name when nobody gave it another."""
        known = self.facts.programmes.get(self.programme)
        return known.name.value if known is not None and known.name is not None else self.programme

    def get_status(self, project: str, milestone: str) -> MilestoneStatus:
        """Return how a milestone stands; raises `NotFoundError`."""
        where = self.schedule.network.index_of.get((self.programme, project, milestone))
        if where is None:
            raise NotFoundError(f"There is no milestone {project}/{milestone} in programme {self.programme}.")
        return self.schedule.statuses[where]


class Overview(NamedTuple):
    """All programmes from afar, or as many of them as a page takes."""

    total: int
    late_programmes: int
    programmes: Sequence[ProgrammeSummary]
    titles: dict[str, str]
    delay_roots: dict[str, list[DelayRoot]]


class _CachedView(NamedTuple):
    read_at: float
    view: ProgrammeView


class RefreshCooldown:
    """After work, a time in which nothing that is there already is made anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._until = clock, float("-inf")

    def extend(self, work_seconds: float) -> None:
        """Rest for work that took so long."""
        now = self._clock()
        self._until = min(max(self._until, now) + _COOLDOWN_RATIO * work_seconds, now + _MAX_COOLDOWN_SECONDS)

    def is_fresh_enough(self, read_at: float) -> bool:
        """Return whether what was read then has to do for now."""
        now = self._clock()
        return now < self._until and now - read_at < _MAX_STALENESS_SECONDS


class ReadModel:
    """Reads what pages show."""

    def __init__(self, engine: Engine, today: Callable[[], date], clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._today, self._clock = engine, today, clock
        self._executor = ThreadPoolExecutor(_THREADS, "board")
        # Looking for what is new is little, and bounded by itself: it is followed by no rest.
        self.change_feed = ChangeFeed(lambda query: self._submit(lambda: self._run_query_now(query)), clock)
        # A programme larger than the whole cache is cached alone; one without milestones takes room as well.
        self._views = LRUCache[str, _CachedView](
            _MAX_CACHED_MILESTONES,
            getsizeof=lambda cached: min(len(cached.view.statuses) + 1, _MAX_CACHED_MILESTONES),
        )
        self._cooldown = RefreshCooldown(clock)
        self._version, self._version_read_at = "", float("-inf")
        self._summaries: tuple[str, list[ProgrammeSummary]] = ("", [])
        self._programme_locks: dict[str, asyncio.Lock] = {}

    def close(self) -> None:
        """Let go of the database."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    @property
    def data_date(self) -> date:
        """The data date of everything shown."""
        return self._today()

    async def run_in_executor(self, work: Callable[[], T]) -> T:
        """Do something that takes its time off the event loop, in its turn."""
        took: list[float] = []

        def timed() -> T:
            began = self._clock()
            try:
                return work()
            finally:
                took.append(self._clock() - began)

        try:
            return await self._submit(timed)
        finally:
            self._cooldown.extend(sum(took))

    async def _submit(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def run_query(self, query: Callable[[Connection], T]) -> T:
        """Ask the database; every query of one call sees the same moment."""
        return await self.run_in_executor(lambda: self._run_query_now(query))

    def _run_query_now(self, query: Callable[[Connection], T]) -> T:
        with self._read_transaction() as connection:
            return query(connection)

    async def get_programme(self, programme: str) -> ProgrammeView:
        """Return a programme; raises `NotFoundError`."""
        drawn = (await self.change_feed.get_forecast_versions()).get(programme)
        day = self._today()
        if (kept := self._get_cached_view(programme, drawn, day)) is not None:
            return kept
        async with self._programme_locks.setdefault(programme, asyncio.Lock()):
            # Whoever waited for the one before finds what that one read.
            if (kept := self._get_cached_view(programme, drawn, day)) is not None:
                return kept
            try:
                seen = await self.run_query(lambda connection: _load_view(connection, programme, drawn, day))
            finally:
                self._programme_locks.pop(programme, None)
            self._views[programme] = _CachedView(self._clock(), seen)
            return seen

    def _get_cached_view(
        self, programme: str, forecast_version: ForecastVersion | None, data_date: date
    ) -> ProgrammeView | None:
        kept = self._views.get(programme)
        if kept is None or kept.view.schedule.data_date != data_date:
            return None
        is_as_drawn = forecast_version is not None and kept.view.forecast_version == forecast_version
        return kept.view if is_as_drawn or self._cooldown.is_fresh_enough(kept.read_at) else None

    async def get_version(self) -> str:
        """Return what names all programmes as they are shown now."""
        await self.change_feed.get_forecast_versions()
        if not self._cooldown.is_fresh_enough(self._version_read_at):
            self._version, self._version_read_at = self.change_feed.version, self._clock()
        return self._version

    async def get_overview(self, version: str, offset: int, limit: int) -> Overview:
        """Return a page of all programmes, of a turn or a newer one."""
        if self._summaries[0] != version:
            self._summaries = version, await self.run_query(list_programmes)
        surveyed = self._summaries[1]
        page = surveyed[offset : offset + limit]
        names = [one.programme for one in page]

        def read(connection: Connection) -> tuple[dict[str, str], dict[str, list[DelayRoot]]]:
            stands = read_open_milestones(connection, names)
            return read_programme_names(connection, names), {name: delay_roots(its) for name, its in stands.items()}

        titles, held = await self.run_query(read)
        return Overview(len(surveyed), sum(one.late_count > 0 for one in surveyed), page, titles, held)

    @contextmanager
    def _read_transaction(self) -> Iterator[Connection]:
        with read_transaction(self._engine) as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s'"))
            yield connection


def _load_view(
    connection: Connection, programme: str, forecast_version: ForecastVersion | None, data_date: date
) -> ProgrammeView:
    revision = connection.scalar(select(programmes.c.revision).where(programmes.c.programme == programme))
    facts = load_facts(connection, [programme])
    if revision is None or programme not in facts.existing_programmes():
        raise NotFoundError(f"There is no programme {programme}.")
    shown = compute_schedule(facts, data_date)
    standings = sorted(shown.statuses, key=lambda one: (one.project, catalogue_sort_key(one.milestone)))
    return ProgrammeView(
        programme,
        revision,
        forecast_version,
        facts,
        shown,
        standings,
        delay_roots(map(milestone_summary, shown.statuses)),
    )
