"""The queue of a target: the order of each milestone, waits that grow, and when a delivery is given up."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.claims import MilestoneKey
from streams.notify.deliveries import DEFAULT_RETRY_POLICY, Answer, Delivery, DeliveryQueue, Outcome, RetryPolicy
from tests.helpers.workers import wait_until_async

DELIVERED, FAILED = Answer(Outcome.DELIVERED), Answer(Outcome.FAILED, "why")
QUICK = RetryPolicy(0.001, 0.002, 0.02)


def milestone(name: str) -> MilestoneKey:
    return MilestoneKey("north", "plant", name)


class Told:
    """What a queue delivered, and the clock that it reads."""

    def __init__(self, answer: Callable[[int], Awaitable[Answer]]) -> None:
        self.now, self._answer = 1000.0, answer
        self.attempts: list[int] = []
        self.outcomes: list[tuple[int, Outcome]] = []

    def queue(self, policy: RetryPolicy = QUICK, max_under_way: int = 8) -> DeliveryQueue[int]:
        return DeliveryQueue("one", self._deliver, self._note, policy, lambda: self.now, max_under_way)

    async def _deliver(self, delivery: Delivery[int]) -> Answer:
        self.attempts.append(delivery.content)
        return await self._answer(delivery.content)

    def _note(self, delivery: Delivery[int], answer: Answer) -> None:
        self.outcomes.append((delivery.content, answer.outcome))

    def over(self) -> list[int]:
        return [number for number, outcome in self.outcomes if outcome is not Outcome.FAILED]


async def drained(queue: DeliveryQueue[int]) -> None:
    await wait_until_async(lambda: not queue.waiting or queue.ended.done(), "nothing waits", 10)


@given(
    st.lists(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3), max_size=30),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_what_shares_a_milestone_is_delivered_in_order_whatever_fails(
    about: list[set[str]], max_under_way: int, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret

    async def answer(_number: int) -> Answer:
        await asyncio.sleep(0)
        return DELIVERED if rng.random() < 0.7 else FAILED

    async def run() -> Told:
        told = Told(answer)
        queue = told.queue(RetryPolicy(0.0, 0.0, 1e9), max_under_way)
        for number, names in enumerate(about):
            queue.put(Delivery(number, {milestone(name) for name in names}))
        await drained(queue)
        await queue.stop()
        return told

    over = asyncio.run(run()).over()
    assert sorted(over) == [*range(len(about))]
    for name in "abcd":
        of_milestone = [number for number in over if name in about[number]]
        assert of_milestone == sorted(of_milestone)


def test_a_day_of_failures_is_the_end_of_one_delivery_and_the_next_has_its_turn() -> None:
    async def run() -> Told:
        async def answer(number: int) -> Answer:
            told.now += 3600
            return FAILED if number == 0 else DELIVERED

        told = Told(answer)
        queue = told.queue(DEFAULT_RETRY_POLICY._replace(first_seconds=0.0, max_seconds=0.0))
        for number in range(2):
            queue.put(Delivery(number, {milestone("a")}))
        await drained(queue)
        await queue.stop()
        return told

    told = asyncio.run(run())
    assert told.over() == [0, 1]
    assert told.outcomes[-2:] == [(0, Outcome.GIVEN_UP), (1, Outcome.DELIVERED)]
    # The first failure is noted after an hour; the last attempt is made when the day is over.
    assert told.attempts.count(0) == 25


def test_a_failure_that_began_before_this_process_is_given_up_when_its_day_is_over() -> None:
    async def run() -> Told:
        async def answer(_number: int) -> Answer:
            return FAILED

        told = Told(answer)
        queue = told.queue(DEFAULT_RETRY_POLICY)
        queue.put(Delivery(0, {milestone("a")}, told.now - 86_400))
        await drained(queue)
        await queue.stop()
        return told

    assert asyncio.run(run()).outcomes == [(0, Outcome.FAILED), (0, Outcome.GIVEN_UP)]


def test_the_waits_double_and_are_bounded() -> None:
    waits = DEFAULT_RETRY_POLICY.waits(random.Random(1))  # noqa: S311 - as above
    for number in range(20):
        ceiling = min(2.0**number, 900.0)
        assert ceiling / 2 <= next(waits) <= ceiling


def test_410_ends_all_and_loses_nothing() -> None:
    async def run() -> tuple[Told, int]:
        async def answer(number: int) -> Answer:
            return Answer(Outcome.SWITCHED_OFF) if number == 1 else DELIVERED

        told = Told(answer)
        queue = told.queue(max_under_way=1)
        for number in range(5):
            queue.put(Delivery(number, {milestone(str(number))}))
        await drained(queue)
        await queue.stop()
        return told, queue.waiting

    told, waiting = asyncio.run(run())
    assert told.outcomes == [(0, Outcome.DELIVERED), (1, Outcome.SWITCHED_OFF)]
    assert waiting == 4


def test_stopping_waits_a_little_for_what_is_under_way_and_notes_only_what_is_over() -> None:
    async def run() -> Told:
        ends, never = asyncio.Event(), asyncio.Event()

        async def answer(number: int) -> Answer:
            await (never if number else ends).wait()
            return DELIVERED

        told = Told(answer)
        queue = told.queue()
        for number in range(3):
            queue.put(Delivery(number, {milestone("a" if number == 2 else str(number))}))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, ends.set)
        await queue.stop(0.5)
        return told

    told = asyncio.run(run())
    assert told.outcomes == [(0, Outcome.DELIVERED)]


def test_a_bug_in_a_delivery_ends_the_queue_and_is_not_swallowed() -> None:
    async def run() -> None:
        async def answer(_number: int) -> Answer:
            raise ZeroDivisionError

        queue = Told(answer).queue()
        queue.put(Delivery(0, {milestone("a")}))
        await drained(queue)
        try:
            queue.ended.result()
        finally:
            await queue.stop()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
