"""The tasks of a service: none ends without a word."""

import asyncio

import pytest
from mode import Service

from streams.watched_service import WatchedService


class Ended(WatchedService):
    """Awaits what was cancelled, as a library may."""

    @Service.task
    async def _work(self) -> None:
        cancelled = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        cancelled.cancel()
        await cancelled


class Working(WatchedService):
    """Works until it is stopped."""

    @Service.task
    async def _work(self) -> None:
        await asyncio.sleep(60)


def test_a_task_that_a_strange_cancellation_ends_ends_the_service() -> None:
    async def run() -> BaseException | None:
        service = Ended()
        await service.start()
        await asyncio.wait_for(service.wait_until_stopped(), 10)
        return service.crash_reason

    assert "nobody asked for" in str(asyncio.run(run()))


def test_a_task_that_is_stopped_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> BaseException | None:
        service = Working()
        await service.start()
        await asyncio.sleep(0)
        await service.stop()
        return service.crash_reason

    assert asyncio.run(run()) is None
    assert "rashed" not in caplog.text
