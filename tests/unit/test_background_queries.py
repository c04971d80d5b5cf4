"""What takes long: calculated once for all who ask, in half of the time, while they are told to ask again."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import pytest

from streams.web import background_queries
from streams.web.background_queries import BackgroundQueries, StillCalculating
from streams.web.errors import TooManyRequests
from streams.web.picture_limit import Deadline
from streams.web.revision_cache import RevisionCache


class LongQuery:
    """Takes as long as it is not released."""

    def __init__(self) -> None:
        self.calls, self.kept = 0, list[str]()
        self.ended, self._released = threading.Event(), threading.Event()

    def keep(self, answer: str) -> None:
        """Keep an answer."""
        self.kept.append(answer)
        self.ended.set()

    def __call__(self, deadline: Deadline) -> str:
        """Wait, and return the answer."""
        self.calls += 1
        assert self._released.wait(30)
        deadline.check()
        return "what moved"

    def release(self) -> None:
        """Let it end."""
        self._released.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_queries, "PATIENCE_SECONDS", 0.02)


def with_queries(
    run: Callable[[BackgroundQueries], Coroutine[Any, Any, None]], clock: Callable[[], float] = monotonic
) -> None:
    async def run_and_close() -> None:
        queries = BackgroundQueries("long", clock)
        try:
            await run(queries)
        finally:
            queries.close()

    asyncio.run(run_and_close())


def test_who_asks_is_told_to_ask_again_and_then_gets_what_was_calculated_once() -> None:
    query = LongQuery()

    async def run(queries: BackgroundQueries) -> None:
        for _ in range(3):
            with pytest.raises(StillCalculating) as told:
                await queries.run("north", query, query.keep)
        assert "Ask again in 5 seconds" in (told.value.text or "")
        assert (told.value.pause_seconds, told.value.retry_seconds) == (0, 5)
        query.release()
        await asyncio.to_thread(query.ended.wait, 30)
        assert (query.calls, query.kept) == (1, ["what moved"])
        # What was kept is with whoever keeps it.
        assert await queries.run("north", query, query.keep) == "what moved"

    with_queries(run)


def test_one_is_calculated_after_another_and_more_than_a_few_are_refused() -> None:
    query = LongQuery()

    async def run(queries: BackgroundQueries) -> None:
        told = await asyncio.gather(
            *(queries.run(number, query, query.keep) for number in range(30)), return_exceptions=True
        )
        assert query.calls == 1
        waiting = [error for error in told if isinstance(error, StillCalculating)]
        refused = [error for error in told if not isinstance(error, StillCalculating)]
        assert 5 < len(waiting) < 15
        assert all(isinstance(error, TooManyRequests) and "Too many" in (error.text or "") for error in refused)
        query.release()

    with_queries(run)


def test_after_long_work_others_wait_until_half_of_the_time_was_rest() -> None:
    now = [100.0]
    query = LongQuery()
    query.release()

    def work(deadline: Deadline) -> str:
        now[0] += 10
        return query(deadline)

    async def run(queries: BackgroundQueries) -> None:
        assert await queries.run("first", work, query.keep) == "what moved"
        with pytest.raises(StillCalculating):
            await queries.run("second", query, query.keep)
        assert query.calls == 1

    with_queries(run, lambda: now[0])


def test_what_takes_too_long_is_given_up_and_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]

    def work(deadline: Deadline) -> str:
        now[0] += background_queries.MAX_SECONDS
        deadline.check()
        return "never"

    async def run(queries: BackgroundQueries) -> None:
        with pytest.raises(TooManyRequests) as given_up:
            await queries.run("north", work, lambda _: None)
        assert "longer than 60 seconds" in (given_up.value.text or "")

    with_queries(run, lambda: now[0])
    assert "what takes long could not be calculated: This takes longer than 60 seconds" in caplog.text


def test_a_cache_tells_of_one_revision_and_what_it_knew_before() -> None:
    cache = RevisionCache(10)
    cache.put("north", 1, ["a", "b"])
    assert (cache.get("north", 1), cache.get("north", 2), cache.get_older("north")) == (["a", "b"], None, ["a", "b"])
    cache.put("south", 1, [str(number) for number in range(100)])
    assert cache.get_older("north") is None, "what is larger than the whole cache is alone in it"
    cache.forget("south")
    assert cache.get("south", 1) is None
