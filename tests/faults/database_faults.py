"""Faults of the database: its server killed or away, its sessions ended, no room, no rights, locks, conflicts."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from models.database.engine import write_transaction
from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.workers import wait_until

_LONG_OUTAGE_SECONDS: Final = 120.0
_TERMINATE_SESSIONS: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND application_name = 'milepost'"
)


def kill_and_restart_database(seconds: float, scenario: Scenario) -> float:
    """Kill the server, and start it again after so many seconds."""
    time.sleep(scenario.rng.uniform(0, 1))
    scenario.postgresql.kill()
    time.sleep(seconds)
    assert scenario.workers[0].process.poll() is None, scenario.workers[0].log_text[-3000:]
    scenario.postgresql.start()
    return measure_recovery(scenario)


def start_without_database(scenario: Scenario) -> float:
    """Start a worker while nobody reaches the database: it says so in one line, and the next one works."""
    scenario.workers[0].stop()
    scenario.database_proxy.refuse_connections()
    try:
        worker = scenario.start_worker()
        worker.process.wait(30)
    finally:
        scenario.database_proxy.heal()
    assert worker.process.returncode == 1
    [line] = [line for line in worker.log_text.splitlines() if line.startswith("milepost:")]
    assert "does not answer" in line
    assert "Traceback" not in worker.log_text
    scenario.start_worker().wait_until_ready()
    return measure_recovery(scenario)


def terminate_sessions(scenario: Scenario) -> float:
    """Have the database end its sessions, as a restart does."""
    for _ in range(10):
        with write_transaction(scenario.engine) as connection:
            connection.execute(_TERMINATE_SESSIONS)
        time.sleep(scenario.rng.uniform(0, 0.5))
    return measure_recovery(scenario)


def lock_ledger(scenario: Scenario) -> float:
    """Hold a lock that every batch needs."""
    with write_transaction(scenario.engine) as connection:
        connection.execute(text("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"))
        time.sleep(scenario.rng.uniform(5, 10))
    return measure_recovery(scenario)


@contextmanager
def _read_only(scenario: Scenario) -> Iterator[None]:
    """Have every session of the database be one that only reads, until the block ends."""
    name = scenario.engine.url.database

    def alter(setting: str) -> None:
        with scenario.engine.connect() as connection:
            connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"))
            connection.commit()
            connection.execute(text(f'ALTER DATABASE "{name}" {setting}'))
            # Before the sessions end: one that is quick to come back must not find it as it was.
            connection.commit()
            connection.execute(_TERMINATE_SESSIONS)
            connection.commit()
            connection.invalidate()

    alter("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        alter("RESET default_transaction_read_only")


def make_read_only(scenario: Scenario) -> float:
    """Let the database be read but not written, for every new session."""
    with _read_only(scenario):
        wait_until(lambda: "read-only transaction" in scenario.workers[0].log_text, "the worker meets it")
        time.sleep(scenario.rng.uniform(3, 6))
        assert scenario.workers[0].process.poll() is None
    return measure_recovery(scenario)


def exhaust_connections(scenario: Scenario) -> float:
    """Take every connection the server has, and end the worker's."""
    hoarding = create_engine(scenario.engine.url, poolclass=NullPool)
    with ExitStack() as held:

        def is_exhausted() -> bool:
            with suppress(OperationalError):
                while True:
                    held.enter_context(hoarding.connect())
            with suppress(OperationalError), write_transaction(scenario.engine) as connection:
                connection.execute(_TERMINATE_SESSIONS)
            return "too many clients" in scenario.workers[0].get("/ready")[1]

        wait_until(is_exhausted, "the worker is told that there are too many")
        time.sleep(scenario.rng.uniform(3, 6))
        assert scenario.workers[0].process.poll() is None
    hoarding.dispose()
    return measure_recovery(scenario)


def _count_in_logs(scenario: Scenario, message: str) -> int:
    return sum(worker.log_text.count(message) for worker in scenario.workers)


def provoke_deadlocks(scenario: Scenario) -> float:
    """Lock in the other order than a batch does, several times, so that the worker is the one that has to yield."""
    for _ in range(3):
        wait_until(lambda: _is_deadlock_victim(scenario), "the worker is the one that yields")
    return measure_recovery(scenario)


def _is_deadlock_victim(scenario: Scenario) -> bool:
    """Lock across a batch; return whether the worker yielded. It does not when somebody else was who waited."""
    before = _count_in_logs(scenario, "deadlock detected")
    with scenario.engine.connect() as connection:
        # Whoever looks first for a deadlock is ended; the other session looks late.
        connection.execute(text("SET LOCAL deadlock_timeout = '60s'"))
        connection.execute(text("SELECT revision FROM programmes ORDER BY programme FOR UPDATE"))
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        wait_until(lambda: (connection.scalar(waiting) or 0) > 0, "a batch waits for a programme")
        connection.execute(text("SELECT next_offset FROM positions ORDER BY partition FOR UPDATE"))
        connection.rollback()
    with suppress(AssertionError):
        wait_until(lambda: _count_in_logs(scenario, "deadlock detected") > before, "it is said", 5)
    return _count_in_logs(scenario, "deadlock detected") > before


_CONFLICT_FUNCTION: Final = """
    CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF random() < {odds} THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;
        RETURN NULL;
    END $$
"""
_STATEMENT_TRIGGER: Final = "CREATE TRIGGER conflict AFTER INSERT OR UPDATE ON {table} EXECUTE FUNCTION conflict()"
_COMMIT_TRIGGER: Final = (
    "CREATE CONSTRAINT TRIGGER conflict_at_commit AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION conflict()"
)


def fail_serialization(scenario: Scenario) -> float:
    """Have transactions of two workers fail to serialize, some of them at a statement and some at the commit.

    A worker asks for the isolation that cannot, whatever the database's default is; a standby that was promoted, or a
    pooler, says it all the same.
    """
    scenario.start_worker().wait_until_ready()

    def execute(statement: str) -> None:
        with write_transaction(scenario.engine) as connection:
            connection.execute(text(statement))

    execute(_CONFLICT_FUNCTION.format(odds=0))
    for name in ("ledger", "programmes", "forecasts", "checkpoints"):
        execute(_STATEMENT_TRIGGER.format(table=name))
    for name in ("positions", "checkpoints"):
        execute(_COMMIT_TRIGGER.format(table=name))
    execute(_CONFLICT_FUNCTION.format(odds=0.1))
    wait_until(
        lambda: all(w.log_text.count("could not serialize") >= 3 for w in scenario.workers), "several batches conflict"
    )
    time.sleep(scenario.rng.uniform(2, 4))
    execute(_CONFLICT_FUNCTION.format(odds=0))
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    "the database killed (-9) and started again": Fault(partial(kill_and_restart_database, 0.0)),
    "the database away for two minutes": Fault(partial(kill_and_restart_database, _LONG_OUTAGE_SECONDS)),
    "the database away when a worker starts": Fault(start_without_database),
    "the database ends its sessions, 10 times": Fault(terminate_sessions),
    "a lock on the ledger": Fault(lock_ledger),
    "the database read-only": Fault(make_read_only),
    "no connection left in the database": Fault(exhaust_connections),
    "deadlocks, which the worker loses": Fault(provoke_deadlocks),
    "serialization failures": Fault(fail_serialization),
}
