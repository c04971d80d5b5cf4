"""Trying again: for how long, and when not."""

import asyncio
import random
from itertools import islice

import pytest
from aiokafka.errors import KafkaConnectionError
from sqlalchemy.exc import OperationalError

from streams.retry import MAX_BACKOFF_SECONDS, RevokedError, backoff, retry_until_done


def away() -> OperationalError:
    """Return the error of a database that does not answer."""
    return OperationalError("SELECT 1", {}, Exception("no route to host"))


def test_waits_grow_to_a_bound_and_never_vanish() -> None:
    found = list(islice(backoff(random.Random(1)), 20))  # noqa: S311 - a seed, no secret

    assert all(0 < wait <= MAX_BACKOFF_SECONDS for wait in found)
    assert found[0] < 0.11
    assert min(found[8:]) >= MAX_BACKOFF_SECONDS / 2


@pytest.mark.parametrize("error", [away(), KafkaConnectionError(), TimeoutError()])
def test_what_passes_is_tried_until_it_is_done(error: Exception) -> None:
    tries = []

    async def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    assert asyncio.run(retry_until_done("work", work, lambda: True)) == "done"
    assert len(tries) == 3


def test_a_bug_is_not_tried_again() -> None:
    tries = []

    async def work() -> None:
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(retry_until_done("work", work, lambda: True))

    assert len(tries) == 1


def test_work_that_is_no_longer_ours_is_given_up() -> None:
    ours = [True]

    async def work() -> None:
        ours.clear()
        raise away()

    with pytest.raises(RevokedError):
        asyncio.run(retry_until_done("work", work, lambda: bool(ours)))
