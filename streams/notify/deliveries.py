"""What waits to be delivered to a target: in the order of each milestone, and never one milestone for another.

A delivery waits for those before it that are about one of its milestones, for a free place, and, when it fails, for a
growing time. After a day of failures it is given up.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, NamedTuple, TypeVar

from models.domain.claims import MilestoneKey
from streams.outages import OUTAGES, Subject

T = TypeVar("T")

#: Deliveries to one target that are under way at once.
MAX_UNDER_WAY: Final = 8
#: How long those that are under way may take when the target's partitions go to another process.
GRACE_SECONDS: Final = 2.0


class Outcome(StrEnum):
    """What became of an attempt to deliver."""

    DELIVERED = "delivered"
    #: The target will never take it.
    PASSED_OVER = "passed-over"
    #: It is not for this target, as only the attempt could tell.
    NOT_WANTED = "not-wanted"
    #: Try again.
    FAILED = "failed"
    #: The target wants nothing any more.
    SWITCHED_OFF = "switched-off"
    #: A day of failures is over.
    GIVEN_UP = "given-up"


class Answer(NamedTuple):
    """The outcome of an attempt, why, and after how many seconds the target wants the next one at the earliest."""

    outcome: Outcome
    detail: str = ""
    retry_after: float = 0.0


class RetryPolicy(NamedTuple):
    """When a failed delivery is tried again: contract, section 10."""

    first_seconds: float = 1.0
    max_seconds: float = 900.0
    give_up_seconds: float = 86_400.0

    def waits(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds before each next attempt: doubling, bounded, with jitter."""
        ceiling = self.first_seconds
        while True:
            yield ceiling * rng.uniform(0.5, 1)
            ceiling = min(ceiling * 2, self.max_seconds)


DEFAULT_RETRY_POLICY: Final = RetryPolicy()


@dataclass(eq=False, slots=True, weakref_slot=True)
class Delivery(Generic[T]):
    """Something to deliver."""

    content: T
    #: The milestones that it is about.
    milestones: Collection[MilestoneKey]
    #: Since when it fails, in seconds since the epoch; 0 when it does not.
    failing_since: float = 0.0
    #: How many of its milestones have nothing before it.
    _free: int = field(default=0)


class DeliveryQueue(Generic[T]):
    """The deliveries of a target that are not over."""

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        name: str,
        deliver: Callable[[Delivery[T]], Awaitable[Answer]],
        note: Callable[[Delivery[T], Answer], None],
        policy: RetryPolicy,
        now: Callable[[], float],
        max_under_way: int = MAX_UNDER_WAY,
    ) -> None:
        """Take what delivers, and what is told of each outcome: of `FAILED` again and again, of the others once."""
        self._deliver, self._note, self._policy, self._now = deliver, note, policy, now
        self._subject = Subject(f"delivery to {name}")
        self._places = asyncio.Semaphore(max_under_way)
        self._lines: defaultdict[MilestoneKey, deque[Delivery[T]]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        #: How many deliveries are not over.
        self.waiting = 0
        #: Set while nothing more is delivered, because an attempt, or a bug, ended it.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, delivery: Delivery[T]) -> None:
        """Add a delivery, behind all about the same milestones."""
        self.waiting += 1
        for milestone in delivery.milestones:
            line = self._lines[milestone]
            line.append(delivery)
            delivery._free += len(line) == 1  # noqa: SLF001 - of this module
        self._start_if_free(delivery)

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Start no attempt any more, and end; those under way get a little time."""
        self._is_stopped = True
        for task in self._tasks - self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace_seconds)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()
        self.ended.cancel()

    def _start_if_free(self, delivery: Delivery[T]) -> None:
        if delivery._free == len(delivery.milestones) and not self._is_stopped:  # noqa: SLF001 - as above
            task = asyncio.create_task(self._run(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.ended.done():
            self.ended.set_exception(error)

    async def _run(self, delivery: Delivery[T]) -> None:
        waits = self._policy.waits(random.Random())  # noqa: S311 - jitter is no secret
        try:
            while (answer := await self._attempt(delivery)) is not None and answer.outcome is Outcome.FAILED:
                now = self._now()
                delivery.failing_since = delivery.failing_since or now
                OUTAGES.fail(delivery, self._subject, answer.detail)
                self._note(delivery, answer)
                left = delivery.failing_since + self._policy.give_up_seconds - now
                if left <= 0:
                    answer = answer._replace(outcome=Outcome.GIVEN_UP)
                    break
                await asyncio.sleep(min(max(next(waits), answer.retry_after), left))
        finally:
            OUTAGES.end(delivery)
        if answer is None:
            return
        if answer.outcome is Outcome.SWITCHED_OFF:
            self._is_stopped = True
            self._note(delivery, answer)
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self._leave(delivery)
        self._note(delivery, answer)

    async def _attempt(self, delivery: Delivery[T]) -> Answer | None:
        """Return the answer to an attempt; None when nothing is delivered any more."""
        async with self._places:
            if self._is_stopped:
                return None
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - this is a coroutine
            self._under_way.add(task)
            try:
                return await self._deliver(delivery)
            finally:
                self._under_way.discard(task)

    def _leave(self, delivery: Delivery[T]) -> None:
        self.waiting -= 1
        for milestone in delivery.milestones:
            line = self._lines[milestone]
            line.popleft()
            if line:
                line[0]._free += 1  # noqa: SLF001 - as above
                self._start_if_free(line[0])
            else:
                del self._lines[milestone]


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end; raises what the task raised."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
