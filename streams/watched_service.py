"""A service whose tasks do not end unnoticed."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from mode import Service


class WatchedService(Service):
    """As mode's, which takes a `CancelledError` for the end of a task.

    A library that awaits what it has cancelled itself raises one as well. The task would be over, and nothing would say
    so: here that is a bug like any other, and ends the worker.
    """

    async def _execute_task(self, task: Awaitable[Any]) -> None:
        await super()._execute_task(self._without_strange_end(task))

    async def _without_strange_end(self, task: Awaitable[Any]) -> None:
        try:
            await task
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if self.should_stop or current is None or current.cancelling():
                raise
            raise RuntimeError(f"{task!r} was ended by a cancellation that nobody asked for") from error
