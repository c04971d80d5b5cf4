"""How much of the time pictures of other days take."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from streams.web.errors import TooManyRequests
from streams.web.picture_limit import MAX_PICTURES, Deadline, PictureLimit, Turn, WorkBudget, current_turn


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_some_work_is_done_at_once_and_then_half_of_the_time() -> None:
    clock = Clock()
    budget = WorkBudget(clock)

    budget.spend(1.0)
    assert budget.wait_seconds() <= 0
    budget.spend(2.0)
    assert budget.wait_seconds() == pytest.approx(2.0)
    clock.now += 2.0
    assert budget.wait_seconds() == pytest.approx(0.0)


def test_time_without_work_is_not_saved_up() -> None:
    clock = Clock()
    budget = WorkBudget(clock)

    clock.now += 1000
    budget.spend(3.0)

    assert budget.wait_seconds() == pytest.approx(2.0)


def test_two_at_once_are_calculated_and_others_wait_for_their_turn() -> None:
    async def run() -> None:
        limit, active, most = PictureLimit("picture", monotonic), 0, 0
        full, release = asyncio.Event(), asyncio.Event()

        async def answer() -> int:
            nonlocal active, most
            active += 1
            most = max(most, active)
            if active == MAX_PICTURES:
                full.set()
            await release.wait()
            active -= 1
            return most

        asked = [asyncio.ensure_future(limit.run(answer)) for _ in range(2 * MAX_PICTURES)]
        await full.wait()
        release.set()
        assert await asyncio.gather(*asked) == [MAX_PICTURES] * len(asked)
        limit.close()

    asyncio.run(run())


def test_a_crowd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.web.picture_limit._MAX_WAIT_SECONDS", 0.05)

    async def run() -> None:
        limit, release = PictureLimit("picture", monotonic), asyncio.Event()
        asked = [asyncio.ensure_future(limit.run(release.wait)) for _ in range(50)]
        done, waiting = await asyncio.wait(asked, timeout=2)
        while len(done) < len(asked) - MAX_PICTURES:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        release.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(result, TooManyRequests) for result in results) == len(asked) - MAX_PICTURES
        limit.close()

    asyncio.run(run())


def test_an_answer_that_takes_too_long_is_given_up_and_keeps_its_turn_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.web.picture_limit.MAX_SECONDS", 0.05)
    monkeypatch.setattr("streams.web.picture_limit._MAX_WAIT_SECONDS", 0.05)

    async def run() -> None:
        limit, release = PictureLimit("picture", monotonic), asyncio.Event()
        for _ in range(MAX_PICTURES):
            with pytest.raises(TooManyRequests) as too_long:
                await limit.run(release.wait)
            assert "takes longer than" in (too_long.value.text or "")
        with pytest.raises(TooManyRequests) as busy:
            await limit.run(release.wait)
        assert "too often" in (busy.value.text or "")
        release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await limit.run(release.wait)
        limit.close()

    asyncio.run(run())


def test_after_its_deadline_a_turn_does_no_more_work() -> None:
    clock = Clock()
    with ThreadPoolExecutor(1) as executor:
        turn = Turn(executor, Deadline(clock.now + 5, clock, "too long"))
        turn.deadline.check()
        clock.now += 6
        with pytest.raises(TooManyRequests):
            turn.deadline.check()
    assert current_turn.get() is None
