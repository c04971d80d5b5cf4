"""Retries with exponential backoff and jitter, until done or until the partitions are revoked."""

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
#: Upper bound of the backoff, and so the longest a worker takes to notice that an outage is over.
MAX_BACKOFF_SECONDS: Final = 2.0

T = TypeVar("T")


class RevokedError(Exception):
    """The work is no longer this worker's: its partitions were revoked, or the worker stops."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error of the database or of Kafka may pass by itself."""
    return (
        isinstance(error, KafkaError | ProducerSendError | TimeoutError) or classify_error(error) is ErrorKind.TRANSIENT
    )


def backoff(rng: random.Random) -> Iterator[float]:
    """Yield the seconds to wait before each retry: doubling, bounded, with jitter so that workers spread out."""
    ceiling = INITIAL_BACKOFF_SECONDS
    while True:
        yield ceiling * rng.uniform(0.5, 1)
        ceiling = min(ceiling * 2, MAX_BACKOFF_SECONDS)


async def retry_until_done(description: str, operation: Callable[[], Awaitable[T]], is_active: Callable[[], bool]) -> T:
    """Return the operation's result, retrying it for as long as its errors are transient.

    Raises `RevokedError` once `is_active` is false, and any other error at once.
    """
    for delay in backoff(random.Random()):  # noqa: S311 - jitter is no secret
        try:
            return await operation()
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("%s failed, trying again in %.1f s: %s", description, delay, one_line(error, 500))
        await sleep_while(delay, is_active)
    raise AssertionError("backoff() never ends")


async def sleep_while(seconds: float, is_active: Callable[[], bool]) -> None:
    """Sleep; raises `RevokedError` as soon as `is_active` is false."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while is_active():
        remaining = until - loop.time()
        if remaining <= 0:
            return
        await asyncio.sleep(min(remaining, 0.1))
    raise RevokedError
