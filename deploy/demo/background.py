"""Runs what the demo has beside its worker, each in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvloop

_STOP_SECONDS: Final = 5.0


@contextmanager
def run_in_background(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]], name: str) -> Iterator[None]:
    """Run a coroutine until the block ends: an event, which it is given, tells it to end within some seconds."""
    loop, ending = uvloop.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[serve(ending)], name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(ending.set)
        thread.join(_STOP_SECONDS)
        if not thread.is_alive():
            loop.close()
