"""What a worker does before it starts."""

import logging

import pytest

from deploy.logging_setup import RepeatedMessageFilter
from deploy.worker import lock_timeout_ms
from models.database.engine import DatabaseError
from models.settings import Settings


def record(name: str, message: str, created: float) -> logging.LogRecord:
    """Return a log record of a moment."""
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, (), None)
    made.created = created
    return made


@pytest.mark.parametrize(("name", "passed"), [("aiokafka", [True, False, True]), ("milepost.record", [True] * 3)])
def test_libraries_repeat_themselves_once_in_a_while_and_milepost_always(name: str, passed: list[bool]) -> None:
    sparing = RepeatedMessageFilter(30)

    assert [sparing.filter(record(name, "node %s is away", at)) for at in (100, 129, 131)] == passed


def test_different_messages_are_each_said() -> None:
    sparing = RepeatedMessageFilter(30)

    assert sparing.filter(record("aiokafka", "node %s is away", 100))
    assert sparing.filter(record("aiokafka", "metadata is old", 100))
    assert sparing.filter(record("faust", "node %s is away", 100))


def test_what_is_said_in_one_line_at_the_end_is_not_said_with_its_traceback_before() -> None:
    crashed = record("mode", "crashed", 100)
    crashed.exc_info = (DatabaseError, DatabaseError("no tables"), None)

    assert not RepeatedMessageFilter(30).filter(crashed)


@pytest.mark.parametrize(("stuck", "lock"), [(60.0, 30_000), (600.0, 30_000), (12.0, 6_000)])
def test_a_statement_that_waits_for_a_lock_ends_before_the_worker_seems_stuck(stuck: float, lock: int) -> None:
    assert lock_timeout_ms(Settings(stuck_seconds=stuck)) == lock
