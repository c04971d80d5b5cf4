"""Trying again: how long to wait between tries, and when to give up."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from models.database.engine import ErrorKind, classify_error
from models.text import one_line

logger = logging.getLogger("milepost.retry")

INITIAL_BACKOFF_SECONDS: Final = 0.1
#: Seconds of every outage that a worker sleeps through after its end, at worst; and how often it asks meanwhile.
MAX_BACKOFF_SECONDS: Final = 2.0

T = TypeVar("T")


class RevokedError(Exception):
    """The work in hand is no longer ours: its partitions were revoked, or the worker stops."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error of the database or of Kafka passes by itself."""
    return (
        isinstance(error, KafkaError | ProducerSendError | TimeoutError) or classify_error(error) is ErrorKind.TRANSIENT
    )


def backoff(rng: random.Random) -> Iterator[float]:
    """Yield the seconds to wait before each next try: doubling, bounded, with jitter so that workers spread."""
    ceiling = INITIAL_BACKOFF_SECONDS
    while True:
        yield ceiling * rng.uniform(0.5, 1)
        ceiling = min(ceiling * 2, MAX_BACKOFF_SECONDS)


async def retry_until_done(description: str, operation: Callable[[], Awaitable[T]], is_active: Callable[[], bool]) -> T:
    """Return what the work returns, trying again for as long as what goes wrong may pass.

    Raises `RevokedError` as soon as the work is no longer ours, and at once whatever cannot pass.
    """
    for wait in backoff(random.Random()):  # noqa: S311 - jitter is no secret
        try:
            return await operation()
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("%s failed, trying again in %.1f s: %s", description, wait, one_line(error, 500))
        await sleep_while(wait, is_active)
    raise AssertionError("backoff() never ends")


async def sleep_while(seconds: float, is_active: Callable[[], bool]) -> None:
    """Wait, but no longer than the work is ours; raises `RevokedError` when it is not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while is_active():
        left = until - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, 0.1))
    raise RevokedError
