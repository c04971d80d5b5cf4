"""Trying again: for how long, and when not."""

import asyncio
import random
from itertools import islice

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from faust.exceptions import ProducerSendError
from sqlalchemy.exc import OperationalError

from streams.retry import MAX_BACKOFF_SECONDS, Retry, RevokedError, backoff, retry_until_done


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


def test_what_is_retried_is_told_after_a_while_and_forgotten_when_it_succeeds() -> None:
    told: list[str] = []

    async def work() -> None:
        told.extend((Retry.describe_reportable(), Retry.describe_reportable(0)))
        if len(told) < 4:
            raise away()

    asyncio.run(retry_until_done("recording milepost.events:1:5-9", work, lambda: True))

    assert told[:3] == ["", "", ""]
    assert told[3].startswith("recording milepost.events:1:5-9 for 0 s: ")
    assert "no route to host" in told[3]
    assert Retry.describe_reportable(0) == ""
    assert Retry.longest_seconds() == 0


@pytest.mark.parametrize(
    "refusal", [TopicAuthorizationFailedError("milepost.dead-letters"), MessageSizeTooLargeError("too large")]
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_refusal_is_told_at_once(refusal: Exception, is_wrapped: bool) -> None:  # noqa: FBT001 - a table's column
    told: list[str] = []

    async def work() -> None:
        if told or Retry.longest_seconds():
            told.append(Retry.describe_reportable())
            return
        if is_wrapped:
            raise ProducerSendError("not sent") from refusal
        raise refusal

    asyncio.run(retry_until_done("publishing dead letters", work, lambda: True))

    assert told[0].startswith("publishing dead letters for 0 s: ")


def test_a_retry_that_is_given_up_is_forgotten() -> None:
    async def work() -> None:
        raise away()

    with pytest.raises(RevokedError):
        asyncio.run(retry_until_done("work", work, lambda: False))
    assert Retry.longest_seconds() == 0


def test_a_retry_keeps_no_error() -> None:
    retry = Retry("work")
    retry.fail(away())
    try:
        assert not any(isinstance(value, BaseException) for value in vars(retry).values())
    finally:
        retry.end()
