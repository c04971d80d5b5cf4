"""What the board knows anew: one poll for all who look, none while nobody does."""

import asyncio
from contextlib import ExitStack
from datetime import date

from sqlalchemy.exc import OperationalError

from models.database.queries import ForecastVersion
from streams.web.change_feed import POLL_INTERVAL_SECONDS, ChangeFeed, FeedUpdate
from tests.helpers.workers import wait_until_async

DAY = date(2026, 11, 23)


class Database:
    """What a database answers that is asked of what everything is drawn."""

    def __init__(self) -> None:
        self.drawn: dict[str, ForecastVersion] = {}
        self.asked = 0
        self.is_away = False

    async def read(self) -> dict[str, ForecastVersion]:
        self.asked += 1
        if self.is_away:
            raise OperationalError("SELECT", {}, Exception("away"))
        return dict(self.drawn)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_whoever_asks_within_a_second_gets_what_was_read_before() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = ChangeFeed(database.read, clock)
        await asyncio.gather(*(watch.get_forecast_versions() for _ in range(50)))
        assert database.asked == 1

        database.drawn = {"north": ForecastVersion(1, DAY)}
        assert await watch.get_forecast_versions() == {}
        clock.now += POLL_INTERVAL_SECONDS
        assert await watch.get_forecast_versions() == {"north": ForecastVersion(1, DAY)}

    asyncio.run(run())


def test_the_version_of_all_programmes_changes_with_any_of_them() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch, names = ChangeFeed(database.read, clock), []
        for drawn in (
            {},
            {"a": ForecastVersion(1, DAY)},
            {"a": ForecastVersion(2, DAY)},
            {"b": ForecastVersion(2, DAY)},
            {"b": ForecastVersion(2, date.max)},
        ):
            database.drawn = drawn
            clock.now += POLL_INTERVAL_SECONDS
            await watch.get_forecast_versions()
            names.append(watch.version)
        assert len({*names}) == len(names)

        other = ChangeFeed(database.read, Clock())
        await other.get_forecast_versions()
        assert other.version == watch.version  # another worker says the same of the same

    asyncio.run(run())


def test_nobody_listening_is_nobody_polling_and_many_are_one() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = ChangeFeed(database.read, clock)
        polling = asyncio.create_task(watch.poll())
        await asyncio.sleep(0)
        assert database.asked == 0
        with ExitStack() as listening:
            listeners = [listening.enter_context(watch.subscribe()) for _ in range(20)]
            first = await asyncio.gather(*(anext(listener.updates(10)) for listener in listeners))
            assert first == [FeedUpdate({}, watch.version)] * 20
            assert database.asked == 1
            database.drawn = {"north": ForecastVersion(1, DAY)}
            clock.now += POLL_INTERVAL_SECONDS
            told = await asyncio.gather(*(anext(listener.updates(10)) for listener in listeners))
            assert told == [FeedUpdate({"north": ForecastVersion(1, DAY)}, watch.version)] * 20
            assert database.asked == 2
        assert len(watch.subscribers) == 0
        watch.stop()
        await asyncio.wait_for(polling, 5)

    asyncio.run(run())


def test_notices_of_one_programme_collapse_for_a_slow_listener() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = ChangeFeed(database.read, clock)
        await watch.get_forecast_versions()
        with watch.subscribe() as listener:
            for revision in range(1, 100):
                database.drawn = {"north": ForecastVersion(revision, DAY)}
                clock.now += POLL_INTERVAL_SECONDS
                await watch.get_forecast_versions()
            assert await anext(listener.updates(10)) == FeedUpdate({"north": ForecastVersion(99, DAY)}, watch.version)
            assert await anext(listener.updates(0.01)) == FeedUpdate({})

    asyncio.run(run())


def test_who_subscribes_to_one_programme_gets_its_version_and_then_nothing_else() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = ChangeFeed(database.read, clock)
        database.drawn = {"north": ForecastVersion(1, DAY), "south": ForecastVersion(5, DAY)}

        async def look(**drawn: ForecastVersion) -> None:
            database.drawn |= drawn
            clock.now += POLL_INTERVAL_SECONDS
            await watch.get_forecast_versions()

        with watch.subscribe("north") as before, watch.subscribe("west") as waiting:
            await look()
            with watch.subscribe("north") as after:
                for listener in (before, after):
                    assert await anext(listener.updates(10)) == FeedUpdate({"north": ForecastVersion(1, DAY)})
                await look(south=ForecastVersion(6, DAY))
                for listener in (before, after, waiting):
                    assert await anext(listener.updates(0.01)) == FeedUpdate({})
                await look(north=ForecastVersion(2, DAY), west=ForecastVersion(7, DAY))
                for listener in (before, after):
                    assert await anext(listener.updates(10)) == FeedUpdate({"north": ForecastVersion(2, DAY)})
                assert await anext(waiting.updates(10)) == FeedUpdate({"west": ForecastVersion(7, DAY)})

    asyncio.run(run())


def test_a_database_that_was_away_is_announced_when_it_is_back() -> None:
    async def run() -> None:
        database, clock = Database(), Clock()
        watch = ChangeFeed(database.read, clock)
        await watch.get_forecast_versions()
        polling = asyncio.create_task(watch.poll())
        with watch.subscribe() as listener:
            assert await anext(listener.updates(10)) == FeedUpdate({}, watch.version)
            clock.now, database.is_away = clock.now + POLL_INTERVAL_SECONDS, True
            await wait_until_async(lambda: database.asked == 2, "it polls in vain")
            database.is_away, database.drawn = False, {"north": ForecastVersion(1, DAY)}
            assert await anext(listener.updates(10)) == FeedUpdate({"north": ForecastVersion(1, DAY)}, watch.version)
        watch.stop()
        await asyncio.wait_for(polling, 5)

    asyncio.run(run())
