"""Faults of the database: its server killed or away, its sessions ended, no room, no rights, locks, conflicts."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from models.database.engine import writing
from tests.faults.fault import Fault
from tests.faults.scene import Scene, measured
from tests.workers import wait_until

_TWO_MINUTES: Final = 120.0
_END_SESSIONS: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND application_name = 'milepost'"
)


def kill_and_start(seconds: float, scene: Scene) -> float:
    """Kill the server, and start it again after so many seconds."""
    time.sleep(scene.rng.uniform(0, 1))
    scene.postgresql.kill()
    time.sleep(seconds)
    assert scene.workers[0].process.poll() is None, scene.workers[0].log[-3000:]
    scene.postgresql.start()
    return measured(scene)


def be_away_at_start(scene: Scene) -> float:
    """Start a worker while nobody reaches the database: it says so in one line, and the next one works."""
    scene.workers[0].stop()
    scene.database_proxy.refuse()
    try:
        worker = scene.start_worker()
        worker.process.wait(30)
    finally:
        scene.database_proxy.heal()
    assert worker.process.returncode == 1
    [line] = [line for line in worker.log.splitlines() if line.startswith("milepost:")]
    assert "does not answer" in line
    assert "Traceback" not in worker.log
    scene.start_worker().wait_until_ready()
    return measured(scene)


def end_sessions(scene: Scene) -> float:
    """Have the database end its sessions, as a restart does."""
    for _ in range(10):
        with writing(scene.engine) as connection:
            connection.execute(_END_SESSIONS)
        time.sleep(scene.rng.uniform(0, 0.5))
    return measured(scene)


def lock_the_ledger(scene: Scene) -> float:
    """Hold a lock that every batch needs."""
    with writing(scene.engine) as connection:
        connection.execute(text("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"))
        time.sleep(scene.rng.uniform(5, 10))
    return measured(scene)


@contextmanager
def _read_only(scene: Scene) -> Iterator[None]:
    """Have every session of the database be one that only reads, until the block ends."""
    name = scene.engine.url.database

    def alter(what: str) -> None:
        with scene.engine.connect() as connection:
            connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"))
            connection.commit()
            connection.execute(text(f'ALTER DATABASE "{name}" {what}'))
            # Before the sessions end: one that is quick to come back must not find it as it was.
            connection.commit()
            connection.execute(_END_SESSIONS)
            connection.commit()
            connection.invalidate()

    alter("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        alter("RESET default_transaction_read_only")


def be_read_only(scene: Scene) -> float:
    """Let the database be read but not written, for every new session."""
    with _read_only(scene):
        wait_until(lambda: "read-only transaction" in scene.workers[0].log, "the worker meets it")
        time.sleep(scene.rng.uniform(3, 6))
        assert scene.workers[0].process.poll() is None
    return measured(scene)


def take_every_connection(scene: Scene) -> float:
    """Take every connection the server has, and end the worker's."""
    hoarding = create_engine(scene.engine.url, poolclass=NullPool)
    with ExitStack() as held:

        def met() -> bool:
            with suppress(OperationalError):
                while True:
                    held.enter_context(hoarding.connect())
            with suppress(OperationalError), writing(scene.engine) as connection:
                connection.execute(_END_SESSIONS)
            return "too many clients" in scene.workers[0].log

        wait_until(met, "the worker is told that there are too many")
        time.sleep(scene.rng.uniform(3, 6))
        assert scene.workers[0].process.poll() is None
    hoarding.dispose()
    return measured(scene)


def _met(scene: Scene, said: str) -> int:
    return sum(worker.log.count(said) for worker in scene.workers)


def deadlock(scene: Scene) -> float:
    """Lock in the other order than a batch does, several times, so that the worker is the one that has to yield."""
    for _ in range(3):
        wait_until(lambda: _yields(scene), "the worker is the one that yields")
    return measured(scene)


def _yields(scene: Scene) -> bool:
    """Lock across a batch; return whether the worker yielded. It does not when somebody else was who waited."""
    before = _met(scene, "deadlock detected")
    with scene.engine.connect() as connection:
        # Whoever looks first for a deadlock is ended; the other session looks late.
        connection.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        connection.execute(text("SELECT revision FROM programmes ORDER BY programme FOR UPDATE"))
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        wait_until(lambda: (connection.scalar(waiting) or 0) > 0, "a batch waits for a programme")
        connection.execute(text("SELECT next_offset FROM positions ORDER BY partition FOR UPDATE"))
        connection.rollback()
    with suppress(AssertionError):
        wait_until(lambda: _met(scene, "deadlock detected") > before, "it is said", 5)
    return _met(scene, "deadlock detected") > before


_CONFLICT: Final = """
    CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF random() < {odds} THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;
        RETURN NULL;
    END $$
"""
_IN_A_STATEMENT: Final = "CREATE TRIGGER conflict AFTER INSERT OR UPDATE ON {table} EXECUTE FUNCTION conflict()"
_AT_THE_COMMIT: Final = (
    "CREATE CONSTRAINT TRIGGER conflict_at_commit AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION conflict()"
)


def conflict(scene: Scene) -> float:
    """Have transactions of two workers fail to serialize, some of them at a statement and some at the commit.

    A worker asks for the isolation that cannot, whatever the database's default is; a standby that was promoted, or a
    pooler, says it all the same.
    """
    scene.start_worker().wait_until_ready()

    def have(statement: str) -> None:
        with writing(scene.engine) as connection:
            connection.execute(text(statement))

    have(_CONFLICT.format(odds=0))
    for name in ("ledger", "programmes", "forecasts", "pictures"):
        have(_IN_A_STATEMENT.format(table=name))
    for name in ("positions", "pictures"):
        have(_AT_THE_COMMIT.format(table=name))
    have(_CONFLICT.format(odds=0.1))
    wait_until(lambda: all(w.log.count("could not serialize") >= 3 for w in scene.workers), "several batches conflict")
    time.sleep(scene.rng.uniform(2, 4))
    have(_CONFLICT.format(odds=0))
    return measured(scene)


FAULTS: Mapping[str, Fault] = {
    "the database killed (-9) and started again": Fault(partial(kill_and_start, 0.0)),
    "the database away for two minutes": Fault(partial(kill_and_start, _TWO_MINUTES)),
    "the database away when a worker starts": Fault(be_away_at_start),
    "the database ends its sessions, 10 times": Fault(end_sessions),
    "a lock on the ledger": Fault(lock_the_ledger),
    "the database read-only": Fault(be_read_only),
    "no connection left in the database": Fault(take_every_connection),
    "deadlocks, which the worker loses": Fault(deadlock),
    "serialization failures": Fault(conflict),
}
