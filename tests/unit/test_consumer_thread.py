"""One fetch of the consumer's thread: what is there, and what came behind it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faust.types import TP

from streams.kafka.compat import patch_aiokafka
from streams.kafka.consumer_thread import MicroBatchConsumerThread

ONE, OTHER = TP("events", 0), TP("events", 1)


class Fetcher:
    """aiokafka's, as far as a fetch asks it: what lies there, and what it answers, one after the other."""

    def __init__(self, there: set[TP], *answers: dict[TP, list[int]] | Exception) -> None:
        self._records = OrderedDict.fromkeys(there)
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


class _Assignment:
    """An assignment and the state of each of its partitions, as far as a fetch asks them."""

    active, paused, has_valid_position, position, highwater, lso = True, False, True, 0, 0, None

    def state_value(self, _: object) -> "_Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


class _Records:
    """The records of a partition, a mebibyte each."""

    def __init__(self, count: int) -> None:
        self._left, self.next_fetch_offset = count, 0

    def __iter__(self) -> Iterator[SimpleNamespace]:
        while self._left:
            self._left -= 1
            yield SimpleNamespace(serialized_value_size=1024 * 1024)


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


class Buffered(Fetcher):
    """aiokafka's own way of taking what it has fetched, over partitions with so many mebibytes each."""

    def __init__(self, **mebibytes: int) -> None:
        super().__init__(set())
        assignment = _Assignment()
        self._subscriptions = SimpleNamespace(
            fetch_context=nullcontext,
            reassignment_in_progress=False,
            is_assigned=lambda _: True,
            subscription=SimpleNamespace(assignment=assignment),
        )
        self._wait_consume_future, self._closed = None, False
        patch_aiokafka()
        self._records = OrderedDict(
            (tp, aiokafka_fetcher.FetchResult(tp, assignment=assignment, partition_records=_Records(size), backoff=0))
            for tp, size in zip((ONE, OTHER), mebibytes.values(), strict=True)
        )

    fetched_records = aiokafka_fetcher.Fetcher.fetched_records

    def _notify(self, _: object) -> None: ...

    def _create_fetch_waiter(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()


def test_a_partition_with_more_than_a_fetch_takes_does_not_hold_up_another() -> None:
    fetcher = Buffered(large=100, small=1)

    first, second = fetch(fetcher, 4000), fetch(fetcher, 4000)

    assert {tp: len(records) for tp, records in first.records.items()} == {ONE: 16}
    assert {tp: len(records) for tp, records in second.records.items()} == {OTHER: 1, ONE: 15}
