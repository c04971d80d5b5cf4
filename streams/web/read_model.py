"""What pages show, read off the event loop and kept as long as the database knows nothing newer.

At most two threads work, over connections of their own, so that the board never takes one from those that record. What
was read is read again only when something was drawn anew, and for every second that reading and rendering took there
are nine in which what is there has to do: pages that are looked at while a backlog of events comes in are a little
behind, not a burden. However many look, what is looked at is never behind for long.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, select, text

from models.database.claims import read_facts
from models.database.engine import reading
from models.database.queries import Drawn, Surveyed, read_stands, read_survey, read_titles
from models.database.tables import programmes
from models.domain.claims import Facts
from models.domain.events import place
from models.domain.impact import HoldUp, hold_ups, stand_of
from models.domain.schedule import Picture, Standing, picture
from streams.web.change_feed import Watch

#: Together this many milestones are kept; what was not asked for longest goes first.
_KEPT_MILESTONES: Final = 50_000
_STATEMENT_SECONDS: Final = 10
_THREADS: Final = 2
#: For each second of work, how many of rest; and how long a rest may become.
_REST: Final = 9
_LONGEST_REST_SECONDS: Final = 10.0
#: What was read longer ago is read again even in a rest: the work of others, one after the other, never lets it end.
_LONGEST_BEHIND_SECONDS: Final = 20.0

T = TypeVar("T")


class NotThereError(Exception):
    """What is asked for is not there; the message is one sentence for people."""


class Seen(NamedTuple):
    """A programme as its facts say it stands on a day, the same as `milepost status` shows."""

    programme: str
    #: Of the facts: never older than what is drawn.
    revision: int
    #: Of which the history was, when it was read; none when it was never drawn.
    drawn: Drawn | None
    facts: Facts
    shown: Picture
    #: In the order in which they are shown: by project, then as the catalogue has it.
    standings: Sequence[Standing]
    hold_ups: Sequence[HoldUp]

    @property
    def title(self) -> str:
        """What it is called; its own name when nobody gave it another."""
        known = self.facts.programmes.get(self.programme)
        return known.name.value if known is not None and known.name is not None else self.programme

    def standing(self, project: str, milestone: str) -> Standing:
        """Return how a milestone stands; raises `NotThereError`."""
        where = self.shown.network.places.get((self.programme, project, milestone))
        if where is None:
            raise NotThereError(f"There is no milestone {project}/{milestone} in programme {self.programme}.")
        return self.shown.standings[where]


class Overview(NamedTuple):
    """All programmes from afar, or as many of them as a page takes."""

    total: int
    late: int
    surveyed: Sequence[Surveyed]
    titles: dict[str, str]
    hold_ups: dict[str, list[HoldUp]]


class _Kept(NamedTuple):
    read_at: float
    seen: Seen


class Rest:
    """After work, a time in which nothing that is there already is made anew."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._until = clock, float("-inf")

    def after(self, seconds: float) -> None:
        """Rest for work that took so long."""
        now = self._clock()
        self._until = min(max(self._until, now) + _REST * seconds, now + _LONGEST_REST_SECONDS)

    def spares(self, read_at: float) -> bool:
        """Return whether what was read then has to do for now."""
        now = self._clock()
        return now < self._until and now - read_at < _LONGEST_BEHIND_SECONDS


class Sights:
    """Reads what pages show."""

    def __init__(self, engine: Engine, today: Callable[[], date], clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._today, self._clock = engine, today, clock
        self._executor = ThreadPoolExecutor(_THREADS, "board")
        # Looking for what is new is little, and bounded by itself: it is followed by no rest.
        self.watch = Watch(lambda query: self._in_turn(lambda: self._answer(query)), clock)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._rest = Rest(clock)
        self._turn, self._turned_at = "", float("-inf")
        self._survey: tuple[str, list[Surveyed]] = ("", [])
        self._turns: dict[str, asyncio.Lock] = {}

    def close(self) -> None:
        """Let go of the database."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    @property
    def today(self) -> date:
        """The data date of everything shown."""
        return self._today()

    async def run(self, work: Callable[[], T]) -> T:
        """Do something that takes its time off the event loop, in its turn."""
        took: list[float] = []

        def timed() -> T:
            began = self._clock()
            try:
                return work()
            finally:
                took.append(self._clock() - began)

        try:
            return await self._in_turn(timed)
        finally:
            self._rest.after(sum(took))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def ask(self, query: Callable[[Connection], T]) -> T:
        """Ask the database; every query of one call sees the same moment."""
        return await self.run(lambda: self._answer(query))

    def _answer(self, query: Callable[[Connection], T]) -> T:
        with self._reading() as connection:
            return query(connection)

    async def seen(self, programme: str) -> Seen:
        """Return a programme; raises `NotThereError`."""
        drawn = (await self.watch.drawn()).get(programme)
        day = self._today()
        if (kept := self._fresh(programme, drawn, day)) is not None:
            return kept
        async with self._turns.setdefault(programme, asyncio.Lock()):
            # Whoever waited for the one before finds what that one read.
            if (kept := self._fresh(programme, drawn, day)) is not None:
                return kept
            try:
                seen = await self.ask(lambda connection: _see(connection, programme, drawn, day))
            finally:
                self._turns.pop(programme, None)
            self._keep(_Kept(self._clock(), seen))
            return seen

    def _fresh(self, programme: str, drawn: Drawn | None, day: date) -> Seen | None:
        kept = self._kept.get(programme)
        if kept is None or kept.seen.shown.day != day:
            return None
        is_as_drawn = drawn is not None and kept.seen.drawn == drawn
        return kept.seen if is_as_drawn or self._rest.spares(kept.read_at) else None

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.seen.programme] = kept
        self._kept.move_to_end(kept.seen.programme)
        size = sum(len(one.seen.standings) for one in self._kept.values())
        while size > _KEPT_MILESTONES and len(self._kept) > 1:
            size -= len(self._kept.popitem(last=False)[1].seen.standings)

    async def turn(self) -> str:
        """Return what names all programmes as they are shown now."""
        await self.watch.drawn()
        if not self._rest.spares(self._turned_at):
            self._turn, self._turned_at = self.watch.digest, self._clock()
        return self._turn

    async def overview(self, turn: str, offset: int, limit: int) -> Overview:
        """Return a page of all programmes, of a turn or a newer one."""
        if self._survey[0] != turn:
            self._survey = turn, await self.ask(read_survey)
        surveyed = self._survey[1]
        page = surveyed[offset : offset + limit]
        names = [one.programme for one in page]

        def read(connection: Connection) -> tuple[dict[str, str], dict[str, list[HoldUp]]]:
            stands = read_stands(connection, names)
            return read_titles(connection, names), {name: hold_ups(its) for name, its in stands.items()}

        titles, held = await self.ask(read)
        return Overview(len(surveyed), sum(one.late > 0 for one in surveyed), page, titles, held)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with reading(self._engine) as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'"))
            yield connection


def _see(connection: Connection, programme: str, drawn: Drawn | None, day: date) -> Seen:
    revision = connection.scalar(select(programmes.c.revision).where(programmes.c.programme == programme))
    facts = read_facts(connection, [programme])
    if revision is None or programme not in facts.existing_programmes():
        raise NotThereError(f"There is no programme {programme}.")
    shown = picture(facts, day)
    standings = sorted(shown.standings, key=lambda one: (one.project, place(one.milestone)))
    return Seen(programme, revision, drawn, facts, shown, standings, hold_ups(map(stand_of, shown.standings)))
