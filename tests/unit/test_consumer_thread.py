"""One fetch of the consumer's thread: what is there, and what came behind it."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faust.types import TP

from streams.kafka.consumer_thread import MicroBatchConsumerThread

ONE, OTHER = TP("events", 0), TP("events", 1)


class Fetcher:
    """aiokafka's, as far as a fetch asks it: what lies there, and what it answers, one after the other."""

    def __init__(self, there: set[TP], *answers: dict[TP, list[int]] | Exception) -> None:
        self._records = dict.fromkeys(there)
        self._subscriptions = SimpleNamespace(fetch_context=nullcontext, subscription=SimpleNamespace(assignment=None))
        self.answers = [*answers]
        self.asked: list[int] = []

    async def fetched_records(
        self,
        _partitions: set[TP],
        timeout: float,  # noqa: ASYNC109 - aiokafka's signature
        max_records: int,
    ) -> dict[TP, list[int]]:
        assert timeout > 0
        self.asked.append(max_records)
        if isinstance(answer := self.answers.pop(0), Exception):
            raise answer
        return answer


def fetch(fetcher: Fetcher, max_records: int = 10) -> Any:  # noqa: ANN401 - numbers stand for its records
    consumer: Callable[[], Any] = lambda: SimpleNamespace(_fetcher=fetcher)  # noqa: E731 - a stand-in's method
    thread = cast("MicroBatchConsumerThread", SimpleNamespace(_ensure_consumer=consumer))
    return asyncio.run(MicroBatchConsumerThread.fetch(thread, {ONE, OTHER}, max_records))


def test_what_came_behind_records_that_were_there_is_one_fetch_with_them() -> None:
    fetcher = Fetcher({ONE}, {ONE: [1, 2]}, {ONE: [3], OTHER: [7]})

    assert fetch(fetcher).records == {ONE: [1, 2, 3], OTHER: [7]}
    assert fetcher.asked == [10, 8]


def test_what_was_waited_for_is_not_waited_for_twice() -> None:
    fetcher = Fetcher(set(), {ONE: [1]})

    assert fetch(fetcher).records == {ONE: [1]}


def test_a_full_fetch_is_not_made_fuller() -> None:
    fetcher = Fetcher({ONE}, {ONE: [1, 2, 3]})

    assert fetch(fetcher, max_records=3).record_count == 3


@pytest.mark.parametrize("error", [KafkaError("cut"), OffsetOutOfRangeError({ONE: 3})])
def test_an_error_behind_records_does_not_lose_them(error: Exception) -> None:
    fetcher = Fetcher({ONE}, {ONE: [1, 2]}, error)

    assert fetch(fetcher).records == {ONE: [1, 2]}


def test_an_error_in_front_is_the_callers() -> None:
    with pytest.raises(OffsetOutOfRangeError):
        fetch(Fetcher({ONE}, OffsetOutOfRangeError({ONE: 3})))
