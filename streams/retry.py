"""Retries with exponential backoff and jitter, until done or until the partitions are revoked."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import ClassVar, Final, TypeVar
from weakref import WeakSet

from aiokafka import errors
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from models.database.engine import ErrorKind, classify_error, is_unreachable
from models.errors import ConcurrentWriteError
from streams.error_text import describe_error
from streams.outages import DATABASE, KAFKA, OUTAGES, Subject

INITIAL_BACKOFF_SECONDS: Final = 0.1
#: Upper bound of the backoff, and so the longest a worker takes to notice that an outage is over.
MAX_BACKOFF_SECONDS: Final = 2.0

#: A retry that lasts longer makes a worker not ready: nobody would see it otherwise.
MAX_UNREPORTED_SECONDS: Final = 60.0
#: What does not pass by itself, and what a person can change: told at once.
_REFUSALS: Final = (
    errors.ClusterAuthorizationFailedError,
    errors.CorruptRecordException,
    errors.GroupAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.InvalidTopicError,
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.UnsupportedVersionError,
)

#: How long after an outage a producer may lack metadata.
_METADATA_SECONDS: Final = 30.0
#: What says that Kafka, or the broker that something needs, does not answer.
_UNREACHABLE: Final = (
    errors.BrokerNotAvailableError,
    errors.GroupCoordinatorNotAvailableError,
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.LeaderNotAvailableError,
    errors.NodeNotReadyError,
    errors.NotLeaderForPartitionError,
    errors.RequestTimedOutError,
    TimeoutError,
)

T = TypeVar("T")


class Retry:
    """An operation that failed, from its first failure until it succeeds or is given up; logged as an outage.

    Not logged is that workers write the same rows at the same time: one of them is first, as it should be. And in an
    outage of Kafka, that a topic is unknown: a producer without metadata says that of each.
    """

    #: Those of this process, which runs one worker.
    _ongoing: ClassVar[WeakSet["Retry"]] = WeakSet()

    def __init__(self, description: str) -> None:
        self.description = description
        self._failed_at = 0.0
        self._problem = ""
        self._is_refused = False

    def fail(self, error: BaseException) -> None:
        """Note a failure. Only its text is kept: an error holds what was tried."""
        if self not in self._ongoing:
            self._failed_at = time.monotonic()
            self._ongoing.add(self)
        self._problem = describe_error(error)
        self._is_refused = _is_caused_by(error, _REFUSALS)
        if isinstance(error, ConcurrentWriteError) or (
            OUTAGES.was_away(KAFKA, _METADATA_SECONDS) and _is_caused_by(error, (errors.UnknownTopicOrPartitionError,))
        ):
            OUTAGES.pass_over(self)
        else:
            OUTAGES.fail(self, self._subject_of(error), self._problem)

    def end(self) -> None:
        """Note that it succeeded, or is not tried again."""
        self._ongoing.discard(self)
        OUTAGES.end(self)

    def _subject_of(self, error: BaseException) -> Subject:
        """Return what is away when the operation fails with an error."""
        if is_unreachable(error):
            return DATABASE
        is_kafka = not self._is_refused and _is_caused_by(error, _UNREACHABLE)
        return KAFKA if is_kafka else Subject(self.description)

    @property
    def seconds(self) -> float:
        """For how long it has failed."""
        return time.monotonic() - self._failed_at

    @classmethod
    def longest_seconds(cls) -> float:
        """Return for how long what fails longest has failed; 0 when nothing does."""
        return max((retry.seconds for retry in cls._ongoing.copy()), default=0.0)

    @classmethod
    def describe_reportable(cls, min_seconds: float = MAX_UNREPORTED_SECONDS) -> str:
        """Return what has failed for so many seconds, or is refused; empty when nothing is."""
        ongoing = sorted(cls._ongoing.copy(), key=lambda retry: -retry.seconds)
        return "; ".join(
            f"{retry.description} for {retry.seconds:.0f} s: {retry._problem}"  # noqa: SLF001 - of this class
            for retry in ongoing
            if retry._is_refused or retry.seconds >= min_seconds  # noqa: SLF001 - as above
        )


def _is_caused_by(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    """Return whether an error, or what caused it, is of some kinds."""
    while error is not None:
        if isinstance(error, kinds) or any(isinstance(argument, kinds) for argument in error.args):
            return True
        error = error.__cause__
    return False


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
    retry = Retry(description)
    try:
        for delay in backoff(random.Random()):  # noqa: S311 - jitter is no secret
            try:
                return await operation()
            except Exception as error:
                if not is_transient(error):
                    raise
                if not is_active():
                    raise RevokedError from error
                retry.fail(error)
            await sleep_while(delay, is_active)
    finally:
        retry.end()
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
