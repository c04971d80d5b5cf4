"""Trying again: how long to wait between tries, and when to give up."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from models.database.engine import Fate, fate_of
from models.text import one_line

logger = logging.getLogger("milepost.patience")

FIRST_SECONDS: Final = 0.1
#: Seconds of every outage that a worker sleeps through after its end, at worst; and how often it asks meanwhile.
LONGEST_SECONDS: Final = 2.0

T = TypeVar("T")


class GivenUpError(Exception):
    """The work in hand is no longer ours: its partitions were revoked, or the worker stops."""


def passes(error: BaseException) -> bool:
    """Return whether an error of the database or of Kafka passes by itself."""
    return isinstance(error, KafkaError | ProducerSendError | TimeoutError) or fate_of(error) is Fate.TRANSIENT


def waits(rng: random.Random) -> Iterator[float]:
    """Yield the seconds to wait before each next try: doubling, bounded, with jitter so that workers spread."""
    ceiling = FIRST_SECONDS
    while True:
        yield ceiling * rng.uniform(0.5, 1)
        ceiling = min(ceiling * 2, LONGEST_SECONDS)


async def until_done(what: str, work: Callable[[], Awaitable[T]], is_ours: Callable[[], bool]) -> T:
    """Return what the work returns, trying again for as long as what goes wrong may pass.

    Raises `GivenUpError` as soon as the work is no longer ours, and at once whatever cannot pass.
    """
    for wait in waits(random.Random()):  # noqa: S311 - jitter is no secret
        try:
            return await work()
        except Exception as error:
            if not passes(error):
                raise
            logger.warning("%s failed, trying again in %.1f s: %s", what, wait, one_line(error, 500))
        await wait_while(wait, is_ours)
    raise AssertionError("waits() never ends")


async def wait_while(seconds: float, is_ours: Callable[[], bool]) -> None:
    """Wait, but no longer than the work is ours; raises `GivenUpError` when it is not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while is_ours():
        left = until - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, 0.1))
    raise GivenUpError
