"""Outages in the log: a line when one begins, one a minute, one when it ends; and what libraries say meanwhile."""

import asyncio
import gc
import logging
import time

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    NodeNotReadyError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from faust.exceptions import ProducerSendError
from mode.threads import ServiceThread
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from deploy.library_messages import HOLD_SECONDS, AttemptFilter
from models.errors import TOO_FEW_REPLICAS, ConcurrentWriteError
from streams.error_text import describe_error
from streams.outages import DATABASE, EVENTS_TOPIC, KAFKA, OutageLog, Subject
from streams.retry import Retry
from tests.helpers.workers import wait_until_async


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Attempt:
    """Something that fails."""


def lines_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged of outages; a thread that another test left may log something else."""
    return [record for record in caplog.records if record.name == "milepost.outages"]


def messages_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in lines_of(caplog)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock, caplog: pytest.LogCaptureFixture) -> OutageLog:
    caplog.set_level(logging.INFO, "milepost.outages")
    return OutageLog(clock)


@pytest.fixture
def refused() -> OperationalError:
    """Give the error of a database that does not answer."""
    return OperationalError("SELECT 1", {}, Exception("Connection refused"))


def test_an_outage_is_a_line_when_it_begins_one_a_minute_and_one_when_it_ends(
    outages: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt()
    for _ in range(100):
        outages.fail(attempt, KAFKA, "Connection refused")
        clock.now += 1.5
    assert outages.problem(KAFKA) == "Connection refused"
    outages.end(attempt)
    assert outages.problem(KAFKA) == ""

    assert [(record.levelname, record.getMessage()) for record in lines_of(caplog)] == [
        ("WARNING", "Kafka does not answer, and is asked again until it does: Connection refused"),
        ("WARNING", "Kafka has not answered for 1 min: Connection refused"),
        ("WARNING", "Kafka has not answered for 2 min: Connection refused"),
        ("INFO", "Kafka answers again, after 2 min"),
    ]


def test_an_outage_lasts_until_nothing_fails_for_it_any_more(
    outages: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = [Attempt() for _ in range(5)]
    for attempt in attempts:
        outages.fail(attempt, DATABASE, "Connection refused")
    for attempt in attempts:
        assert outages.was_away(DATABASE)
        clock.now += 1
        outages.end(attempt)

    assert not outages.was_away(DATABASE)
    assert outages.was_away(DATABASE, 30)
    assert messages_of(caplog) == [
        "the database does not answer, and is asked again until it does: Connection refused",
        "the database answers again, after 5.0 s",
    ]


def test_what_fails_for_another_reason_now_is_another_outage(
    outages: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt()
    outages.fail(attempt, DATABASE, "Connection refused")
    clock.now += 3
    outages.fail(attempt, Subject("recording milepost.events:1:5-9"), "read-only transaction")
    clock.now += 0.25
    outages.end(attempt)
    outages.end(attempt)

    assert messages_of(caplog)[1:] == [
        "the database answers again, after 3.0 s",
        "recording milepost.events:1:5-9 failed, and is tried again until it succeeds: read-only transaction",
        "recording milepost.events:1:5-9 no longer fails, after 0.2 s",
    ]


def test_what_is_forgotten_keeps_no_outage_alive(outages: OutageLog, caplog: pytest.LogCaptureFixture) -> None:
    attempt, other = Attempt(), Attempt()
    outages.fail(attempt, KAFKA, "Connection refused")
    del attempt
    gc.collect()
    outages.fail(other, KAFKA, "Connection refused")
    outages.end(other)

    assert messages_of(caplog)[-1] == "Kafka answers again, after 0.0 s"


def test_the_cause_that_a_library_logged_stands_behind_the_problem(
    outages: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt()
    outages.add_detail(KAFKA, "Unable connect to node 1: Connection refused")
    outages.fail(attempt, KAFKA, "nothing within 10 s")
    clock.now += 60
    outages.fail(attempt, KAFKA, "nothing within 10 s")

    assert [message.partition(": ")[2] for message in messages_of(caplog)] == [
        "nothing within 10 s (Unable connect to node 1: Connection refused)",
        "nothing within 10 s",
    ]


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        (KafkaConnectionError(), "Kafka does not answer"),
        (ProducerSendError(NodeNotReadyError()), "Kafka does not answer"),
        (TimeoutError(), "Kafka does not answer"),
        (TopicAuthorizationFailedError("milepost.changes"), "publishing changes failed"),
    ],
)
def test_an_operation_that_fails_says_what_is_away(
    error: Exception, beginning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "milepost.outages"):
        retry = Retry("publishing changes")
        retry.fail(error)
        retry.end()

    assert len(messages_of(caplog)) == 2
    assert messages_of(caplog)[0].startswith(beginning)
    assert messages_of(caplog)[0].partition(": ")[2]


def test_an_operation_that_fails_for_an_outage_now_is_not_said_to_be_over(
    outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt()
    outages.fail(attempt, Subject("publishing changes"), "not enough replicas")
    outages.fail(attempt, KAFKA, "Connection refused")
    outages.end(attempt)

    assert [message.partition(",")[0] for message in messages_of(caplog)] == [
        "publishing changes failed",
        "Kafka does not answer",
        "Kafka answers again",
    ]


def test_a_topic_that_is_unknown_in_an_outage_of_kafka_is_neither_told_nor_keeps_the_outage_alive(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.retry.OUTAGES", OutageLog(clock))
    reading, publishing = Retry("reading"), Retry("publishing changes")
    unknown = ProducerSendError(UnknownTopicOrPartitionError())
    with caplog.at_level(logging.INFO, "milepost.outages"):
        reading.fail(KafkaConnectionError())
        publishing.fail(unknown)
        reading.end()
        publishing.fail(unknown)
        clock.now += 40
        publishing.fail(unknown)
        publishing.end()

    assert [message.partition(",")[0] for message in messages_of(caplog)] == [
        "Kafka does not answer",
        "Kafka answers again",
        "publishing changes failed",
        "publishing changes no longer fails",
    ]


def test_workers_that_write_the_same_rows_are_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "milepost.outages"):
        retry = Retry("recording")
        retry.fail(ConcurrentWriteError("another worker recorded an event of this batch at the same time"))
        assert Retry.describe_reportable(0).startswith("recording for 0 s: another worker")
        retry.end()

    assert messages_of(caplog) == []


def test_operations_that_lack_the_database_are_one_outage(
    refused: OperationalError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "milepost.outages"):
        retries = [Retry(f"recording batch {number}") for number in range(3)]
        for _ in range(10):
            for retry in retries:
                retry.fail(refused)
        for retry in retries:
            retry.end()

    assert [message.partition(",")[0] for message in messages_of(caplog)] == [
        "the database does not answer",
        "the database answers again",
    ]


class TestLibraries:
    CONNECTING = 'Unable connect to "%s:%s": %s'

    @pytest.fixture(autouse=True)
    def outages(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> OutageLog:
        outages = OutageLog(clock)
        monkeypatch.setattr("deploy.library_messages.OUTAGES", outages)
        return outages

    @pytest.fixture
    def is_logged(self) -> AttemptFilter:
        return AttemptFilter()

    @staticmethod
    def record(message: str, created: float, *arguments: object, name: str = "aiokafka") -> logging.LogRecord:
        made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, None)
        made.created = created
        return made

    def test_a_rebalance_is_no_warning(self, is_logged: AttemptFilter) -> None:
        message = "Heartbeat failed for group %s because it is rebalancing"

        assert not any(is_logged.filter(self.record(message, at, "milepost")) for at in range(0, 600, 10))

    def test_what_is_not_known_to_be_harmless_is_logged(self, is_logged: AttemptFilter) -> None:
        assert is_logged.filter(self.record("Unexpected error in fetcher routine", 0))
        assert is_logged.filter(self.record("Marking the coordinator dead", 0, name="milepost.lag"))

    def test_a_lost_connection_is_said_by_its_error_alone(self, is_logged: AttemptFilter) -> None:
        message = "error ignored terminating %r: %s"

        assert not is_logged.filter(self.record(message, 0, "pipeline", "the connection is lost", name="psycopg"))
        assert is_logged.filter(self.record("connection pool is full", 0, name="psycopg"))

    def test_a_loop_that_turns_late_is_left_to_the_watchdog(self, is_logged: AttemptFilter) -> None:
        records = list[logging.LogRecord]()

        class Thread(ServiceThread):
            """A service of mode, as Faust's consumer is one."""

        async def make_late() -> None:
            handler = logging.Handler()
            handler.emit = records.append  # type: ignore[method-assign,assignment]
            logging.getLogger(Thread.__module__).addHandler(handler)
            thread = Thread(thread_loop=asyncio.get_running_loop())
            thread.last_wakeup_at = time.monotonic() - 10
            watching = asyncio.ensure_future(thread._keepalive2())
            await wait_until_async(lambda: bool(records), "the library has said that it was late")
            watching.cancel()
            logging.getLogger(Thread.__module__).removeHandler(handler)

        asyncio.run(make_late())

        assert [(record.levelname, is_logged.filter(record)) for record in records] == [("ERROR", False)]

    def test_an_attempt_is_kept_back_in_an_outage(self, is_logged: AttemptFilter, outages: OutageLog) -> None:
        attempt = Attempt()
        outages.fail(attempt, KAFKA, "Connection refused")

        assert not any(is_logged.filter(self.record(self.CONNECTING, at, "broker", 9092, "no")) for at in range(600))

    def test_an_attempt_is_kept_back_soon_after_an_outage_too(
        self, is_logged: AttemptFilter, outages: OutageLog, clock: Clock
    ) -> None:
        attempt = Attempt()
        outages.fail(attempt, KAFKA, "Connection refused")
        is_logged.filter(self.record("Group Coordinator Request failed", 0))
        outages.end(attempt)
        logged = []
        for at in range(29, 120):
            clock.now = 1000.0 + at
            logged.append(is_logged.filter(self.record("Group Coordinator Request failed", at)))

        assert logged.index(True) == HOLD_SECONDS

    def test_an_attempt_that_keeps_failing_although_kafka_answers_is_logged(self, is_logged: AttemptFilter) -> None:
        logged = [is_logged.filter(self.record("Marking the coordinator dead", at)) for at in range(60)]

        assert logged.index(True) == HOLD_SECONDS

    def test_an_attempt_that_fails_now_and_then_is_not(self, is_logged: AttemptFilter) -> None:
        assert not any(is_logged.filter(self.record("Failed fetch messages from", at)) for at in range(0, 6000, 61))

    def test_the_cause_of_a_failed_connection_is_said_with_the_outage(
        self, is_logged: AttemptFilter, outages: OutageLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        is_logged.filter(self.record(self.CONNECTING, 0, "broker", 9092, "certificate has expired"))
        outages.fail(Attempt(), KAFKA, "Unable to bootstrap")

        assert (
            'Unable to bootstrap (Unable connect to "broker:9092": certificate has expired)' in messages_of(caplog)[0]
        )

    def test_the_cause_why_events_are_not_taken_is_said_with_the_outage_and_kept_back_meanwhile(
        self, is_logged: AttemptFilter, outages: OutageLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(at: float) -> bool:
            message = "Got error produce response on topic-partition %s, retrying. Error: %s"
            return is_logged.filter(self.record(message, at, "events-0", NotEnoughReplicasError))

        refuse(0)
        attempt = Attempt()
        outages.fail(attempt, EVENTS_TOPIC, "nothing within 10 s")

        assert messages_of(caplog)[0].endswith(
            f"publishers are told to send again: nothing within 10 s ({TOO_FEW_REPLICAS})"
        )
        assert not any(refuse(at) for at in range(600))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OperationalError("SELECT 1", {}, Exception("connection failed\nIs the server running?")), "connection failed"),
        (PoolTimeoutError("QueuePool limit reached", code="3o7r"), "QueuePool limit reached"),
        (
            KafkaConnectionError("Unable to bootstrap from [('kafka', 9092, <AddressFamily.AF_UNSPEC: 0>)]"),
            "no bootstrap server answers",
        ),
        (NodeNotReadyError(), "NodeNotReadyError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_is_told_without_what_only_its_librarys_users_need(error: Exception, text: str) -> None:
    assert describe_error(error) == text
