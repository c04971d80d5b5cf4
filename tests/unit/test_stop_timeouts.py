"""What waits for Kafka when a worker stops."""

import asyncio
from contextlib import suppress

import pytest

from streams.kafka import stop_timeouts
from streams.kafka.stop_timeouts import StopTimeouts, cancel_until_done


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_timeouts, "STOP_TIMEOUT_SECONDS", 0.05)


async def wait_within(timeouts: StopTimeouts) -> None:
    async with timeouts.limit():
        await asyncio.Event().wait()


def test_nothing_is_limited_before_the_stop() -> None:
    async def scenario() -> None:
        waiting = asyncio.ensure_future(wait_within(StopTimeouts()))

        assert await asyncio.wait([waiting], timeout=0.2) == (set(), {waiting})
        waiting.cancel()

    asyncio.run(scenario())


def test_what_waits_when_the_stop_begins_ends_soon() -> None:
    async def scenario() -> None:
        timeouts = StopTimeouts()
        waiting = asyncio.ensure_future(wait_within(timeouts))
        await asyncio.sleep(0)

        timeouts.begin()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 10)
        assert timeouts.has_begun

    asyncio.run(scenario())


def test_what_begins_to_wait_later_has_what_is_left() -> None:
    async def scenario() -> None:
        timeouts = StopTimeouts()
        timeouts.begin()
        with pytest.raises(TimeoutError):
            await wait_within(timeouts)

        assert timeouts.seconds_left() == 0
        with pytest.raises(TimeoutError):
            await wait_within(timeouts)

    asyncio.run(scenario())


def test_what_is_answered_in_time_ends_as_ever() -> None:
    async def scenario() -> None:
        timeouts = StopTimeouts()
        timeouts.begin()

        async with timeouts.limit():
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_a_task_that_takes_a_cancellation_for_another_is_cancelled_again() -> None:
    async def scenario() -> None:
        async def go_on_once() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

        async def fail() -> None:
            raise ConnectionError

        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        stubborn, failed = asyncio.ensure_future(go_on_once()), asyncio.ensure_future(fail())
        await asyncio.sleep(0)

        await cancel_until_done([stubborn, failed])

        assert stubborn.cancelled()
        del failed
        assert complaints == []

    asyncio.run(scenario())
