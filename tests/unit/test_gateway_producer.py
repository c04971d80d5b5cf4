"""The gateway's producer beside a library that answers at once, late or never: nothing waits that could be sent."""

import asyncio
import logging
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from models.domain.envelope import STRUCTURED_HEADERS
from streams.gateway import producer as module
from streams.gateway.acceptance import CheckedRecord
from streams.gateway.content_modes import Record
from streams.gateway.producer import EventProducer, UnavailableError
from streams.outages import OutageLog

PROGRAMMES = [f"programme-{number}" for number in range(20)]


class Batch(list[bytes]):
    """As the library's: it takes three records."""

    def append(self, *, timestamp: None, key: bytes, value: bytes, headers: list[Any]) -> object | None:  # type: ignore[override]  # noqa: ARG002 - the library's names
        if len(self) == 3:
            return None
        super().append(value)
        return value

    def close(self) -> None:
        pass


class Library:
    """In the place of aiokafka's producer."""

    made: list["Library"] = []  # noqa: RUF012 - all of a test
    #: What becomes of a batch; by default it is acknowledged at once.
    outcome: BaseException | None = None
    answers = True

    def __init__(self, **_options: Any) -> None:  # noqa: ANN401 - the library's
        self.sent: list[bytes] = []
        self.unanswered: list[asyncio.Future[None]] = []
        Library.made.append(self)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0, 1, 2, 3}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _topic: str, *, partition: int) -> "asyncio.Future[None]":  # noqa: ARG002 - the library's name
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if Library.outcome is not None:
            future.set_exception(Library.outcome)
        elif Library.answers:
            self.sent += batch
            future.set_result(None)
        else:
            self.unanswered.append(future)
        return future


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AIOKafkaProducer", Library)
    monkeypatch.setattr(module, "_RESTART_SECONDS", 0.01)
    monkeypatch.setattr(Library, "made", [])


def records(number: int, count: int) -> list[CheckedRecord]:
    return [
        CheckedRecord(PROGRAMMES[(number + place) % 20], Record(STRUCTURED_HEADERS, b"%d-%d" % (number, place)))
        for place in range(count)
    ]


async def started() -> EventProducer:
    producer = EventProducer({"bootstrap_servers": "tests"}, "events")
    await producer.start()
    return producer


def test_no_record_waits_for_another_publisher_whatever_the_moment_at_which_it_comes() -> None:
    async def publish_in_turns() -> list[bytes]:
        producer = await started()

        async def publish_again_and_again(name: int) -> None:
            for number in range(300):
                # Every publisher comes at another turn of the event loop.
                for _ in range((name * number) % 7):
                    await asyncio.sleep(0)
                await producer.publish(records(name * 1000 + number, 1 + number % 5))

        await asyncio.gather(*(publish_again_and_again(name) for name in range(8)))
        await producer.stop()
        return Library.made[0].sent

    sent = asyncio.run(asyncio.wait_for(publish_in_turns(), 30))
    assert len(sent) == len(set(sent)) == 8 * 300 * 3


def test_what_nobody_waits_for_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PUBLISH_SECONDS", 0.05)
    monkeypatch.setattr(Library, "answers", False)

    async def publish_in_an_outage() -> int:
        producer = await started()
        for number in range(20):
            with pytest.raises(UnavailableError, match="did not take events within"):
                await producer.publish(records(number, 50))
        assert "did not take" in producer.problem
        waiting = sum(map(len, producer._pending.values()))
        await producer.stop()
        return waiting

    assert asyncio.run(publish_in_an_outage()) == 0


def test_who_waits_when_the_gateway_stops_is_told_to_send_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish_and_give_up() -> None:
        producer = await started()
        await producer.publish(records(1, 5))
        monkeypatch.setattr(Library, "answers", False)
        publishing = [asyncio.create_task(producer.publish(records(number, 5))) for number in range(3)]
        await asyncio.sleep(0)
        producer.give_up()
        for task in publishing:
            with pytest.raises(UnavailableError, match="the gateway stops"):
                await task
        await producer.stop()

    asyncio.run(asyncio.wait_for(publish_and_give_up(), 5))


def test_a_batch_that_fails_has_its_producer_replaced_and_the_next_one_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "outcome", KafkaError("not this"))

    async def publish_twice() -> None:
        producer = await started()
        with pytest.raises(UnavailableError, match="Kafka refuses events: KafkaError: not this"):
            await producer.publish(records(1, 50))
        monkeypatch.setattr(Library, "outcome", None)
        await producer.publish(records(2, 5))
        assert producer.problem == ""
        await producer.stop()

    asyncio.run(publish_twice())
    assert [len(library.sent) for library in Library.made] == [0, 5]


def test_a_topic_that_takes_no_events_is_logged_once_and_when_it_takes_them_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "milepost.outages")
    monkeypatch.setattr(module, "OUTAGES", OutageLog())
    monkeypatch.setattr(module, "PUBLISH_SECONDS", 0.05)
    monkeypatch.setattr(Library, "answers", False)

    async def publish() -> None:
        producer = await started()
        for number in range(3):
            with pytest.raises(UnavailableError):
                await producer.publish(records(number, 20))
        monkeypatch.setattr(Library, "answers", True)
        for future in Library.made[0].unanswered:
            future.set_result(None)
        await producer.publish(records(0, 20))
        await producer.stop()

    asyncio.run(publish())

    assert [message.partition(":")[0] for message in caplog.messages] == [
        "the events topic takes no events, and publishers are told to send again",
        caplog.messages[-1],
    ]
    assert caplog.messages[-1].startswith("the events topic takes events again, after ")
