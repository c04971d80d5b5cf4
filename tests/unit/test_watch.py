"""What the board knows anew: one poll for all who look, none while nobody does."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from models.database.queries import Drawn
from streams.web.change_feed import POLL_SECONDS, News, Watch
from tests.workers import until

DAY = date(2026, 11, 23)


class Database:
    """What a database answers that is asked of what everything is drawn."""

    def __init__(self) -> None:
        self.drawn: dict[str, Drawn] = {}
        self.asked = 0
        self.is_away = False

    async def read(self, _query: Callable[[Connection], dict[str, Drawn]]) -> dict[str, Drawn]:
        self.asked += 1
        if self.is_away:
            raise OperationalError("SELECT", {}, Exception("away"))
        return dict(self.drawn)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_whoever_asks_within_a_second_is_told_what_was_read_before() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = Watch(database.read, clock)
        await asyncio.gather(*(watch.drawn() for _ in range(50)))
        assert database.asked == 1

        database.drawn = {"north": Drawn(1, DAY)}
        assert await watch.drawn() == {}
        clock.now += POLL_SECONDS
        assert await watch.drawn() == {"north": Drawn(1, DAY)}

    asyncio.run(run())


def test_what_all_are_drawn_of_has_a_name_that_changes_with_any_of_them() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch, names = Watch(database.read, clock), []
        for drawn in ({}, {"a": Drawn(1, DAY)}, {"a": Drawn(2, DAY)}, {"b": Drawn(2, DAY)}, {"b": Drawn(2, date.max)}):
            database.drawn = drawn
            clock.now += POLL_SECONDS
            await watch.drawn()
            names.append(watch.digest)
        assert len({*names}) == len(names)

        other = Watch(database.read, Clock())
        await other.drawn()
        assert other.digest == watch.digest  # another worker says the same of the same

    asyncio.run(run())


def test_nobody_listening_is_nobody_polling_and_many_are_one() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = Watch(database.read, clock)
        polling = asyncio.create_task(watch.poll())
        await asyncio.sleep(0)
        assert database.asked == 0
        with ExitStack() as listening:
            listeners = [listening.enter_context(watch.listener()) for _ in range(20)]
            first = await asyncio.gather(*(anext(listener.news(10)) for listener in listeners))
            assert first == [News({}, watch.digest)] * 20
            assert database.asked == 1
            database.drawn = {"north": Drawn(1, DAY)}
            clock.now += POLL_SECONDS
            told = await asyncio.gather(*(anext(listener.news(10)) for listener in listeners))
            assert told == [News({"north": Drawn(1, DAY)}, watch.digest)] * 20
            assert database.asked == 2
        assert watch.listening == 0
        watch.stop()
        await asyncio.wait_for(polling, 5)

    asyncio.run(run())


def test_notices_of_one_programme_collapse_for_a_slow_listener() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = Watch(database.read, clock)
        await watch.drawn()
        with watch.listener() as listener:
            for revision in range(1, 100):
                database.drawn = {"north": Drawn(revision, DAY)}
                clock.now += POLL_SECONDS
                await watch.drawn()
            assert await anext(listener.news(10)) == News({"north": Drawn(99, DAY)}, watch.digest)
            assert await anext(listener.news(0.01)) == News({})

    asyncio.run(run())


def test_who_listens_to_one_programme_is_told_how_it_is_and_then_of_nothing_else() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = Watch(database.read, clock)
        database.drawn = {"north": Drawn(1, DAY), "south": Drawn(5, DAY)}

        async def look(**drawn: Drawn) -> None:
            database.drawn |= drawn
            clock.now += POLL_SECONDS
            await watch.drawn()

        with watch.listener("north") as before, watch.listener("west") as waiting:
            await look()
            with watch.listener("north") as after:
                for listener in (before, after):
                    assert await anext(listener.news(10)) == News({"north": Drawn(1, DAY)})
                await look(south=Drawn(6, DAY))
                for listener in (before, after, waiting):
                    assert await anext(listener.news(0.01)) == News({})
                await look(north=Drawn(2, DAY), west=Drawn(7, DAY))
                for listener in (before, after):
                    assert await anext(listener.news(10)) == News({"north": Drawn(2, DAY)})
                assert await anext(waiting.news(10)) == News({"west": Drawn(7, DAY)})

    asyncio.run(run())


def test_a_database_that_was_away_is_told_of_when_it_is_back() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = Watch(database.read, clock)
        await watch.drawn()
        polling = asyncio.create_task(watch.poll())
        with watch.listener() as listener:
            assert await anext(listener.news(10)) == News({}, watch.digest)
            clock.now, database.is_away = clock.now + POLL_SECONDS, True
            await until(lambda: database.asked == 2, "it polls in vain")
            database.is_away, database.drawn = False, {"north": Drawn(1, DAY)}
            assert await anext(listener.news(10)) == News({"north": Drawn(1, DAY)}, watch.digest)
        watch.stop()
        await asyncio.wait_for(polling, 5)

    asyncio.run(run())
