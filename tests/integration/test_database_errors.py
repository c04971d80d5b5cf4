"""Which errors of the database are transient, which are permanent, and which are bugs."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from models.database.engine import (
    DatabaseError,
    ErrorKind,
    classify_error,
    make_engine,
    read_transaction,
    write_transaction,
)
from models.database.ledger import RejectedRecord
from models.database.recorder import Recorder
from models.errors import ConcurrentWriteError
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    count_events,
    event_batch,
    event_ids,
    plan_event,
    reject_inserts,
)


def failed(act: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception, match=r".*") as error:
        act()
    return error.value


def execute(engine: Engine, *statements: str, **parameters: object) -> Callable[[], None]:
    def act() -> None:
        with write_transaction(engine) as connection:
            for statement in statements:
                connection.execute(text(statement), parameters)

    return act


POSITION = 'INSERT INTO positions (topic, "partition", next_offset, newest_event_ms) VALUES (:topic, 0, 0, 0)'


def test_a_missing_table_or_column_and_wrong_sql_are_bugs(engine: Engine) -> None:
    for statement in (
        "SELECT 1 FROM nowhere",
        "SELECT nothing FROM positions",
        "INSERT INTO positions (nothing) VALUES (1)",
        "SELEKT 1",
    ):
        assert classify_error(failed(execute(engine, statement))) is ErrorKind.BUG, statement


def test_a_broken_rule_of_the_data_is_refused(engine: Engine) -> None:
    execute(engine, POSITION, topic="one")()
    for topic in ("one", None):
        assert classify_error(failed(execute(engine, POSITION, topic=topic))) is ErrorKind.PERMANENT
    with write_transaction(engine) as connection:
        reject_inserts(connection, "NEW.id = 'bad'")
    assert (
        classify_error(failed(execute(engine, "INSERT INTO ledger (source, id) VALUES ('a', 'bad')")))
        is ErrorKind.PERMANENT
    )


def test_text_that_is_too_long_is_refused(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        assert classify_error(failed(execute(engine, "SELECT zeroblob(2000000000)"))) is ErrorKind.PERMANENT
        return
    long = "".join(map(chr, Random(1).choices(range(0x4E00, 0x9FFF), k=9000)))  # noqa: S311 - does not compress
    assert classify_error(failed(execute(engine, POSITION, topic=long))) is ErrorKind.PERMANENT
    short = ("CREATE TEMPORARY TABLE short (name varchar(2)) ON COMMIT DROP", "INSERT INTO short VALUES ('abc')")
    assert classify_error(failed(execute(engine, *short))) is ErrorKind.PERMANENT


def test_nul_in_text_is_refused_by_postgresql(shared_recorder: Recorder) -> None:
    assert classify_error(failed(execute(shared_recorder.engine, POSITION, topic="a\0b"))) is ErrorKind.PERMANENT


def test_a_transaction_that_may_only_read_passes(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # A connection of its own: the pool would hand it on.
        engine = create_engine(engine.url)
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
        assert classify_error(failed(execute(engine, POSITION, topic="one"))) is ErrorKind.TRANSIENT
        engine.dispose()
    else:
        only = "SET TRANSACTION READ ONLY"
        assert classify_error(failed(execute(engine, only, POSITION, topic="one"))) is ErrorKind.TRANSIENT


def test_a_server_that_does_not_answer_passes() -> None:
    engine = make_engine("postgresql://milepost@127.0.0.1:1/milepost")
    error = failed(engine.connect)
    assert isinstance(error, OperationalError)
    assert classify_error(error) is ErrorKind.TRANSIENT


def test_a_connection_that_is_cut_passes(shared_recorder: Recorder) -> None:
    def cut(connection: Connection) -> None:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with write_transaction(shared_recorder.engine) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    with shared_recorder.engine.connect() as connection:
        cut(connection)
        assert classify_error(failed(lambda: connection.execute(text("SELECT 1")))) is ErrorKind.TRANSIENT
    # In the middle of a batch: nothing of it is there, and the same batch goes in afterwards.
    log = TopicLog()
    batch = event_batch([log.append(plan_event("1")), log.append_raw([], None)])

    def cut_all(_: Sequence[RejectedRecord]) -> None:
        with shared_recorder.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND datname = current_database()"
                )
            )

    for others in ((cut_all,), (lambda _: None, lambda: cut_all(()))):
        assert classify_error(failed(partial(shared_recorder.record, batch, *others))) is ErrorKind.TRANSIENT
        assert (count_events(shared_recorder), shared_recorder.read_positions(TOPIC)[0]) == (0, 0)
    assert event_ids(shared_recorder.record(batch, lambda _: None).accepted) == ["1"]


def test_a_database_that_is_locked_for_too_long_passes(engine: Engine) -> None:
    impatient = make_engine(engine.url.render_as_string(hide_password=False), lock_timeout_ms=50)
    try:
        with write_transaction(engine) as connection:
            connection.execute(text(POSITION), {"topic": "one"})
            assert classify_error(failed(execute(impatient, POSITION, topic="one"))) is ErrorKind.TRANSIENT
        execute(impatient, POSITION, topic="two")()
    finally:
        impatient.dispose()


def test_a_serialization_failure_passes(shared_recorder: Recorder) -> None:
    move = text("UPDATE positions SET next_offset = next_offset + 1")
    with shared_recorder.engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("SELECT 1 FROM positions"))
        execute(shared_recorder.engine, move.text)()
        error = failed(lambda: connection.execute(move))
    assert getattr(getattr(error, "orig", None), "sqlstate", None) == "40001"
    assert classify_error(error) is ErrorKind.TRANSIENT


def test_what_isolation_the_database_has_by_default_does_not_matter(shared_recorder: Recorder) -> None:
    how = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
    execute(shared_recorder.engine, how.format(shared_recorder.engine.url.database))()
    newcomer = make_engine(shared_recorder.engine.url.render_as_string(hide_password=False))
    try:
        for _ in range(2):
            with write_transaction(newcomer) as connection:
                assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"
            with read_transaction(newcomer) as connection:
                assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    finally:
        newcomer.dispose()


def test_a_deadlock_passes(shared_recorder: Recorder) -> None:
    move = "UPDATE positions SET next_offset = 1 WHERE partition = {}"
    together = threading.Barrier(2, timeout=60)

    def cross(partitions: tuple[int, int]) -> BaseException | None:
        try:
            with write_transaction(shared_recorder.engine) as connection:
                connection.execute(text(move.format(partitions[0])))
                together.wait()
                connection.execute(text(move.format(partitions[1])))
        except DBAPIError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        errors = [error for error in pool.map(cross, ((0, 1), (1, 0))) if error is not None]
    assert [getattr(getattr(error, "orig", None), "sqlstate", None) for error in errors] == ["40P01"]
    assert classify_error(errors[0]) is ErrorKind.TRANSIENT


def test_a_cancelled_statement_and_a_full_pool_pass(postgresql_url: str) -> None:
    engine = create_engine(
        make_engine(postgresql_url).url, pool_size=1, max_overflow=0, pool_timeout=0.01, connect_args={"options": ""}
    )
    try:
        late = ("SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(60)")
        assert classify_error(failed(execute(engine, *late))) is ErrorKind.TRANSIENT
        with engine.connect():
            assert classify_error(failed(engine.connect)) is ErrorKind.TRANSIENT
    finally:
        engine.dispose()


def test_what_is_no_error_of_the_database_is_a_bug_but_for_a_lost_race() -> None:
    assert classify_error(ConcurrentWriteError("another was faster")) is ErrorKind.TRANSIENT
    for error in (ValueError("x"), OverflowError("x"), AssertionError(), KeyError("x"), DatabaseError("x")):
        assert classify_error(error) is ErrorKind.BUG
    assert classify_error(IntegrityError("INSERT", {}, ValueError("x"))) is ErrorKind.BUG
